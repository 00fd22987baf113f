"""A target, a readout and a loss of your own: the largest force on any atom of a molecule."""

import argparse

import schnetgeo as sg
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import Demo
from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.readout import AtomReadout, sum_atoms
from schnetgeo.train import TrainingConfig, fit, new_potential

TARGET = sg.Target("largest_force", "eV/Å", extensive=False)


class SoftMaximum(AtomReadout):
    """ln Σ_i exp(y_i), of the numbers y_i that AtomReadout gives the atoms of a structure."""

    per, extensive = "structure", False

    def reduce(self, values, data):
        return sum_atoms(values.exp(), batch_index(data), num_structures(data)).log()


def relative(prediction, batch):
    return (prediction["largest_force"] / batch.largest_force - 1).square()


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--out", default="runs/own_target")
args = parser.parse_args()

data = [s.update({"largest_force": s.forces.norm(dim=1).max().view(1)}) for s in Demo("ethanol")]
dataset = StructureDataset.from_list(data)
train, val, test = dataset[:800], dataset[800:850], dataset[850:]
potential = new_potential(sg.SchNet(channels=32, readout=SoftMaximum), train, targets=[TARGET])
training = TrainingConfig(max_steps=args.steps, progress=False)
potential = fit(potential, train, val, training, args.out, losses=[relative]).potential
batch = test.batch(range(len(test)))
print(f"{TARGET}: off by {100 * relative(potential(batch), batch).mean().sqrt():.0f} %")

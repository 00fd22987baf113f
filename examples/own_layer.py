"""A message-passing layer of your own: check it, train with it, save it, load it."""

import argparse

from torch import Tensor, nn

import schnetgeo as sg
from schnetgeo.datasets import Demo
from schnetgeo.train import TrainingConfig, evaluate, fit, new_potential


class GatedConv(sg.RadialConv):
    """SchNet's filter, opened and closed by the atom that receives the message."""

    def __init__(self, channels: int, num_basis: int):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)
        self.gate = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())

    def message(self, x_i: Tensor, x_j: Tensor, edge_attr: Tensor) -> Tensor:
        return self.gate(x_i) * x_j * self.filter(edge_attr)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--out", default="runs/own_layer")
args = parser.parse_args()

print(sg.testing.check_conv(GatedConv))

dataset = Demo("ethanol")
train, val, test = dataset[:400], dataset[400:450], dataset[450:650]
model = sg.SchNet(channels=32, num_layers=2, num_basis=25, conv=GatedConv)
training = TrainingConfig(max_steps=args.steps, validate_every=100, progress=False)
fit(new_potential(model, train), train, val, training, args.out)

potential = sg.load(f"{args.out}/model.safetensors", classes=[GatedConv])
print(evaluate(potential, test))

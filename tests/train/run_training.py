"""A small training as a process of its own, to be killed, resumed and distributed.

Arguments: folder, further options of TrainingConfig as name=value.
"""

import sys

import torch

from schnetgeo.data.split_methods import random_split
from schnetgeo.datasets import Demo
from schnetgeo.nn import SchNet
from schnetgeo.train import TrainingConfig, fit, new_potential

if __name__ == "__main__":
    out, *pairs = sys.argv[1:]
    options = dict(pair.split("=") for pair in pairs)
    lacking = options.pop("lacking", None)
    numbers = {k: float(v) if "." in v else int(v) for k, v in options.items() if v[0].isdigit()}
    precision = {"precision": options["precision"]} if "precision" in options else {}
    training = TrainingConfig(
        **{**options, **numbers, **precision, "device": "cpu", "progress": False}
    )
    torch.manual_seed(training.seed)
    dataset = Demo("molecules")
    if lacking:  # every third structure has forces, the others energies
        has = torch.arange(len(dataset)) % 3 == 0
        dataset.packed.forces_mask, dataset.packed.energy_mask = has, ~has
    train, val, _ = (dataset[part] for part in random_split(len(dataset), 64, 16, 10))
    model = SchNet(channels=8, num_layers=2, num_basis=8, cutoff=4.0)
    fit(new_potential(model, train), train, val, training, out, resume=True)

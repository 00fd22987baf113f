"""Structures that lack a label count for nothing, wherever they are among the batches."""

import copy

import pytest
import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import Demo
from schnetgeo.errors import InputError
from schnetgeo.nn import SchNet
from schnetgeo.train import Objective, TrainingConfig, evaluate, fit, new_potential, task_losses
from schnetgeo.train.sums import add_sums


def labeled(energies, forces):
    """Ethanols of which some have energies and some forces."""
    dataset = Demo("ethanol")[: len(energies)]
    packed, sizes = dataset.materialize()
    packed.energy_mask, packed.forces_mask = energies, forces
    return StructureDataset(packed, sizes)


def with_bad_energies(dataset, changed):
    dataset = dataset[:]
    dataset.packed = copy.copy(dataset.packed)
    dataset.packed.energy = dataset.packed.energy.clone()
    dataset.packed.energy[changed] = torch.nan
    return dataset


@pytest.fixture(scope="module")
def train():
    return Demo("ethanol")[200:240]


def train_briefly(tmp_path, train, val, **options):
    torch.manual_seed(0)
    potential = new_potential(SchNet(channels=8, num_layers=1, num_basis=8, cutoff=4.0), train)
    options = {"max_steps": 2, "validate_every": 2, "device": "cpu", "progress": False, **options}
    return fit(potential, train, val, TrainingConfig(**options), tmp_path)


@pytest.mark.parametrize("task", ["energy", "forces", "energy_and_forces"])
def test_validation_loss_is_the_mean_over_labeled_structures(tmp_path, train, task):
    # three batches of 100: nearly all labels are in the first, one in each of the others
    number = torch.arange(220)
    energies = (number < 90) | (number == 150) | (number == 210)
    forces = (number < 10) | (number == 110)
    val = labeled(energies, forces)
    result = train_briefly(tmp_path, train, val, task=task)
    loss, rho = result.potential.notes["validation"]["val_loss"], TrainingConfig(max_steps=1).rho
    batch = val.batch(range(len(val)))
    prediction = result.potential(batch, forces=True)
    error = (prediction.energy - batch.energy)[energies]
    of_energy = float((error**2).mean())
    error = (prediction.forces - batch.forces).reshape(len(val), -1, 3)[forces]
    of_forces = float((error**2).sum(2).mean(1).mean())
    expected = {"energy": of_energy, "forces": of_forces}
    expected["energy_and_forces"] = rho * of_energy + of_forces
    assert loss == pytest.approx(expected[task], rel=1e-5)


def test_loss_of_two_batches_is_that_of_their_union():
    val = labeled(torch.arange(30) < 12, torch.arange(30) % 7 == 0)
    potential = new_potential(SchNet(channels=8, num_layers=1, num_basis=8), val)
    loss = Objective(task_losses("energy_and_forces"))
    sums = [loss.sums(potential(batch, forces=True), batch)
            for batch in (val.batch(range(11)), val.batch(range(11, 30)))]  # fmt: skip
    batch = val.batch(range(30))
    torch.testing.assert_close(
        loss.mean(add_sums(sums)), loss(potential(batch, forces=True), batch)
    )


def test_labels_that_are_nan_are_refused_unless_a_mask_leaves_them_out(tmp_path, train):
    some = torch.arange(20) == 7
    val = with_bad_energies(labeled(~some, torch.ones(20, dtype=torch.bool)), some)
    result = train_briefly(tmp_path / "masked", train, val)
    assert result.potential.notes["validation"]["val_loss"] > 0
    bad = with_bad_energies(train, 203)  # the rows of the whole set
    for parts in ((bad, train), (train, bad)):
        with pytest.raises(InputError, match=r"structure 3: its energy is not finite; .*energy_m"):
            train_briefly(tmp_path / "bad", *parts)
    with pytest.raises(InputError, match="structure 3: its energy is not finite"):
        evaluate(result.potential, bad)


def test_a_transform_that_makes_labels_nan_is_refused(train):
    train = train[:]

    def transform(data):
        data.energy = data.energy / 0 * 0
        return data

    train.transform = transform
    with pytest.raises(InputError, match="transformed, structure 0: energy is nan"):
        train.batch([3, 4])


def test_validation_structures_of_which_none_has_the_label_are_refused(tmp_path, train):
    none = torch.zeros(10, dtype=torch.bool)
    with pytest.raises(InputError, match="the validation structures have no energy"):
        train_briefly(tmp_path, train, labeled(none, ~none))

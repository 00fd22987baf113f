"""Structures of which some lack labels: kept, counted, and used where the task allows."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from schnetgeo.data import Structure, to_ase
from schnetgeo.data.distribution import distribution
from schnetgeo.data.geometry_summary import geometry_summary
from schnetgeo.data.loader import ordered_loader
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import fit_normalization
from schnetgeo.data.store_writer import write_on_disk
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from schnetgeo.potential.prediction import Prediction
from schnetgeo.train import Objective, task_losses
from schnetgeo.train.evaluation import compute_metrics


def pair(distance=1.0, energy=None, forces=None, **more):
    pos = torch.tensor([[0, 0, 0], [0, 0, distance]]).double()
    data = Structure(z=torch.tensor([1, 1]), pos=pos, **more)
    if energy is not None:
        data.energy = torch.tensor([energy]).double()
    if forces is not None:
        data.forces = torch.full((2, 3), float(forces)).double()
    return data


def partly_labeled():
    with pytest.warns(DataNote, match="of 3 structures 1 have no energy, 2 have no forces; they"):
        return StructureDataset.from_list(
            [pair(1.0, energy=-1.0, forces=0.5), pair(1.1, energy=-3.0), pair(1.2)]
        )


def test_masks_say_which_structures_have_a_label():
    dataset = partly_labeled()
    assert dataset.get_property("energy_mask").tolist() == [True, True, False]
    assert dataset.get_property("forces_mask").tolist() == [True, False, False]
    batch = dataset.batch([2, 0])
    assert batch.forces_mask.tolist() == [False, True]
    assert batch.forces[:2].isnan().all()
    assert to_ase(dataset[0]).get_potential_energy() == -1.0
    assert to_ase(dataset[2]).calc is None
    again = StructureDataset.from_list([dataset[k] for k in range(3)])
    assert again.get_property("forces_mask").tolist() == [True, False, False]


def test_store_keeps_the_masks(tmp_path):
    store = write_on_disk(tmp_path / "own.store", [partly_labeled()])
    assert store.get_property("energy_mask").tolist() == [True, True, False]
    assert store.batch([1]).energy.tolist() == [-3.0]


def test_a_number_that_is_missing_without_a_mask_is_refused():
    with pytest.raises(InputError, match="structure 1: energy is nan, but must be finite"):
        StructureDataset.from_list([pair(1.0, energy=-1.0), pair(1.1, energy=np.nan)])


@pytest.mark.parametrize(
    ("other", "text"), [(None, ""), (torch.tensor([0.5]).double(), "0.5")], ids=["lacking", "mixed"]
)
@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_large_whole_numbers_keep_their_digits(number, other, text):
    more = {} if other is None else {"key": other}
    with pytest.warns(DataNote, match="'key' became text, as whole numbers above 2.53"):
        dataset = StructureDataset.from_list([pair(key=torch.tensor([number])), pair(**more)])
    assert dataset.get_property("key") == [str(number), text]


def test_large_whole_numbers_of_all_structures_and_exact_ones_are_numbers():
    dataset = StructureDataset.from_list([pair(key=torch.tensor([2**53 + 1])) for _ in range(2)])
    assert dataset.get_property("key").tolist() == [2**53 + 1] * 2
    dataset = StructureDataset.from_list([pair(key=torch.tensor([2**53])), pair()])
    assert dataset.get_property("key")[0] == 2**53


def test_statistics_look_at_the_labels_that_are_there():
    normalization = fit_normalization(partly_labeled(), 5)
    assert normalization.atomic_references.tolist() == pytest.approx([0, -1, 0, 0, 0])
    assert normalization.scale == pytest.approx(0.5)


def test_distributions_look_at_the_labels_that_are_there():
    found = distribution(partly_labeled(), "energy")
    assert (found.count, found.mean, found.lowest, found.highest) == (2, -2.0, -3.0, -1.0)
    assert distribution(partly_labeled(), "forces").count == 6


def test_loss_is_the_mean_over_the_labels_that_are_there():
    batch = partly_labeled().batch([0, 1, 2])
    energy = torch.tensor([0.0, 0.0, 7.0], dtype=torch.float64, requires_grad=True)
    forces = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    objective = Objective(task_losses("energy_and_forces", rho=1.0))
    loss = objective(Prediction(energy, forces, None), batch)
    assert loss.item() == pytest.approx((1 + 9) / 2 + 3 * 0.25)
    loss.backward()
    assert energy.grad.tolist() == [1.0, 3.0, 0.0]
    assert not forces.grad[2:].any()


def test_errors_are_those_of_the_labels_that_are_there():
    predictions = Prediction(torch.tensor([0.0, 0.0, 7.0]).double(), torch.zeros(6, 3).double())
    found = compute_metrics(predictions, partly_labeled())
    assert found["energy"].mae == pytest.approx(2.0)
    assert found["forces"].mae == pytest.approx(0.5)


def test_types_that_differ():
    with pytest.warns(DataNote, match="'mixed' .* of 2, 'flag' .* of 1 of 2 structures"):
        dataset = StructureDataset.from_list(
            [
                pair(1.0, name="a", number=torch.tensor([7]), mixed=torch.ones(1, 2)),
                pair(1.1, name=torch.tensor([7]), number=torch.tensor([0.5]),
                     mixed=torch.ones(1, 3), flag=torch.tensor([True])),
            ]
        )  # fmt: skip
    assert dataset.get_property("name") == ["a", "7"]
    assert dataset.get_property("number").tolist() == [7.0, 0.5]
    assert not dataset.has_property("flag")
    assert not dataset.has_property("mixed")


def test_attributes_of_atoms_that_some_lack_are_those_of_ase():
    with pytest.warns(DataNote, match="1 have no 'tags', 1 have no 'masses'"):
        dataset = StructureDataset.from_list(
            [pair(1.0, tags=torch.tensor([1, 2]), masses=torch.tensor([2.0, 2.0]).double()), pair()]
        )
    assert dataset.get_property("tags").tolist() == [1, 2, 0, 0]
    assert dataset.get_property("masses").tolist() == [2, 2, 1.008, 1.008]


class Shift:
    def __call__(self, data):
        data = data.clone()
        data.energy = data.energy + 1.0
        return data


def test_a_transform_reaches_every_batch():
    dataset = StructureDataset.from_list([pair(1.0, energy=-1.0), pair(1.1, energy=-3.0)])
    dataset.transform = Shift()
    right = next(iter(DataLoader(dataset, batch_size=2)))
    for batch in (
        dataset.batch([0, 1]),
        next(iter(ordered_loader(dataset, 2))),
        dataset.with_edges(2.0).batch([0, 1]),
        Batch.from_data_list(list(dataset)),
    ):
        assert batch.energy.tolist() == right.energy.tolist() == [0.0, -2.0]
        assert batch.ptr.tolist() == [0, 2, 4]
    assert dataset[[1]].batch([0]).energy.tolist() == [-2.0]
    assert dataset.transformed().get_property("energy").tolist() == [0.0, -2.0]
    assert fit_normalization(dataset, 5).atomic_references.tolist() == pytest.approx(
        [0, -0.5, 0, 0, 0]
    )
    assert dataset.get_property("energy").tolist() == [-1.0, -3.0]


def crystal(length, turn=None):
    cell = length * torch.eye(3).double()
    data = Structure(z=torch.tensor([29]), pos=torch.zeros(1, 3).double())
    data.cell = (cell if turn is None else cell @ turn).unsqueeze(0)
    data.pbc = torch.ones(1, 3, dtype=torch.bool)
    return data


def test_crystals_of_other_sizes_are_no_copies():
    found = geometry_summary(StructureDataset.from_list([crystal(a) for a in (3.4, 3.5, 3.6)]))
    assert (found.exact_copies, found.duplicate_groups) == (0, 0)
    c, s = np.cos(0.3), np.sin(0.3)
    turn = torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    found = geometry_summary(
        StructureDataset.from_list([crystal(3.4), crystal(3.5), crystal(3.4, turn)])
    )
    assert (found.exact_copies, found.duplicate_groups) == (0, 1)

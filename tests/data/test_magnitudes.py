"""Magnitudes of real data are not doubted, those of wrong units are."""

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.data import chemical_symbols, reference_states

from schnetgeo.data import from_ase
from schnetgeo.data.magnitudes import bonds_in_angstrom, doubts
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import Demo
from schnetgeo.datasets.npz import read_npz
from schnetgeo.units import BOHR, HARTREE, KCAL_MOL
from tests.shared_data import shared

USUAL = [
    z
    for z, state in enumerate(reference_states[:93])
    if state
    and state["symmetry"] in ("fcc", "bcc", "hcp", "diamond")
    and state.get("basis", ()) is not None
]


def scaled(dataset, length=1.0, energy=1.0, force=1.0):
    structures, sizes = dataset.materialize()
    structures.pos = structures.pos * length
    structures.energy = structures.energy * energy
    if structures.get("cell") is not None:
        structures.cell = structures.cell * length
    if structures.get("forces") is not None:
        structures.forces = structures.forces * force
    return StructureDataset(structures, sizes, dataset.name)


def with_energy(symbol):
    crystal = from_ase(bulk(symbol))
    crystal.energy = torch.zeros(1, dtype=torch.float64)
    return crystal


@pytest.mark.parametrize("part", ["ethanol", "molecules"])
def test_demo(part):
    demo = Demo(part)
    assert not [*doubts(demo)]
    for length in (BOHR, 1 / BOHR, 0.1, 10.0, 0.01):
        assert [doubt.kind for doubt in doubts(scaled(demo, length=length))] == ["length"]
    assert [doubt.kind for doubt in doubts(scaled(demo, energy=HARTREE))] == ["energy"]
    assert [doubt.kind for doubt in doubts(scaled(demo, energy=1 / KCAL_MOL))] == ["energy"]
    assert [doubt.kind for doubt in doubts(scaled(demo, force=1 / KCAL_MOL))] == ["force"]


@pytest.mark.parametrize("name", ["ni_crystal", "si_crystal", "water_periodic", "qm7x_sample"])
def test_real_data(name):
    dataset = read_npz(shared(f"{name}.npz"))
    assert not [*doubts(dataset)]
    for length in (BOHR, 1 / BOHR):
        assert {doubt.kind for doubt in doubts(scaled(dataset, length=length))} == {"length"}


@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
def test_structures_without_a_label_do_not_hide_those_that_have_it(label):
    crystal = from_ase(bulk("Al"))
    high = {"energy": torch.tensor([1e5]).double(), "forces": torch.full((1, 3), 1e5)}
    high["stress"] = torch.full((1, 3, 3), 1e5)
    labeled = crystal.clone()
    labeled[label] = high[label]
    kinds = {"forces": "force"}
    for rows in ([labeled, labeled, crystal], [crystal, crystal, labeled]):
        dataset = StructureDataset.from_list(rows)
        assert [doubt.kind for doubt in doubts(dataset)] == [kinds.get(label, label)]
        assert not [*doubts(dataset[[k for k in range(3) if rows[k] is crystal]])]


def test_elements_in_their_usual_crystals():
    crystals = {z: from_ase(bulk(chemical_symbols[z])) for z in USUAL}
    doubted = {z: [*doubts(StructureDataset.from_list([c]))] for z, c in crystals.items()}
    assert len(doubted) > 50
    assert not any(doubted.values()), doubted


@pytest.mark.slow
def test_bonds_tell_angstrom():
    """No data set in another unit looks as if it were in Å."""
    files = ("ni_crystal", "si_crystal", "qm7x_sample")
    data = [Demo("ethanol"), Demo("molecules"), *(read_npz(shared(f"{f}.npz")) for f in files)]
    crystals = [StructureDataset.from_list([with_energy(symbol)]) for symbol in ("Cu", "W", "Si")]
    for dataset in data + crystals:
        assert bonds_in_angstrom(dataset)
        for length in (BOHR, 1 / BOHR, 0.1, 10.0, 0.01, 100.0):
            assert not bonds_in_angstrom(scaled(dataset, length=length))


@pytest.mark.parametrize("symbols", ["H", "He2", "Ar2"])
def test_no_bonds_tell_nothing(symbols):
    atoms = Atoms(symbols, [[0, 0, 1.0 * k] for k in range(len(Atoms(symbols)))])
    assert not bonds_in_angstrom(StructureDataset.from_list([from_ase(atoms)]))


def test_atoms_alone_have_no_neighbors():
    assert not [*doubts(StructureDataset.from_list([from_ase(Atoms("H"))]))]

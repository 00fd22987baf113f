"""Numbers about data sets that were made to have them."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

from schnetgeo.data import from_ase
from schnetgeo.data.copies import exact_copies
from schnetgeo.data.describe import elements, fields, formulas
from schnetgeo.data.distribution import distribution
from schnetgeo.data.geometry_summary import geometry_summary
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import AtomsFile, Demo
from schnetgeo.errors import InputError
from tests.data.test_packed import structures
from tests.shared_data import shared


def with_energies(values):
    parts = [from_ase(molecule("H2O")) for _ in values]
    for data, value in zip(parts, values, strict=True):
        data.energy = torch.tensor([value], dtype=torch.float64)
    return StructureDataset.from_list(parts)


def placed(*atoms):
    return StructureDataset.from_list([from_ase(a) for a in atoms])


def test_formulas_and_elements():
    names = ["CH3CH2OH", "H2O", "CH3OCH3", "C2H6", "NH3", "H2O", "CH3Cl", "Si2H6"]
    dataset = placed(*(molecule(name) for name in names))
    expected = {"C2H6O": 2, "H2O": 2, "C2H6": 1, "H3N": 1, "CH3Cl": 1, "H6Si2": 1}
    assert formulas(dataset) == expected
    assert formulas(dataset[[1, 4, 5]]) == {"H2O": 2, "H3N": 1}
    assert elements(dataset[[0, 6]]) == {"H": 9, "C": 3, "O": 1, "Cl": 1}


def test_fields():
    found = {f.name: f for f in fields(StructureDataset.from_list(structures(True)), {"mol": "D"})}
    assert found["forces"][1:5] == ("atom", [3], "float32", "eV/Å")
    assert found["cell"][1:5] == ("structure", [3, 3], "float64", "Å")
    assert found["smiles"][1:5] == ("structure", [], "text", None)
    assert "ptr" not in found


@pytest.mark.slow
def test_one_normal():
    numbers = np.random.default_rng(0).normal(-4000.0, 0.25, 20_000)
    found = distribution(with_energies(numbers[:3000]), "energy")
    assert found.count == 3000
    assert found.mean == pytest.approx(numbers[:3000].mean(), abs=1e-9)
    assert found.std == pytest.approx(numbers[:3000].std(), rel=1e-9)
    assert (found.lowest, found.highest) == (numbers[:3000].min(), numbers[:3000].max())
    assert found.counts.sum() == 3000
    assert found.bic_gain < 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [((-2.0, 0.5, 0.3), (1.0, 0.8, 0.7)), ((0.0, 0.4, 0.6), (0.0, 2.0, 0.4))],
)
def test_a_pair_of_normals(first, second):
    rng = np.random.default_rng(0)
    parts = [rng.normal(mean, std, int(4000 * share)) for mean, std, share in (first, second)]
    found = distribution(with_energies(np.concatenate(parts)), "energy")
    assert found.bic_gain > 100
    by_width = sorted(found.mixture, key=lambda normal: normal.std)
    for normal, expected in zip(by_width, (first, second), strict=True):
        assert normal == pytest.approx(expected, abs=0.1)


def test_block_by_block(monkeypatch):
    dataset = Demo("molecules")
    whole = distribution(dataset, "residual")
    monkeypatch.setattr(StructureDataset.iter_chunks, "__defaults__", (100,))
    parts = distribution(dataset, "residual")
    assert parts.normal == pytest.approx(whole.normal, rel=1e-6, abs=1e-9)
    assert parts.mixture[0] == pytest.approx(whole.mixture[0], rel=1e-3)
    assert geometry_summary(dataset) == geometry_summary(dataset[torch.randperm(len(dataset))])


def test_equal_numbers_have_no_width():
    found = distribution(with_energies([3.0] * 5), "energy")
    assert (found.std, found.normal.mean, found.mixture[0].std) == (0.0, 3.0, 0.0)
    assert found.counts.sum() == 5


def test_copies_and_mirror_images():
    first = molecule("CH3CH2OH")
    turned, mirrored, permuted, other = (first.copy() for _ in range(4))
    turned.positions = Rotation.from_rotvec([1, 2, 3]).apply(first.positions) + 5.0
    mirrored.positions[:, 0] *= -1
    permuted = permuted[np.random.default_rng(0).permutation(9)]
    other.positions[0, 0] += 1e-3
    dataset = placed(first, molecule("CH3OCH3"), first, turned, other, mirrored, permuted)
    found = geometry_summary(dataset)
    assert found.exact_copies == 1
    assert found.duplicate_groups == 1
    assert geometry_summary(dataset[[0, 1, 4]]).duplicate_groups == 0
    distances = first.get_all_distances()[np.triu_indices(9, 1)]
    assert geometry_summary(dataset[[0]])[:2] == pytest.approx((distances.min(), distances.max()))


def test_single_atoms_have_no_distances():
    assert geometry_summary(placed(molecule("H"), molecule("H"))) == (None, None, 1, 1)


def test_cells_tell_crystals_apart():
    data = structures(periodic=True)[2]
    other = data.clone()
    other.cell = other.cell * 1.01
    assert geometry_summary(StructureDataset.from_list([data, other])).exact_copies == 0


@pytest.mark.slow
def test_published_duplicates_of_qm9():
    """Among 83 groups in 128,744 molecules are about 59 of those within a random 108,744."""
    units = dict(energy_unit="Hartree", length_unit="Angstrom")
    part = AtomsFile(shared("qm9_u0_part1.npz"), energy_key="U0", **units)
    found = geometry_summary(part)
    assert found.exact_copies == 0
    assert 3 <= found.duplicate_groups <= 10
    residual = distribution(part, "residual")
    assert residual.std == pytest.approx(1.09, abs=0.02)


def test_copies_are_found_whatever_the_sign_of_zero():
    """Programs write -0.0 for coordinates that were rounded."""
    positions = [[0.0, 0, 0], [0, 0, 0.74]]
    two = [from_ase(Atoms("H2", positions=np.array(positions) * sign)) for sign in (1, [-1, -1, 1])]
    two.append(from_ase(Atoms("H2", positions=[[0, 0, 0.0], [0, 0, 0.75]])))
    assert exact_copies(StructureDataset.from_list(two)) == 1


def test_distribution_of_a_label_that_no_structure_has():
    packed, sizes = Demo("ethanol")[:5].materialize()
    packed.energy_mask = torch.zeros(5, dtype=torch.bool)
    dataset = StructureDataset(packed, sizes, "own")
    assert not dataset.has_label("energy")
    with pytest.raises(InputError, match="own: no structure has energy"):
        distribution(dataset, "energy")

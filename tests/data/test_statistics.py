import numpy as np
import pytest
import torch

from schnetgeo.data import Structure
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import element_counts, fit_atomic_references, fit_normalization
from schnetgeo.datasets import AtomsFile, Demo
from tests.shared_data import shared

MAX_Z = 20
ATOMS = {1: -13.587222780835477, 6: -1029.4889999855063, 8: -2042.9839979335, 17: -12518.663301}


def dataset(compositions_, energy_of, forces=None):
    """Atoms along a line, 1 Å apart."""
    structures = []
    for z in compositions_:
        pos = torch.arange(len(z), dtype=torch.float64).unsqueeze(1) * torch.ones(3)
        data = Structure(z=torch.tensor(z), pos=pos)
        data.energy = torch.tensor([energy_of(z)], dtype=torch.float64)
        if forces is not None:
            data.forces = forces(len(z))
        structures.append(data)
    return StructureDataset.from_list(structures)


def sum_of_atoms(z):
    return sum(ATOMS[element] for element in z)


def test_counts_of_elements():
    counts = element_counts(dataset([[6, 1, 1], [17], [1, 8, 1]], sum_of_atoms)[[2, 0]], MAX_Z)
    assert counts.shape == (2, MAX_Z)
    assert counts[0].nonzero().flatten().tolist() == [1, 8]
    assert counts[:, 1].tolist() == [2, 2]
    assert counts.sum(1).tolist() == [3, 3]


def test_recovers_energies_of_elements():
    rng = np.random.default_rng(0)
    parts = [rng.choice(list(ATOMS), rng.integers(1, 30)).tolist() for _ in range(200)]
    data = dataset(parts, sum_of_atoms)
    assert data.get_property("energy").min() < -1e5
    references = fit_atomic_references(element_counts(data, MAX_Z), data.get_property("energy"))
    assert references.dtype == torch.float64
    for z in range(MAX_Z):
        assert float(references[z]) == pytest.approx(ATOMS.get(z, 0.0), abs=1e-7)
    assert torch.count_nonzero(references) == len(ATOMS)


def test_one_composition_gives_the_smallest_solution():
    rng = np.random.default_rng(0)
    data = dataset([[6, 6, 8, *[1] * 6]] * 50, lambda z: sum_of_atoms(z) + rng.normal())
    counts, energy = element_counts(data, MAX_Z), data.get_property("energy")
    references = fit_atomic_references(counts, energy)
    assert float(counts[0].double() @ references) == pytest.approx(float(energy.mean()), abs=1e-7)
    expected = float(energy.mean()) * counts[0].double() / 41  # 2² + 1² + 6²
    torch.testing.assert_close(references, expected, rtol=1e-12, atol=1e-9)


def test_two_compositions_of_three_elements():
    data = dataset([[6, 1, 1, 1, 1], [6, 8]] * 4, sum_of_atoms)
    counts = element_counts(data, MAX_Z)
    references = fit_atomic_references(counts, data.get_property("energy"))
    torch.testing.assert_close(
        counts.double() @ references, data.get_property("energy"), rtol=0, atol=1e-7
    )


def test_translation_of_energies():
    demo = Demo("molecules")[:300]
    counts, energy = element_counts(demo, MAX_Z), demo.get_property("energy")
    moved = energy + counts.sum(1) * 1e4
    before, after = fit_atomic_references(counts, energy), fit_atomic_references(counts, moved)
    present = counts.any(0)
    torch.testing.assert_close(after[present] - before[present], torch.full((4,), 1e4).double())
    assert not after[~present].any()


def test_scale_is_that_of_the_forces():
    data = dataset([[1, 1], [6, 1, 1]], sum_of_atoms, lambda n: torch.full((n, 3), -2.5))
    references, scale = fit_normalization(data, MAX_Z)
    assert scale == pytest.approx(2.5)
    assert references.shape == (MAX_Z,)


def test_scale_without_forces_is_what_references_leave():
    sign = iter([1, -1] * 50)
    data = dataset([[6, 1, 1, 1]] * 100, lambda z: sum_of_atoms(z) + 3 * next(sign))
    assert fit_normalization(data, MAX_Z).scale == pytest.approx(3 / 2, rel=1e-6)


def test_references_of_means_are_shares():
    """For intensive targets: mixtures of two elements by their shares, whatever the size."""
    mixtures = [[1] * a + [6] * b for a, b in ((1, 1), (2, 4), (3, 1), (7, 2))]

    def value(z):
        return (-3.0 * z.count(1) + 5.0 * z.count(6)) / len(z)

    references, scale = fit_normalization(dataset(mixtures, value), MAX_Z, mean=True)
    assert references[[1, 6]].tolist() == pytest.approx([-3, 5], abs=1e-9)
    assert scale == 1


def test_scale_is_one_where_there_is_nothing_to_scale():
    exact = dataset([[6, 1], [6, 1], [1, 1]], sum_of_atoms)
    assert fit_normalization(exact, MAX_Z).scale == 1.0
    at_rest = dataset([[6, 1]], sum_of_atoms, lambda n: torch.zeros(n, 3))
    assert fit_normalization(at_rest, MAX_Z).scale == 1.0


def test_forces_alone():
    structures = []
    for data in Demo("ethanol")[:5]:
        del data.energy
        structures.append(data)
    references, scale = fit_normalization(StructureDataset.from_list(structures), MAX_Z)
    assert not references.any()
    assert 0.1 < scale < 10


def test_composition_explains_qm9_but_for_0_86_ev():
    path = shared("qm9_u0_part1.npz")
    qm9 = AtomsFile(path, energy_key="U0", energy_unit="Hartree")
    counts, energy = element_counts(qm9, MAX_Z), qm9.get_property("energy")
    error = counts.double() @ fit_atomic_references(counts, energy) - energy
    assert float(error.abs().mean()) == pytest.approx(0.86, abs=0.01)


@pytest.mark.parametrize("part", ["ethanol", "molecules"])
@pytest.mark.parametrize("forces", [False, True])
def test_block_by_block_is_all_at_once(monkeypatch, part, forces):
    dataset = Demo(part)[::2]
    if not forces:
        dataset = StructureDataset(*dataset.materialize())
        del dataset.packed.forces
    whole = fit_normalization(dataset, 10)
    monkeypatch.setattr(StructureDataset.iter_chunks, "__defaults__", (100,))
    parts = fit_normalization(dataset, 10)
    assert parts.scale == pytest.approx(whole.scale, rel=1e-9)
    counts = element_counts(dataset, 10).double()
    torch.testing.assert_close(
        counts @ parts.atomic_references, counts @ whole.atomic_references, rtol=0, atol=1e-8
    )
    torch.testing.assert_close(parts.atomic_references, whole.atomic_references, rtol=0, atol=1e-7)

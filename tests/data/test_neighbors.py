"""The radius graph: all backends against ASE, and what no backend may do."""

import time

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule
from ase.neighborlist import neighbor_list as ase_neighbor_list
from hypothesis import given, settings
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from schnetgeo.data import from_ase, neighbor_list, reverse_edges, with_edges
from schnetgeo.data.neighbors import search
from schnetgeo.errors import InputError
from tests.structures import crystals, random_cluster, random_crystal, structure


@pytest.fixture(scope="module", params=search.BACKENDS)
def backend(request):
    pytest.importorskip(request.param)
    return request.param


def ase_edges(atoms, cutoff):
    """What ASE finds, in our order."""
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell.array * atoms.pbc[:, None])  # the other vectors must not matter
    i, j, shift = ase_neighbor_list("ijS", atoms, cutoff)
    order = np.lexsort((*shift.T[::-1], j, i))
    return torch.tensor(np.array([j, i]))[:, order], torch.tensor(shift)[order].long()


def assert_same(edges, expected):
    assert torch.equal(edges[0], expected[0])
    assert torch.equal(edges[1], expected[1])


def chain():
    return Atoms("CH", [[0, 0, 0], [0.9, 0.5, 0]], cell=[2.5, 0, 0], pbc=[True, False, False])


def slab(cell2=(0, 0, 0), pbc=(True, True, False)):
    """A slab whose third lattice vector is whatever stood in the file."""
    atoms = fcc111("Cu", (2, 1, 3), a=3.6)
    cell = atoms.cell.array.copy()
    cell[2] = cell2
    atoms.set_cell(cell)
    atoms.pbc = pbc
    atoms.info.clear()
    return atoms


def far_away(atoms):
    """Each atom some hundred cells from home, each in another direction."""
    away = np.random.default_rng(0).integers(-300, 300, (len(atoms), 3)) * atoms.pbc
    atoms.positions += away @ atoms.cell.array
    return atoms


def left_handed(atoms):
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    return atoms


CASES = {
    "one atom": Atoms("He", [[1, 2, 3]]),
    "two atoms out of reach": Atoms("He2", [[0, 0, 0], [0, 0, 9]]),
    "ethanol": molecule("CH3CH2OH"),
    "C60": molecule("C60"),
    "molecule in a box without periods": Atoms("H2", [[0, 0, 0], [4, 0, 0]], cell=[5, 5, 5]),
    "one atom, cell smaller than the cutoff": bulk("Cu"),
    "silicon": bulk("Si"),
    "silicon, outside the cell": far_away(bulk("Si", cubic=True)),
    "left-handed": left_handed(bulk("Si")),
    "very skewed": Atoms(
        "CO", [[0, 0, 0], [1, 0, 0]], cell=[[3, 0, 0], [9, 3, 0], [-7, 8, 3]], pbc=1
    ),
    "flat": Atoms("CO", [[0, 0, 0], [1, 0, 0]], cell=[30, 1.7, 1.5], pbc=True),
    "slab": slab((0, 0, 20)),
    "slab without a third vector": slab(),
    "slab with a third vector askew": slab((5, -4, 3)),
    "slab with a third vector in its plane": slab((2.5, 0, 0)),
    "slab, outside the cell": far_away(slab()),
    "periodic in a and c": slab((0, 0, 8), (True, False, True)),
    "graphene": graphene(),
    "chain": chain(),
    "chain, outside the cell": far_away(chain()),
    "chain along the third vector": Atoms("C", cell=[0, 0, 1.4], pbc=[False, False, True]),
}


@pytest.mark.parametrize("name", CASES)
def test_edges_are_those_of_ase(backend, name):
    atoms = CASES[name].copy()
    atoms.positions += np.random.default_rng(0).normal(0, 0.02, (len(atoms), 3))  # no ties
    for cutoff in (0.5, 2.9, 6.1):
        assert_same(neighbor_list(from_ase(atoms), cutoff, backend), ase_edges(atoms, cutoff))


def test_an_atom_can_leave_a_slab(backend):
    atoms = slab() + Atoms("H", [[0, 0, 1e7]])  # vesin alone crashes here
    edges = neighbor_list(from_ase(atoms), 2.5, backend)
    assert_same(edges, neighbor_list(from_ase(slab()), 2.5, backend))


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        (1e4, 0.5, 1e4), (1e4, 3, 1e4), (3, 1e5, 1e5), (2e9, 3, 3), (8e3, 9, 7e3), (12, 9e3, 9e3),
        ((1e4, 0, 0), (9e3, 90, 0), (0, 0, 3e4)), (1e4, 1e4, 1e4), (500, 30, 2e5),
    ],
)  # fmt: skip
def test_long_and_thin_cells_do_not_kill_the_interpreter(backend, cell):
    atoms = Atoms("H2", [[0, 0, 0], [0, 0.2, 0.7]], cell=cell, pbc=True)
    assert_same(neighbor_list(from_ase(atoms), 5.0, backend), ase_edges(atoms, 5.0))


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(atoms=crystals() | crystals(pbc=(True, True, True)))
def test_edges_of_random_crystals_are_those_of_ase(backend, atoms):
    assert_same(neighbor_list(from_ase(atoms), 3.3, backend), ase_edges(atoms, 3.3))


@pytest.fixture(scope="module")
def many_clusters():
    rng = np.random.default_rng(1)
    atoms = [random_cluster(rng, rng.integers(1, 25)) for _ in range(500)]
    return atoms, [ase_edges(a, 2.7)[0] for a in atoms]


def test_edges_of_500_random_clusters_are_those_of_ase(backend, many_clusters):
    atoms, expected = many_clusters
    batch = Batch.from_data_list([from_ase(a) for a in atoms])
    edge_index, edge_shift = neighbor_list(batch, 2.7, backend)
    structure_of_edge = batch.batch[edge_index[1]]
    assert not edge_shift.any()
    for k, own in enumerate(expected):
        assert torch.equal(edge_index[:, structure_of_edge == k] - batch.ptr[k], own)


def full_crystals():
    rng = np.random.default_rng(2)
    return [from_ase(random_crystal(rng, n, stray=3)) for n in (1, 4, 7, 1, 12)]


def mixed():
    """Molecules, crystals, slabs and chains, some of one atom, some without edges."""
    rng = np.random.default_rng(3)
    patterns = [(False,) * 3, (True, True, False), (True, False, False)]
    atoms = [random_crystal(rng, n, pbc, stray=3) for n in (1, 4, 7) for pbc in patterns]
    more = [Atoms("He"), random_cluster(rng, 9)]
    return [from_ase(a) for a in [*atoms, *more]] + full_crystals()


kinds = pytest.mark.parametrize("structures", [full_crystals(), mixed()], ids=["crystals", "mixed"])


@kinds
@pytest.mark.parametrize("loader", [False, True])
def test_batch_has_the_edges_of_its_structures(backend, loader, structures):
    singles = [with_edges(s, 3.1, backend) for s in structures]
    if loader:
        (collated,) = DataLoader(singles, batch_size=len(singles))
    else:
        collated = Batch.from_data_list(singles)
    batch = with_edges(Batch.from_data_list(structures), 3.1, backend)
    assert torch.equal(batch.edge_index, collated.edge_index)
    assert torch.equal(batch.edge_shift, collated.edge_shift)
    assert torch.equal(batch.edge_reverse, collated.edge_reverse)
    for single, again in zip(singles, collated.to_data_list(), strict=True):
        assert torch.equal(single.edge_reverse, again.edge_reverse)
        assert torch.equal(single.edge_index, again.edge_index)


@kinds
def test_edges_are_sorted_and_come_with_their_reverse(backend, structures):
    batch = with_edges(Batch.from_data_list(structures), 3.1, backend)
    columns = torch.cat([batch.edge_index.flip(0).mT, batch.edge_shift], dim=1)
    rows = [tuple(row) for row in columns.tolist()]  # target, source, shift
    assert rows == sorted(set(rows))
    assert batch.edge_shift.any()
    reverse = batch.edge_reverse
    assert torch.equal(batch.edge_index[:, reverse], batch.edge_index.flip(0))
    assert torch.equal(batch.edge_shift[reverse], -batch.edge_shift)
    assert torch.equal(reverse[reverse], torch.arange(len(rows)))
    assert (reverse != torch.arange(len(rows))).all()


@pytest.mark.parametrize("num_atoms", [64, 65, 256, 257, 400])
def test_no_neighbor_is_lost_in_a_crowd(backend, num_atoms):
    atoms = random_cluster(np.random.default_rng(3), num_atoms, min_distance=0.2)
    few = random_cluster(np.random.default_rng(4), 3)
    batch = Batch.from_data_list([from_ase(few), from_ase(atoms), from_ase(few)])
    edge_index, _ = neighbor_list(batch, 50.0, backend)
    assert edge_index.size(1) == num_atoms * (num_atoms - 1) + 2 * 3 * 2


@pytest.mark.parametrize("length", [0.1 * 3, 1.1, 2.5, 3.7000000000000003])
def test_edges_are_shorter_than_the_cutoff(backend, length):
    pair = structure([1, 1], [[0, 0, 0], [0, length, 0]])
    cube = from_ase(Atoms("H", cell=[length] * 3, pbc=True))
    for data, number in ((pair, 2), (cube, 6)):
        assert neighbor_list(data, length, backend)[0].size(1) == 0
        assert neighbor_list(data, length * (1 + 1e-12), backend)[0].size(1) == number


def test_edges_are_symmetric_where_distance_and_cutoff_tie(backend):
    atoms = fcc111("Cu", (4, 4, 3), a=3.6, vacuum=5)
    atoms.pbc = True
    data = from_ase(atoms, drop=("adsorbate_info",))
    data = with_edges(data, 3.6 / 2**0.5, backend)  # rounding decides on each edge
    assert data.num_edges > 0
    assert torch.equal(data.edge_index[:, data.edge_reverse], data.edge_index.flip(0))
    assert torch.equal(data.edge_shift[data.edge_reverse], -data.edge_shift)


def test_no_two_structures_meet_in_a_batch(backend):
    same = [structure([1, 1], [[0, 0, 0], [0, 0, 0.7]]) for _ in range(3)]
    edge_index, _ = neighbor_list(Batch.from_data_list(same), 5.0, backend)
    assert edge_index.tolist() == [[1, 0, 3, 2, 5, 4], [0, 1, 2, 3, 4, 5]]


def test_batch_without_pointers(backend):
    batch = Batch.from_data_list([s for s in mixed() if not s.pbc.any()])
    plain = Data(z=batch.z, pos=batch.pos, batch=batch.batch)
    assert_same(neighbor_list(plain, 3.0, backend), neighbor_list(batch, 3.0, backend))


def test_float32_positions_and_gradients_do_not_matter(backend):
    data = from_ase(random_crystal(np.random.default_rng(5), 6))
    data.pos, data.cell = data.pos.float(), data.cell.float()
    expected = neighbor_list(data, 4.0, backend)
    data.pos.requires_grad_()
    data.cell.requires_grad_()
    edge_index, edge_shift = neighbor_list(data, 4.0, backend)
    assert_same((edge_index, edge_shift), expected)
    assert edge_index.dtype == edge_shift.dtype == torch.int64


@pytest.fixture(scope="module")
def big_box():
    positions = np.random.default_rng(6).uniform(0, 47, (10_000, 3))
    atoms = Atoms("H10000", positions, cell=[47] * 3, pbc=True)
    return atoms, ase_edges(atoms, 4.0)


@pytest.mark.slow
def test_ten_thousand_atoms(backend, big_box):
    atoms, expected = big_box
    data = from_ase(atoms)
    start = time.perf_counter()
    edges = neighbor_list(data, 4.0, backend)
    assert time.perf_counter() - start < 30  # all pairs of atoms and images would take minutes
    assert_same(edges, expected)


def test_cutoffs_without_meaning(backend):
    for cutoff in (0, -1.5, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"cutoff must be a positive distance.*got {cutoff}"):
            neighbor_list(structure([1], [[0, 0, 0]]), cutoff, backend)


@pytest.mark.parametrize("cutoff", [1e4, 1e30, 1e300])
def test_huge_cutoff_takes_all_pairs_or_is_refused(backend, cutoff):
    molecule = Batch.from_data_list([structure([1, 1, 1], torch.eye(3))] * 2)
    assert neighbor_list(molecule, cutoff, backend)[0].size(1) == 2 * 6
    with pytest.raises(InputError, match="cutoff = .* Å would give up to .*take a smaller cutoff"):
        neighbor_list(from_ase(bulk("Cu")), cutoff, backend)


def test_what_cannot_make_a_graph_is_refused(backend):
    good = from_ase(bulk("Si"))
    broken = good.clone()
    broken.pos[1, 2] = torch.nan
    with pytest.raises(InputError, match=r"structure 2: pos\[1, 2\] is nan"):
        neighbor_list(Batch.from_data_list([good, good, broken]), 3.0, backend)
    broken = good.clone()
    broken.cell[:] = 0
    with pytest.raises(InputError, match="structure 1: cell is singular"):
        neighbor_list(Batch.from_data_list([good, broken]), 3.0, backend)
    broken = good.clone()
    broken.cell = broken.cell[0]
    with pytest.raises(InputError, match=r"cell must have shape \(1, 3, 3\), got \(3, 3\)"):
        neighbor_list(broken, 3.0, backend)


def test_atoms_too_many_cells_apart_for_one_integer_key(backend):
    atoms = Atoms("H2", [[0, 0, 0], [1e7, 0, 0]], cell=[1, 1, 1], pbc=True)
    atoms.positions[1] += 0.5
    with pytest.raises(InputError, match="an edge crosses 1000000[01] cells; wrap the atoms"):
        neighbor_list(from_ase(atoms), 1.2, backend)


def test_unknown_backend_is_named():
    with pytest.raises(InputError, match="backend 'scipy'; known: torch_cluster, torch, vesin"):
        neighbor_list(structure([1], [[0, 0, 0]]), 1.0, "scipy")


def test_missing_backend_is_named(monkeypatch):
    monkeypatch.setattr(search, "_installed", lambda package: package == "torch")
    data = structure([1, 1], [[0, 0, 0], [0, 0, 1]])
    for name in ("torch_cluster", "vesin"):
        with pytest.raises(InputError, match=f"backend '{name}' is not installed.*take 'torch'"):
            neighbor_list(data, 2.0, name)
    assert neighbor_list(data, 2.0)[0].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("installed", "periodic", "device", "expected"),
    [
        (("torch", "torch_cluster", "vesin"), True, "cpu", "vesin"),
        (("torch", "torch_cluster", "vesin"), False, "cpu", "torch_cluster"),
        (("torch", "torch_cluster", "vesin"), True, "cuda", "torch_cluster"),
        (("torch", "torch_cluster"), True, "cpu", "torch_cluster"),
        (("torch", "vesin"), False, "cpu", "torch"),
        (("torch", "vesin"), True, "cuda", "torch"),
        (("torch",), True, "cpu", "torch"),
    ],
)
def test_default_backend(monkeypatch, installed, periodic, device, expected):
    monkeypatch.setattr(search, "_installed", lambda package: package in installed)
    assert search.default_backend(periodic, torch.device(device)) == expected


def test_installed(tmp_path, monkeypatch):
    (tmp_path / "for_another_torch.py").write_text("raise OSError('undefined symbol')")
    monkeypatch.syspath_prepend(tmp_path)
    assert search._installed("torch")
    assert not search._installed("torch_clutter")
    assert not search._installed("for_another_torch")


def test_with_edges_leaves_its_argument_alone():
    data = from_ase(bulk("Si"))
    out = with_edges(data, 3.0)
    assert not {"edge_index", "edge_shift", "edge_reverse", "edge_cutoff"} & set(data.keys())
    assert out.pos is data.pos
    assert with_edges(out, 3.0) is out


def test_edges_for_a_smaller_cutoff_are_refused():
    parts = [with_edges(from_ase(bulk("Si")), cutoff) for cutoff in (5.1, 4.0)]
    with pytest.raises(InputError, match="built for a cutoff of 4.0 Å, but 5.1 Å is asked for; b"):
        with_edges(Batch.from_data_list(parts), 5.1)
    assert with_edges(parts[0], 5.1) is parts[0]


def test_reverse_of_no_edges():
    edge_index, edge_shift = neighbor_list(structure([2], [[0, 0, 0]]), 4.0)
    assert edge_index.shape == (2, 0)
    assert edge_shift.shape == (0, 3)
    assert reverse_edges(edge_index, edge_shift, 1).shape == (0,)

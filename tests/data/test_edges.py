"""Edges that are there already: taken in any order, cut down, or refused with the reason."""

import copy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

import schnetgeo as sg
from schnetgeo.data import Structure, from_ase, graph, with_edges
from schnetgeo.data.graph import sort_edges
from schnetgeo.errors import InputError
from schnetgeo.geometry import distances, edge_vectors
from tests.structures import clusters, crystals

CUTOFF = 3.0


def potential_of(filters="spline", **options):
    torch.manual_seed(0)
    model = sg.SchNet(channels=8, num_layers=2, num_basis=12, cutoff=CUTOFF, **options)
    return sg.Potential(model, filters=filters).double().eval()


SPLINE, EXACT = potential_of(), potential_of(filters="exact")
TABULATED = SPLINE.tabulate(1e-6)


def with_own_edges(data, change=lambda index, shift: (index, shift), reach=CUTOFF):
    """The radius graph, changed, without a word on how it came about."""
    data = with_edges(data, reach)
    index, shift = change(data.edge_index, data.get("edge_shift"))
    data.edge_index, data.edge_shift = index, shift
    data.edge_reverse = data.edge_cutoff = None
    return data


def choose(which):
    return lambda index, shift: (index[:, which], None if shift is None else shift[which])


def bonds(index, shift):
    """Between C and H of methane, none from H to H."""
    return choose((index == 0).any(0))(index, shift)


def one_direction(index, shift):
    return choose(index[0] < index[1])(index, shift)


def doubled(index, shift):
    return torch.cat([index, index], 1), None if shift is None else torch.cat([shift, shift])


def looped(index, shift):
    loop = torch.arange(int(index.max()) + 1).repeat(2, 1)
    shift = None if shift is None else torch.cat([shift, shift.new_zeros(loop.size(1), 3)])
    return torch.cat([index, loop], 1), shift


def first_neighbors(index, shift):
    """At most two of each atom, as lists with room for so many have them."""
    place = torch.arange(index.size(1)) - torch.searchsorted(index[1], index[1])
    return choose(place < 2)(index, shift)


def unshifted(index, shift):
    return index, None


def within_the_cell(index, shift):
    return index[:, (shift == 0).all(1)], None


def across_a_face(index, shift):
    more = torch.tensor([[0, 1], [1, 0]])
    away = torch.tensor([[0, 0, -1], [0, 0, 1]])
    return torch.cat([index, more], 1), torch.cat([shift, away])


METHANE, SALT = from_ase(molecule("CH4")), from_ase(bulk("NaCl", "rocksalt", a=4.1, cubic=True))
PAIR = Atoms("H2", [[0, 0, 2.9], [0, 0, 0.1]], cell=[9, 9, 3], pbc=[True, True, False])


@pytest.mark.parametrize(
    "potential", [SPLINE, EXACT, TABULATED], ids=["spline", "exact", "tabulated"]
)
@pytest.mark.parametrize(
    ("data", "change", "message"),
    [
        (METHANE, bonds, "lacks 12 of the 20 edges .* within 3.0 Å, such as 2 → 1"),
        (METHANE, one_direction, "lacks 10 of the 20 edges"),
        (METHANE, doubled, "has the edge 1 → 0 more than once"),
        (METHANE, looped, "joins atom 0 to itself"),
        (METHANE, first_neighbors, "lacks 10 of the 20 edges"),
        (METHANE, choose(slice(0)), "lacks 20 of the 20 edges"),
        (METHANE, choose(slice(1, None)), "lacks 1 of the 20 edges"),
        (SALT, unshifted, "has the edge .* more than once"),
        (SALT, within_the_cell, r"lacks \d+ of the \d+ edges .* with edge_shift .*Å long"),
        (SALT, doubled, "has the edge .* more than once"),
        (SALT, looped, "joins atom 0 to itself"),
        (SALT, choose(slice(3, None)), "lacks 3 of the"),
        (from_ase(PAIR), across_a_face, ".* not in the radius graph: .* face of the cell"),
    ],
)  # fmt: skip
def test_edges_that_differ_from_the_radius_graph_are_refused(potential, data, change, message):
    with pytest.raises(InputError, match=f"edge_index {message}.*; delete edge_index, and the mo"):
        potential(with_own_edges(data, change))


def test_edges_between_structures_are_refused():
    batch = Batch.from_data_list([with_own_edges(METHANE) for _ in range(2)])
    batch.edge_index = torch.cat([batch.edge_index, torch.tensor([[0, 5], [5, 0]])], 1)
    batch.edge_shift = batch.edge_shift.new_zeros(batch.num_edges, 3)
    with pytest.raises(InputError, match="edge 0 → 5, which is not in the radius graph: it leads"):
        SPLINE(batch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (bonds, "such as 7 → 6 of structure 1, "),
        (doubled, "has the edge 6 → 5 of structure 1 more than once"),
        (looped, "joins atom 5 of structure 1 to itself"),
    ],
)
def test_the_structure_of_a_batch_is_named(change, message):
    parts = [with_own_edges(METHANE), with_own_edges(METHANE, change)]
    with pytest.raises(InputError, match=message):
        SPLINE(Batch.from_data_list(parts))


def test_molecules_of_pyg_with_their_bonds():
    """As QM9 of PyG has them; its loader makes batches of them."""
    data = Data(z=METHANE.z, pos=METHANE.pos, edge_index=bonds(*edges_of(METHANE))[0], y=None)
    for form in (data, Batch.from_data_list([data, data])):
        with pytest.raises(InputError, match="lacks .* of the .* bonds do, .*; delete edge_index"):
            SPLINE(form)


def edges_of(data):
    data = with_edges(data, CUTOFF)
    return data.edge_index, data.get("edge_shift")


@pytest.mark.parametrize(
    "potential", [SPLINE, EXACT, TABULATED], ids=["spline", "exact", "tabulated"]
)
@settings(deadline=None, max_examples=25)
@given(atoms=clusters(8) | crystals(4), seed=st.integers(0, 99), reach=st.sampled_from([3, 4.1]))
def test_edges_in_any_order_are_right(potential, atoms, seed, reach):
    """Those of one's own, also with more that are longer than the cutoff, and in int32."""
    data, generator = from_ase(atoms), torch.Generator().manual_seed(seed)
    number = with_edges(data, reach).num_edges
    order = torch.randperm(number, generator=generator)
    data, expected = with_own_edges(data, choose(order), reach), potential(data)
    data.edge_index, before = data.edge_index.int(), data.edge_index.clone()
    found = potential(data)
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-10, atol=1e-10)
    assert torch.equal(data.edge_index, before.int())


def test_edges_stay_in_their_order():
    """So that what a user knows of each edge still belongs to it."""
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    data = with_own_edges(METHANE, choose(order))
    again = with_edges(data, CUTOFF)
    assert torch.equal(again.edge_index, data.edge_index)
    assert with_edges(again, CUTOFF) is again


@pytest.mark.parametrize("atoms", [molecule("CH3CH2OH"), bulk("Si")], ids=["molecule", "crystal"])
def test_edges_that_nobody_looks_at_are_sorted(monkeypatch, atoms):
    """As on a GPU, which would have to be waited for; sorting what is sorted changes nothing."""
    monkeypatch.setattr(graph, "_is_known_as_sorted", lambda data: False)
    expected = with_edges(from_ase(atoms), CUTOFF)
    order = torch.randperm(expected.num_edges, generator=torch.Generator().manual_seed(0))
    own = with_own_edges(from_ase(atoms), choose(order))
    assert torch.equal(sort_edges(own).edge_index, expected.edge_index)
    assert sort_edges(own).get("edge_reverse") is None
    again = sort_edges(expected)
    assert again is not expected
    for name in ("edge_index", "edge_shift", "edge_reverse"):
        assert torch.equal(again[name], expected[name])


def test_rounding_at_the_cutoff_is_no_difference():
    atoms = Atoms("H3", [[0, 0, 0], [0, 0, CUTOFF * (1 - 1e-7)], [0, 1, 0]])
    index = torch.tensor([[2, 0, 2, 1], [0, 2, 1, 2]])  # without the one of the cutoff's length
    data = from_ase(atoms)
    expected = SPLINE(data)
    data.edge_index = index[:, (distances_of(data, index) < CUTOFF)]
    torch.testing.assert_close(SPLINE(data).forces, expected.forces, rtol=1e-6, atol=1e-6)


def distances_of(data, index):
    return distances(edge_vectors(Structure(z=data.z, pos=data.pos, edge_index=index)))


def test_what_belongs_to_an_edge_is_cut_down_with_it():
    data = with_edges(from_ase(molecule("CH3CH2OH")), 5.0)
    data.edge_attr = distances(edge_vectors(data))
    data.edge_weight = torch.arange(data.num_edges)
    short = with_edges(data, CUTOFF)
    assert torch.equal(short.edge_attr, distances(edge_vectors(short)))
    assert bool((short.edge_attr < CUTOFF).all())
    assert torch.equal(data.edge_attr[short.edge_weight], short.edge_attr)
    assert torch.equal(short.edge_index[:, short.edge_reverse], short.edge_index.flip(0))
    assert short.edge_cutoff.tolist() == [CUTOFF]
    expected = with_edges(from_ase(molecule("CH3CH2OH")), CUTOFF)
    assert torch.equal(short.edge_index, expected.edge_index)
    assert torch.equal(short.edge_reverse, expected.edge_reverse)


@pytest.mark.parametrize("change", [lambda d: with_edges(d, CUTOFF), with_own_edges])
def test_plain_data_batch_rightly(change):
    """PyG counts no edges of plain data, so that they carry nothing that would need it."""
    singles = [Data(z=d.z, pos=d.pos) for d in (METHANE, from_ase(molecule("H2O")))]
    expected = torch.cat([SPLINE(d).energy for d in singles])
    for potential in (SPLINE, EXACT, TABULATED):
        found = potential(Batch.from_data_list([change(d) for d in singles])).energy
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"edge_index": torch.zeros(2, 3)}, "edge_index must hold integers, got torch.float32"),
        ({"edge_index": torch.zeros(3, 2).long()}, r"must have shape \(2, E\), got \(3, 2\)"),
        ({"edge_index": torch.zeros(4).long()}, r"must have shape \(2, E\), got \(4,\)"),
        ({"edge_index": torch.tensor([[0, 7], [1, 0]])}, r"must lie in 0 … 4, .* got 0 … 7"),
        ({"edge_index": torch.tensor([[0, -1], [1, 0]])}, r"must lie in 0 … 4, .* got -1 … 1"),
        ({"edge_index": [[0, 1], [1, 0]]}, "edge_index must be a tensor of integers, got list"),
        ({"edge_shift": torch.zeros(2, 3).long()}, r"edge_shift must have shape \(20, 3\)"),
        ({"edge_shift": torch.zeros(20, 3)}, "edge_shift must hold integers, got torch.float32"),
        ({"edge_shift": torch.ones(20, 3).long()}, "counts lattice vectors, but cell is missing"),
        ({"pos": METHANE.pos * torch.nan}, r"pos\[0, 0\] is nan, but must be finite"),
    ],
)
@pytest.mark.parametrize(
    "potential", [SPLINE, EXACT, TABULATED], ids=["spline", "exact", "tabulated"]
)
def test_edges_of_another_form_are_refused(potential, fields, message):
    index = edges_of(METHANE)[0]
    data = Structure(z=METHANE.z, pos=METHANE.pos, edge_index=index).update(fields)
    with pytest.raises(InputError, match=message):
        potential(data)


def test_a_larger_graph_is_cut_down_to_a_smaller_cutoff_and_not_the_reverse():
    data = with_edges(SALT, 4.5)
    expected = with_edges(SALT, CUTOFF)
    found = with_edges(data, CUTOFF)
    for name in ("edge_index", "edge_shift", "edge_reverse", "edge_cutoff"):
        assert torch.equal(found[name], expected[name])
    assert with_edges(data, CUTOFF, longer=True) is data
    for longer in (False, True):
        with pytest.raises(InputError, match="built for a cutoff of 4.5 Å, but 5.0 Å is asked fo"):
            with_edges(data, 5.0, longer=longer)


class Pairs(torch.nn.Module):
    """A model that trusts its edges: Σ_e (r_e − 4)²."""

    cutoff, max_z = CUTOFF, 100

    def forward(self, data):
        energy = (distances(edge_vectors(data)) - 4).square()
        structure = sg.geometry.batch_index(data)[data.edge_index[1]]
        return energy.new_zeros(sg.geometry.num_structures(data)).index_add(0, structure, energy)


class Unmasked(torch.nn.Module):
    """Right below the cutoff alone."""

    def __init__(self, cutoff):
        super().__init__()
        self.cutoff = cutoff

    def forward(self, distance):
        return 0.5 * (torch.cos(distance * np.pi / self.cutoff) + 1)


@pytest.mark.parametrize(
    "potential",
    [
        sg.Potential(Pairs()).eval(),
        potential_of(cutoff_fn=Unmasked),
        potential_of(cutoff_fn=Unmasked, filters="exact"),
        SPLINE,
        EXACT,
        TABULATED,
    ],
    ids=["own model", "unmasked spline", "unmasked exact", "spline", "exact", "tabulated"],
)
@settings(deadline=None, max_examples=10)
@given(atoms=clusters(8) | crystals(3))
def test_no_model_sees_edges_beyond_its_cutoff(potential, atoms):
    data = from_ase(atoms)
    expected, longer = potential(data), potential(with_edges(data, 1.3 * CUTOFF))
    torch.testing.assert_close(longer.energy, expected.energy, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(longer.forces, expected.forces, rtol=1e-9, atol=1e-9)
    atoms = copy.copy(atoms)
    atoms.calc = sg.Calculator(potential, skin=0.7)
    assert atoms.get_potential_energy() == pytest.approx(float(expected.energy), rel=1e-8, abs=1e-8)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, rtol=1e-8, atol=1e-8)

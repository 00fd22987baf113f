"""Tabulated potentials hold their tolerance, and answer as the potentials they were made from."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler

import numba
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from schnetgeo.data import from_ase, with_edges
from schnetgeo.engine.numba import blocks, tabulated
from schnetgeo.engine.numba.tables import Filters, build_tables
from schnetgeo.errors import InputError
from schnetgeo.nn import Baseline, MeanReadout, RadialConv, SchNet
from schnetgeo.ops.activations import curvature, sigmoid_of, silu_of, softplus_of
from schnetgeo.potential import Potential, Prediction
from tests.engine.potentials import MODELS, SIZES, batch_of, rattled
from tests.nn.weights import randomize
from tests.structures import clusters, crystals, random_cluster

few_examples = settings(max_examples=10, deadline=None, derandomize=True)
VARIANTS = {
    "in_bias": dict(in_bias=True),
    "mean": dict(readout=MeanReadout),
    "one layer": dict(num_layers=1),
    "five channels": dict(channels=5, readout_channels=3),
    "tanh": dict(activation=nn.Tanh),
    "gelu": dict(readout_activation=nn.GELU),
}
NAMES = [*MODELS, *SchNet.presets, *VARIANTS]
# without a cutoff function the filters are as large at the cutoff, where most edges are
_FACTOR = dict(paper2017=6, jcp2018=6)


def model_of(name="SchNet", **changes):
    if name in MODELS and not changes:
        model = MODELS[name]()
    else:
        arguments = SchNet.presets.get(name, {}) | SIZES | VARIANTS.get(name, {}) | changes
        model = SchNet(**arguments)
    return randomize(model.double(), seed=1)


def potential_of(name="SchNet", filters="spline", spacing=None, **changes):
    model = model_of(name, **changes)
    references = torch.linspace(-500, 0, model.max_z).double()
    return Potential(model, references, scale=1.7, filters=filters, spacing=spacing).eval()


TABULATED = {name: potential_of(name).tabulate(1e-7) for name in ("SchNet", "PaiNN")}
FLOAT = potential_of().float().tabulate(1e-5)
EXACT = {name: potential_of(name, "exact") for name in TABULATED}


def nacl():
    return bulk("NaCl", "rocksalt", a=5.64)


def bare(name="SchNet", filters="spline"):
    """Without atomic references."""
    return Potential(model_of(name), scale=3.0, filters=filters).eval()


def assert_within(found, expected, tolerance, floor=0.0):
    """Errors relative to the largest value."""
    for one, other in zip(tensors(found), tensors(expected), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        limit = tolerance * max(float(other.abs().max()), floor)
        torch.testing.assert_close(one, other, rtol=0, atol=limit)


def tensors(results):
    """Those of a prediction, or of a tuple."""
    return [y for _, y in results.items()] if isinstance(results, Prediction) else results


@pytest.mark.parametrize("name", NAMES)
def test_holds_the_tolerance(name):
    exact, fast = bare(name, "exact"), bare(name)
    boxed = rattled("CH3CH2OH")
    boxed.set_cell([9, 9, 9])
    boxed.pbc = True
    data = batch_of(boxed, nacl())
    expected = exact(data, stress=True)
    for tolerance in (1e-4, 1e-7):
        fast_tables = fast.tabulate(tolerance)
        assert fast_tables.error <= tolerance
        assert_within(fast_tables(data, stress=True), expected, _FACTOR.get(name, 1) * tolerance)


@pytest.mark.parametrize("name", TABULATED)
@few_examples
@given(atoms=st.lists(st.one_of(clusters(9), crystals(4)), min_size=1, max_size=4))
def test_molecules_crystals_and_batches(name, atoms):
    """Cells smaller than the cutoff and atoms without neighbors among them."""
    data = batch_of(*atoms) if len(atoms) > 1 else from_ase(atoms[0])
    assert_within(TABULATED[name](data), EXACT[name](data), 1e-7, floor=1.0)


@pytest.mark.parametrize("name", TABULATED)
@pytest.mark.parametrize("atoms", [Atoms("C"), Atoms("CO", [[0, 0, 0], [0, 0, 50]])])
def test_no_edges(name, atoms):
    found = TABULATED[name](from_ase(atoms))
    assert not found.forces.any()
    torch.testing.assert_close(found.energy, EXACT[name](from_ase(atoms)).energy, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", TABULATED)
@few_examples
@given(atoms=st.one_of(clusters(9), crystals(4)), seed=st.integers(0, 99))
def test_edges_of_a_skin_in_any_order(name, atoms, seed):
    data = from_ase(atoms)
    expected, longer = TABULATED[name](data), with_edges(data, 5.5)
    order = torch.randperm(longer.num_edges, generator=torch.Generator().manual_seed(seed))
    longer.edge_index = longer.edge_index[:, order]
    if longer.get("edge_shift") is not None:
        longer.edge_shift = longer.edge_shift[order]
    del longer.edge_reverse
    assert_within(TABULATED[name](longer), expected, 1e-13, floor=1.0)


def test_float32():
    data = batch_of(nacl(), rattled("CH3CH2OH"))
    found = FLOAT(data)
    assert found.energy.dtype == torch.float64
    assert found.forces.dtype == torch.float32
    expected = EXACT["SchNet"](data)
    assert_within((found.energy, found.forces.double()), (expected.energy, expected.forces), 3e-5)


@pytest.mark.parametrize("size", [130, 333])
def test_several_threads_equal_one(monkeypatch, size):
    """The same bits on every run, and what one thread gives but for the order of sums."""
    molecules = [random_cluster(np.random.default_rng(k), size // 9) for k in range(9)]
    batches = batch_of(*molecules), from_ase(random_cluster(np.random.default_rng(0), size))
    monkeypatch.setattr(blocks, "_WORK_OF_THREAD", 1)  # so that small batches are shared too
    for fast, rounding in (*[(f, 1e-13) for f in TABULATED.values()], (FLOAT, 1e-5)):
        for data in batches:
            monkeypatch.setattr(tabulated.threads, "num_threads", lambda: 3)
            many, again = fast(data), fast(data)
            monkeypatch.setattr(tabulated.threads, "num_threads", lambda: 1)
            for first, second in zip(tensors(many), tensors(again), strict=True):
                assert torch.equal(first, second)
            assert_within(fast(data), many, rounding)


def table_values(table, spacing, r, order):
    """A cubic spline and its derivative, by their definition."""
    knot = (r / spacing).long()
    t = r / spacing - knot
    matrix = torch.tensor([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6
    powers = [t**0, t, t**2, t**3] if order == 0 else [0 * t, t**0, 2 * t, 3 * t**2]
    weights = (matrix.double().T @ torch.stack(powers)) / spacing**order
    return sum(weights[q].unsqueeze(1) * table[knot + q] for q in range(4))


def sampled_error(filters, tables, count=20_000):
    """Of values and slopes at places that the package did not choose."""
    random, worst = np.random.default_rng(7), 0.0
    r = torch.from_numpy(random.uniform(0, filters.cutoff, count))
    exact = torch.func.jvp(lambda r: torch.cat(filters(r), 1), (r,), (torch.ones_like(r),))
    table, column = torch.cat([t.double() for t in tables.coefficients], 1), 0
    for part in tables.coefficients:
        columns = slice(column, column := column + part.size(1))
        for order, want in enumerate(exact):
            found = table_values(table, tables.spacing, r, order)[:, columns]
            difference = (found - want[:, columns]).abs().max()
            worst = max(worst, float(difference / want[:, columns].abs().max()))
    return worst


@pytest.mark.parametrize("name", ["SchNet", "paper2017", "Gate", "PaiNN"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_the_reported_error_is_honest(name, tolerance):
    potential = potential_of(name)
    reading = potential.engine.read(potential.model)
    filters = Filters.of(potential.model, reading.program.filters, reading.parameters)
    tables = build_tables(filters, tolerance, torch.float64)
    assert potential.tabulate(tolerance).error == tables.error <= tolerance
    assert 0.1 * tables.error < sampled_error(filters, tables) < 2 * tables.error


@pytest.mark.parametrize("changes", [{}, {"spacing": 1e-4}])
def test_a_tolerance_that_cannot_be_held(changes):
    message = "tolerance=1e-09 cannot be held: the best table errs by .* in torch.float32; raise"
    with pytest.raises(InputError, match=message):
        potential_of(**changes).float().tabulate(1e-9)
    for tolerance in (0, -1, float("nan")):
        with pytest.raises(InputError, match=f"tolerance must be positive.* got {tolerance}"):
            potential_of().tabulate(tolerance)


def test_weights_that_are_not_numbers():
    potential = potential_of()
    potential.model.interactions[0].conv.filter[0].weight.data[0, 0] = torch.nan
    with pytest.raises(InputError, match="cannot be held: the best table errs by nan"):
        potential.tabulate()


def test_threads_tabulate_at_once():
    """torch.func has one stack of levels of differentiation for all threads."""
    potential = bare()
    with ThreadPoolExecutor(8) as threads:
        errors = list(threads.map(lambda _: potential.tabulate(1e-6).error, range(24)))
    assert set(errors) == {potential.tabulate(1e-6).error}


def test_the_given_potential_is_left_alone():
    potential = potential_of().train()
    state = copy.deepcopy(potential.state_dict())
    fast, data = potential.tabulate(), batch_of(nacl())
    expected = fast(data).energy
    assert potential.training
    with torch.no_grad():
        for name, tensor in potential.state_dict().items():
            assert torch.equal(tensor, state[name])
            tensor += 1
    assert torch.equal(fast(data).energy, expected)


def test_data_are_left_alone_and_nothing_needs_a_graph():
    data = from_ase(nacl())
    data.pos.requires_grad_()
    keys, pos = data.keys(), data.pos.detach().clone()
    first = TABULATED["SchNet"](data, stress=True)
    second = TABULATED["SchNet"](data, stress=True)
    assert data.keys() == keys
    assert torch.equal(data.pos, pos)
    for one, other in zip(first, second, strict=True):
        assert not one.requires_grad
        assert torch.equal(one, other)
    assert TABULATED["SchNet"](data, forces=False).forces is None
    assert TABULATED["SchNet"](data).stress is None


def with_hook():
    potential = potential_of()
    potential.model.interactions[0].register_forward_hook(lambda *_: None)
    return potential


class Unreadable(RadialConv):
    """A layer whose messages are sorted: no sum of products."""

    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)

    def message(self, x_j, W):
        return (x_j * W).sort(-1).values


@pytest.mark.parametrize(
    ("potential", "message"),
    [
        (Potential(Baseline()), "tabulate is for models that the engine reads, but Baseline"),
        (potential_of(conv=Unreadable), "Unreadable.message"),
        (with_hook(), "Interaction .interactions.0. has a hook"),
    ],
    ids=["baseline", "conv", "hook"],
)
def test_other_models_are_refused(potential, message):
    with pytest.raises(InputError, match=message):
        potential.tabulate()


def changed(**fields):
    data = with_edges(from_ase(nacl()), 4.0)
    for name, value in fields.items():
        data[name] = value(data[name]) if callable(value) else value
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(z=torch.tensor([11, 200])), "z"),
        (changed(edge_reverse=lambda r: r.roll(1)), "edge_reverse must point"),
        (changed(edge_reverse=lambda r: r + 1000), "edge_reverse must point"),
        (changed(edge_reverse=lambda r: r - 1000), "edge_reverse must point"),
        (changed(edge_reverse=lambda r: r[:-1]), "edge_reverse must point"),
        (changed(edge_shift=lambda s: s + 1), "edge_reverse must point"),
        (changed(edge_index=lambda e: e + 5), "edge_index must lie in 0 … 1"),
        (changed(pos=lambda p: p[:1]), r"pos must have shape \(2, 3\), .* got \(1, 3\)"),
    ],
    ids=["element", "rolled", "too large", "negative", "too few", "shifts", "atoms", "positions"],
)
def test_bad_data_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        TABULATED["SchNet"](data)


def test_edges_beyond_the_atoms_of_a_molecule():
    data = from_ase(rattled("H2O"))
    data.edge_index = torch.tensor([[900_000_000, 0], [0, 900_000_000]])
    data.edge_reverse = torch.tensor([1, 0])
    data.edge_cutoff = torch.tensor([4.0])
    with pytest.raises(InputError, match="edge_reverse must point"):
        TABULATED["SchNet"](data)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_positions_that_are_no_numbers_are_refused(value):
    """As a trajectory that explodes has them, with edges kept from before."""
    data = with_edges(from_ase(rattled("CH4")), 4.0)
    data.pos = data.pos.clone()
    data.pos[1, 0] = value
    for potential in (*TABULATED.values(), potential_of()):
        with pytest.raises(InputError, match=r"data, structure 0: pos\[1, 0\] is .*must be finite"):
            potential(data)


def test_an_atom_at_the_end_of_the_world():
    """No crash where the distance has no place in a table."""
    data = with_edges(from_ase(rattled("CH4")), 4.0)
    data.pos = data.pos.clone()
    data.pos[1, 0] = 1e100
    assert not TABULATED["SchNet"](data).forces[1].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activations_of_huge_numbers(dtype):
    """No garbage from the exponential where it underflows."""
    potential = potential_of()
    with torch.no_grad():
        for interaction in potential.model.interactions:
            interaction.lin2.weight.mul_(1e5)
            interaction.lin3.weight.mul_(1e-5)
        potential.model.readout.lin1.weight.mul_(1e3)
    exact = copy.deepcopy(potential)
    data = batch_of(rattled("CH3CH2OH"), nacl())
    expected = exact(data)
    found = potential.to(dtype).tabulate(1e-5)(data)
    assert_within((found.energy, found.forces.double()), (expected.energy, expected.forces), 1e-3)


@numba.njit
def softplus(h, first, second):
    softplus_of(h, first)
    curvature(first, second)


@numba.njit
def silu(h, first, second):
    silu_of(h, first, second)


@numba.njit
def sigmoid(h, first, second):
    sigmoid_of(h, first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activations_equal_those_of_torch(dtype):
    finfo = torch.finfo(dtype)
    h = torch.cat([torch.linspace(-120, 120, 4001), torch.tensor([-1e30, -1e4, -0.0, 1e4, 1e30])])
    h = h.to(dtype)
    cases = {
        softplus: lambda x: torch.nn.functional.softplus(x, threshold=700) - np.log(2),
        silu: lambda x: x * torch.sigmoid(x),
        sigmoid: torch.sigmoid,
    }
    for function, activation in cases.items():
        value = h.numpy().copy()
        first, second = np.empty_like(value), np.empty_like(value)
        function(value, first, second)
        wide = h.double().clone().requires_grad_()
        expected = activation(wide)
        (slope,) = torch.autograd.grad(expected.sum(), wide, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), wide)
        for found, want in ((value, expected.detach()), (first, slope.detach()), (second, bend)):
            tolerance = 64 * finfo.eps
            torch.testing.assert_close(
                torch.from_numpy(found).double(), want, rtol=tolerance, atol=tolerance
            )


def energies_of_a_run(potential, steps, timestep=0.5 * units.fs):
    """Total energy, eV, along velocity Verlet of ethanol at 300 K."""
    atoms = rattled("CH3CH2OH")
    random, masses = np.random.default_rng(0), torch.from_numpy(atoms.get_masses()).unsqueeze(1)
    data = with_edges(from_ase(atoms), 30.0)  # all pairs, so that the list holds for good
    velocities = torch.from_numpy(random.normal(size=(9, 3))) * (300 * units.kB / masses).sqrt()
    energies, forces = [], potential(data).forces
    for _ in range(steps):
        velocities = velocities + 0.5 * timestep * forces / masses
        data.pos = data.pos + timestep * velocities
        prediction = potential(data)
        forces = prediction.forces
        velocities = velocities + 0.5 * timestep * forces / masses
        kinetic = 0.5 * (masses * velocities.square()).sum()
        energies.append(float(prediction.energy + kinetic))
    return np.array(energies)


@pytest.mark.parametrize("name", ["SchNet", "PaiNN"])
def test_dynamics_with_tables_conserve_energy_as_well(name):
    """500 steps of 0.5 fs; the change of the mean from the first to the last hundred."""
    exact = energies_of_a_run(bare(name, "exact"), 500)
    fast = energies_of_a_run(bare(name).tabulate(1e-5), 500)
    drift, fast_drift = (abs(e[-100:].mean() - e[:100].mean()) for e in (exact, fast))
    assert exact.std() > 0  # the integrator's own
    assert fast_drift < drift + 0.1 * exact.std()
    assert fast.std() == pytest.approx(exact.std(), rel=0.1)


@pytest.mark.parametrize("send", [ForkingPickler.dumps, lambda p: p.model.share_memory()])
def test_it_owns_its_memory(send):
    """Whatever moves the tensors of the model, as sending it to another process does."""
    potential = potential_of(channels=32).tabulate(1e-6)
    data = from_ase(rattled("CH3OH"))
    wanted = potential(data)
    send(potential)
    rest = [torch.full((n,), 7.0) for n in (16, 32, 128, 1024, 2048, 4096) for _ in range(100)]
    result = potential(data)
    assert torch.equal(result.energy, wanted.energy)
    assert torch.equal(result.forces, wanted.forces)
    assert all(bool((t == 7).all()) for t in rest)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_copies_have_the_same_bits(copied):
    potential = potential_of(channels=12).tabulate(1e-6)
    data = from_ase(rattled("CH3OH"))
    wanted, other = potential(data), copied(potential)
    result = other(data)
    assert torch.equal(result.energy, wanted.energy)
    assert torch.equal(result.forces, wanted.forces)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_types_of_those_of_the_potential(dtype):
    potential = potential_of(channels=8).to(dtype)
    data = from_ase(bulk("Si"))
    wanted, result = potential(data, stress=True), potential.tabulate(1e-3)(data, stress=True)
    assert [value.dtype for value in result] == [value.dtype for value in wanted]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("z", lambda z: z * 0, r"z\[0\] = 0 is not an atomic number"),
        ("z", lambda z: z + 200, "is not an atomic number"),
        ("z", lambda z: z.double(), "one integer per atom"),
        ("pos", lambda pos: pos[:-1], "pos must have shape"),
        ("pos", lambda pos: pos.long(), "floating-point"),
        ("pos", lambda pos: pos.index_fill(0, torch.tensor(3), np.nan), r"pos\[3, 0\] is nan"),
        ("pos", lambda pos: pos.index_fill(0, torch.tensor(3), np.inf), r"pos\[3, 0\] is inf"),
        ("edge_cutoff", lambda reach: reach - 2, "were built for a cutoff"),
        ("edge_cutoff", lambda reach: reach * np.nan, "were built for a cutoff"),
    ],
)  # fmt: skip
def test_wrong_input_with_edges_is_named(field, value, message):
    data = with_edges(from_ase(rattled("CH3CH2OH")), 5.0)
    data[field] = value(data[field])
    with pytest.raises(InputError, match=message):
        TABULATED["SchNet"](data)


def test_a_position_without_edges_must_be_finite():
    data = with_edges(from_ase(Atoms("CO", [[0, 0, 0], [0, 0, 50]])), 5.0)
    data.pos[1, 2] = np.nan
    with pytest.raises(InputError, match=r"pos\[1, 2\] is nan"):
        TABULATED["SchNet"](data)

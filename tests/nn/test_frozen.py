import copy
import pickle
from multiprocessing.reduction import ForkingPickler

import numba
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch

from schnetgeo.data import from_ase, with_edges
from schnetgeo.errors import InputError
from schnetgeo.nn import Baseline, MeanReadout, RadialConv, SchNet, frozen
from schnetgeo.ops.activations import curvature, silu_of, softplus_of
from schnetgeo.potential import Potential
from tests.nn.weights import randomize
from tests.structures import clusters, crystals, random_cluster

few_examples = settings(max_examples=10, deadline=None, derandomize=True)
SMALL = dict(channels=8, num_layers=2, num_basis=8, cutoff=4.0)
VARIANTS = {
    **{name: dict(preset=name, channels=12, num_basis=15, cutoff=4.0) for name in SchNet.presets},
    "in_bias": dict(in_bias=True),
    "mean": dict(readout=MeanReadout),
    "one layer": dict(num_layers=1),
    "five channels": dict(channels=5, readout_channels=3),
}


def small(preset=None, **changes):
    arguments = {**SMALL, **changes}
    model = SchNet.preset(preset, **arguments) if preset else SchNet(**arguments)
    return randomize(model.double(), seed=1)


def potential_of(filters="spline", spacing=None, **changes):
    references, model = torch.linspace(-500, 0, 100).double(), small(**changes)
    return Potential(model, references, scale=1.7, filters=filters, spacing=spacing).eval()


FROZEN = potential_of().tabulate(1e-7)
FROZEN_FLOAT = potential_of().float().tabulate(1e-5)
EXACT = potential_of("exact")


def rattled(atoms, seed=0):
    atoms = molecule(atoms) if isinstance(atoms, str) else atoms
    atoms.rattle(0.1, seed=seed)
    return atoms


def batch_of(*atoms):
    return Batch.from_data_list([from_ase(a) for a in atoms])


def nacl():
    return rattled(bulk("NaCl", "rocksalt", a=5.64))


def bare(filters="spline", **changes):
    return Potential(small(**changes), scale=3.0, filters=filters).eval()


def assert_within(found, expected, tolerance, floor=0.0):
    """Errors relative to the largest value."""
    for one, other in zip(found, expected, strict=True):
        if other is not None:
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            limit = tolerance * max(float(other.abs().max()), floor)
            torch.testing.assert_close(one, other, rtol=0, atol=limit)


@pytest.mark.parametrize("variant", VARIANTS)
def test_holds_the_tolerance(variant):
    exact, fast = (bare(f, **VARIANTS[variant]) for f in ("exact", "spline"))
    boxed = rattled("CH3CH2OH")
    boxed.set_cell([9, 9, 9])
    boxed.pbc = True
    data = batch_of(boxed, nacl())
    expected = exact(data, stress=True)
    for tolerance in (1e-4, 1e-7):
        frozen = fast.tabulate(tolerance)
        assert frozen.error <= tolerance
        assert_within(frozen(data, stress=True), expected, 3 * tolerance)


@few_examples
@given(atoms=st.lists(st.one_of(clusters(9), crystals(4)), min_size=1, max_size=4))
def test_molecules_crystals_and_batches(atoms):
    """Cells smaller than the cutoff and atoms without neighbors among them."""
    data = batch_of(*atoms) if len(atoms) > 1 else from_ase(atoms[0])
    assert_within(FROZEN(data), EXACT(data), 1e-7, floor=1.0)


@pytest.mark.parametrize("atoms", [Atoms("C"), Atoms("CO", [[0, 0, 0], [0, 0, 50]])])
def test_no_edges(atoms):
    found = FROZEN(from_ase(atoms))
    assert not found.forces.any()
    torch.testing.assert_close(found.energy, EXACT(from_ase(atoms)).energy, rtol=0, atol=1e-9)


@few_examples
@given(atoms=st.one_of(clusters(9), crystals(4)), seed=st.integers(0, 99))
def test_edges_of_a_skin_in_any_order(atoms, seed):
    data = from_ase(atoms)
    expected, longer = FROZEN(data), with_edges(data, 5.5)
    order = torch.randperm(longer.num_edges, generator=torch.Generator().manual_seed(seed))
    longer.edge_index = longer.edge_index[:, order]
    if longer.get("edge_shift") is not None:
        longer.edge_shift = longer.edge_shift[order]
    del longer.edge_reverse
    assert_within(FROZEN(longer), expected, 1e-13, floor=1.0)


def test_float32():
    data = batch_of(nacl(), rattled("CH3CH2OH"))
    found = FROZEN_FLOAT(data)
    assert found.energy.dtype == torch.float64
    assert found.forces.dtype == torch.float32
    expected = EXACT(data)
    assert_within((found.energy, found.forces.double()), expected[:2], 3e-5)


@pytest.mark.parametrize("size", [130, 333])
def test_many_atoms_equal_the_one_compiled_function(monkeypatch, size):
    """The same bits on every run, and what small systems get but for the order of sums."""
    data = with_edges(from_ase(random_cluster(np.random.default_rng(0), size)), 4.0)
    for fast, rounding in ((FROZEN, 1e-13), (FROZEN_FLOAT, 1e-5)):
        many, again = fast(data), fast(data)
        with monkeypatch.context() as patch:
            patch.setattr(frozen, "_SMALL", 10**6)
            one = fast(data)
        for first, second in zip(many[:2], again[:2], strict=True):
            assert torch.equal(first, second)
        assert_within(one[:2], many[:2], rounding)


@pytest.mark.parametrize("name", ["activation", "readout_activation"])
def test_other_activations_take_the_fused_pass(name):
    exact, fast = (bare(filters, **{name: nn.Tanh}) for filters in ("exact", "spline"))
    data = from_ase(rattled("CH3CH2OH"))
    assert_within(fast.tabulate(1e-7)(data), exact(data), 3e-7)


def sampled_error(potential, coefficients, spacing, count=20_000):
    """Of values and slopes at places that the package did not choose."""
    random, cutoff = np.random.default_rng(7), potential.model.cutoff
    r = torch.from_numpy(random.uniform(0, cutoff, count)).requires_grad_()
    knot, worst = (r.detach() / spacing).long(), 0.0
    t = r.detach() / spacing - knot
    powers = torch.stack([t**0, t, t**2, t**3])
    matrix = torch.tensor([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6
    matrix = matrix.double()
    slopes = torch.stack([0 * t, t**0, 2 * t, 3 * t**2]) / spacing
    model = copy.deepcopy(potential.model).double()
    for interaction, table in zip(model.interactions, coefficients.double(), strict=True):
        for channel in range(0, table.size(1), 3):
            exact = model.cutoff_fn(r).unsqueeze(1) * interaction.conv.filter(model.basis(r))
            (slope,) = torch.autograd.grad(exact[:, channel].sum(), r)
            rows = torch.stack([table[knot + q, channel] for q in range(4)])
            for want, basis in ((exact[:, channel].detach(), powers), (slope, slopes)):
                found = ((matrix.T @ basis) * rows).sum(0)
                largest = exact.detach() if want is not slope else slope
                worst = max(worst, float((found - want).abs().max() / largest.abs().max()))
    return worst


@pytest.mark.parametrize(
    "changes", [{}, dict(preset="paper2017", channels=12, cutoff=6.0, num_basis=60)]
)
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_the_reported_error_is_honest(changes, tolerance):
    potential = potential_of(**changes)
    tables = frozen.tabulate(potential.model, tolerance, potential.fast.knots.spacing)
    measured = sampled_error(potential, tables.coefficients, tables.spacing)
    assert tables.error <= tolerance
    assert 0.1 * tables.error < measured < 2 * tables.error


@pytest.mark.parametrize("changes", [{}, {"spacing": 1e-5}])
def test_a_tolerance_that_cannot_be_held(changes):
    message = "tolerance=1e-09 cannot be held: the best table errs by .* in torch.float32; raise"
    with pytest.raises(InputError, match=message):
        potential_of(**changes).float().tabulate(1e-9)
    for tolerance in (0, -1, float("nan")):
        with pytest.raises(InputError, match=f"tolerance must be positive.* got {tolerance}"):
            potential_of(channels=2).tabulate(tolerance)


def test_weights_that_are_not_numbers():
    potential = potential_of()
    potential.model.interactions[0].conv.filter[0].weight.data[0, 0] = torch.nan
    with pytest.raises(InputError, match="cannot be held: the best table errs by nan"):
        potential.tabulate()


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
    first = FROZEN(data, stress=True)
    second = FROZEN(data, stress=True)
    assert data.keys() == keys
    assert torch.equal(data.pos, pos)
    for one, other in zip(first, second, strict=True):
        assert not one.requires_grad
        assert torch.equal(one, other)
    assert FROZEN(data, forces=False).forces is None
    assert FROZEN(data).stress is None


class Gate(RadialConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)

    def message(self, x_j, W):
        return torch.tanh(x_j) * W


def with_hook():
    potential = potential_of()
    potential.model.interactions[0].register_forward_hook(lambda *_: None)
    return potential


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Potential(Baseline()), "freeze is for a SchNet of CFConv layers .* got Baseline"),
        (lambda: potential_of("exact"), "freeze is for a SchNet .* with filters='spline'"),
        (lambda: potential_of(conv=Gate), "freeze is for a SchNet of CFConv layers"),
        (with_hook, "without hooks"),
    ],
    ids=["baseline", "exact", "conv", "hook"],
)
def test_other_models_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make().tabulate()


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
        FROZEN(data)


def test_edges_beyond_the_atoms_of_a_molecule():
    data = from_ase(rattled("H2O"))
    data.edge_index = torch.tensor([[900_000_000, 0], [0, 900_000_000]])
    data.edge_reverse = torch.tensor([1, 0])
    data.edge_cutoff = torch.tensor([4.0])
    with pytest.raises(InputError, match="edge_reverse must point"):
        FROZEN(data)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_positions_that_are_no_numbers_are_refused(value):
    """As a trajectory that explodes has them, with edges kept from before."""
    data = with_edges(from_ase(rattled("CH4")), 4.0)
    data.pos = data.pos.clone()
    data.pos[1, 0] = value
    for potential in (FROZEN, potential_of()):
        with pytest.raises(InputError, match=r"data, structure 0: pos\[1, 0\] is .*must be finite"):
            potential(data)


def test_an_atom_at_the_end_of_the_world():
    """No crash where the distance has no place in a table."""
    data = with_edges(from_ase(rattled("CH4")), 4.0)
    data.pos = data.pos.clone()
    data.pos[1, 0] = 1e100
    assert not FROZEN(data).forces[1].any()


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
    assert_within((found.energy, found.forces.double()), expected[:2], 1e-3)


@numba.njit
def softplus(h, first, second):
    softplus_of(h, first)
    curvature(first, second)


@numba.njit
def silu(h, first, second):
    silu_of(h, first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activations_equal_those_of_torch(dtype):
    finfo = torch.finfo(dtype)
    h = torch.cat([torch.linspace(-120, 120, 4001), torch.tensor([-1e30, -1e4, -0.0, 1e4, 1e30])])
    h = h.to(dtype)
    cases = {
        softplus: lambda x: torch.nn.functional.softplus(x, threshold=700) - np.log(2),
        silu: lambda x: x * torch.sigmoid(x),
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


def test_dynamics_with_frozen_tables_conserve_energy_as_well():
    """500 steps of 0.5 fs; the change of the mean from the first to the last hundred."""
    exact = energies_of_a_run(bare("exact"), 500)
    fast = energies_of_a_run(bare().tabulate(1e-5), 500)
    drift, fast_drift = (abs(e[-100:].mean() - e[:100].mean()) for e in (exact, fast))
    assert exact.std() > 0  # the integrator's own
    assert fast_drift < drift + 0.1 * exact.std()
    assert fast.std() == pytest.approx(exact.std(), rel=0.1)


@pytest.mark.parametrize("send", [ForkingPickler.dumps, lambda p: p._potential.share_memory()])
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
    assert all(array.ctypes.data % 64 == 0 for array in other._weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_types_of_those_of_the_potential(dtype):
    potential = potential_of(channels=8).to(dtype)
    data = from_ase(bulk("Si"))
    wanted, result = potential(data, stress=True), potential.tabulate(1e-3)(data, stress=True)
    assert [value.dtype for value in result] == [value.dtype for value in wanted]

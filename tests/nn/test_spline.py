import copy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch
from torch_geometric.explain.algorithm.utils import set_masks

import schnetgeo
from schnetgeo.data import from_ase, with_edges
from schnetgeo.errors import InputError
from schnetgeo.geometry import distances, edge_vectors
from schnetgeo.nn import SchNet
from schnetgeo.nn.spline import Knots, PlacedFilters
from schnetgeo.potential import Potential
from tests.nn.weights import layered, randomize
from tests.shared_data import shared
from tests.structures import clusters, crystals

# channels, layers, functions, cutoff as in the figures of the design, few layers to be quick
ETHANOL = dict(channels=64, num_layers=3, num_basis=50, cutoff=5.0)
QM9 = dict(channels=128, num_layers=3, num_basis=50, cutoff=10.0)
PAPER = dict(preset="paper2017", num_layers=3)
few_examples = settings(max_examples=10, deadline=None, derandomize=True)


def model_of(filters="spline", preset=None, seed=0, **arguments):
    """Weights as they are at the start of a training, but for zeros."""
    torch.manual_seed(seed)
    model = SchNet.preset(preset, **arguments) if preset else SchNet(**arguments)
    torch.manual_seed(seed + 1)
    for parameter in model.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.1)
    return Potential(model, filters=filters).double()


def small(filters="spline", spacing=None, scale=1.0, **changes):
    arguments = dict(channels=8, num_layers=2, num_basis=8, cutoff=4.0)
    model = randomize(SchNet(**{**arguments, **changes}).double(), seed=1)
    return Potential(model, filters=filters, spacing=spacing, scale=scale).eval()


def both(**changes):
    return small("spline", **changes), small("exact", **changes)


def rattled(atoms, seed=0):
    atoms = molecule(atoms) if isinstance(atoms, str) else atoms
    atoms.rattle(0.1, seed=seed)
    return atoms


def batch_of(*atoms):
    return Batch.from_data_list([from_ase(a) for a in atoms])


def ethanols(count):
    with np.load(shared("md17_ethanol.npz")) as file:
        frames = np.linspace(0, len(file["R"]) - 1, count).astype(int)
        return [Atoms(file["z"], r) for r in file["R"][frames]]


def qm9_molecules(count):
    with np.load(shared("qm9_u0_part1.npz")) as file:
        ends = np.cumsum(file["N"].astype(int))
        chosen = np.linspace(1, len(ends) - 1, count).astype(int)
        parts = [slice(ends[k - 1], ends[k]) for k in chosen]
        return [Atoms(file["Z"][part], file["R"][part]) for part in parts]


def largest_difference(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def compare(model, exact, data):
    """Relative differences of energies, forces, and the gradient of each parameter."""
    random = torch.Generator().manual_seed(3)
    results = []
    for each in (model, exact):
        prediction = each.train()(data)
        seeds = [torch.randn(t.shape, generator=random.manual_seed(3)) for t in prediction[:2]]
        loss = sum((seed * t).sum() for seed, t in zip(seeds, prediction[:2], strict=True))
        gradients = torch.autograd.grad(loss, list(each.parameters()))
        results.append([*prediction[:2], *gradients])
    return [largest_difference(*pair) for pair in zip(*results, strict=True)]


@pytest.mark.parametrize(
    ("arguments", "molecules", "seed"),
    [
        (ETHANOL, ethanols, 0),
        (ETHANOL, ethanols, 1),
        (QM9, qm9_molecules, 0),
        (PAPER, ethanols, 0),
        (PAPER, qm9_molecules, 0),
    ],
    ids=["ethanol", "ethanol again", "qm9", "ethanol as the paper", "qm9 as the paper"],
)
def test_spline_equals_exact_on_real_molecules(arguments, molecules, seed):
    """Within 5e-5 at the default spacing."""
    data = batch_of(*molecules(8))
    models = [model_of(filters, seed=seed, **arguments) for filters in ("spline", "exact")]
    differences = compare(*models, data)
    assert max(differences) < 5e-5
    assert max(differences) > 1e-9  # one of them does interpolate


@pytest.mark.parametrize("system", ["molecule", "crystal"])
def test_errors_fall_under_refinement(system):
    """Energies err as h⁴, forces as h³, with neighbors on both sides of the cutoff."""
    atoms = rattled("CH3CH2OH") if system == "molecule" else rattled(bulk("Si") * (2, 1, 1))
    data = with_edges(batch_of(atoms), 5.0)
    exact = small("exact")(data)
    r = distances(edge_vectors(data))
    assert ((r - 4).abs() < 0.3).any()
    energies, forces = [], []
    for spacing in (0.043, 0.0215, 0.01075):
        prediction = small(spacing=spacing)(data)
        energies.append(float((prediction.energy - exact.energy).abs().max()))
        forces.append(float((prediction.forces - exact.forces).norm()))
    assert energies[0] / energies[2] > 100  # 256 but for the chance of signs
    assert 40 < forces[0] / forces[2] < 200  # 64 but for the chance of places


def test_errors_across_the_cutoff_fall_too():
    """Edges a little shorter and longer than the cutoff: no smeared kink."""
    inside = 0.3 * torch.rand(200, generator=torch.Generator().manual_seed(0))
    lengths = 4.0 - torch.cat([inside, torch.tensor([1e-3, 0.0, -1e-6, -1e-3, -0.1])])
    data = batch_of(*(Atoms("CO", [[0, 0, 0], [0, 0, float(r)]]) for r in lengths))
    data = with_edges(data, 5.0)
    exact = small("exact")(data)
    errors = []
    for spacing in (0.043, 0.0215, 0.01075):  # the cutoff is no knot
        forces = small(spacing=spacing)(data).forces
        assert forces[:-8].any()
        assert not forces[-8:].any()
        errors.append(float((forces - exact.forces).norm()))
    assert 40 < errors[0] / errors[2] < 200  # 64 but for the chance of places


@pytest.mark.parametrize("system", ["molecule", "crystal"])
def test_forces_are_the_gradient_of_the_spline_energy(system):
    """Not of the exact one: a coarse spline shows the difference."""
    atoms = rattled("CH3OH") if system == "molecule" else rattled(bulk("NaCl", "rocksalt", a=5.6))
    potential = small(spacing=0.3, scale=100.0)
    forces = potential(from_ase(atoms)).forces
    exact = small("exact", scale=100.0)(from_ase(atoms)).forces
    assert (forces - exact).abs().max() > 1e-4
    step = 1e-4
    for atom in range(2):
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[atom, axis] += sign * step
                energies.append(potential(from_ase(moved), forces=False).energy)
            expected = -(energies[0] - energies[1]) / (2 * step)
            torch.testing.assert_close(forces[atom, axis], expected[0], rtol=0, atol=1e-6)


@few_examples
@given(atoms=st.lists(st.one_of(clusters(7), crystals(3)), min_size=1, max_size=3))
def test_fused_and_layered_agree(atoms):
    """The hand-written pass and the layers, with the same splines."""
    potential, data = small(), batch_of(*atoms)
    assert potential.is_fast
    fused, by_layers = potential(data), layered(potential)(data)
    torch.testing.assert_close(fused.energy, by_layers.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(fused.forces, by_layers.forces, rtol=1e-11, atol=1e-11)


def watched_data():
    return batch_of(rattled("CH3CH2OH"), rattled("H2O"))


def message_hook(model, seen):
    model.interactions[1].conv.register_message_forward_hook(lambda *a: seen.append(a[-1].shape))


def explain(model, seen):
    data = with_edges(watched_data(), 4.0)
    mask = nn.Parameter(torch.ones(data.num_edges).double())
    mask.register_hook(seen.append)
    set_masks(model, mask, data.edge_index, apply_sigmoid=False)


def part_hook(name):
    def register(model, seen):
        model.get_submodule(name).register_forward_hook(lambda *a: seen.append(a[-1].shape))

    return register


@pytest.mark.parametrize(
    "watch",
    [message_hook, explain, *map(part_hook, ["", "interactions.0", "interactions.1.lin2",
     "interactions.0.conv", "interactions.0.conv.filter.1", "readout.activation", "readout"])],
    ids=["message", "explain", "model", "interaction", "layer", "conv", "filter", "activation",
         "readout"],
)  # fmt: skip
def test_hooks_and_explain_mode_see_what_they_watch(watch):
    """They take the layers one by one, with the same result as filters without knots."""
    potential, data, seen = small(), watched_data(), []
    expected = small("exact")(data)
    watch(potential.model, seen)
    assert not potential.is_fast
    found = potential.train()(data)
    found.energy.sum().backward()
    assert seen
    if watch is message_hook:
        assert seen[0] == (with_edges(data, 4.0).num_edges, 8)
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-11, atol=1e-11)


def test_hooks_on_gradients_are_called():
    potential, data, seen = small(), batch_of(rattled("CH3OH")), []
    last = potential.model.interactions[0].lin3
    handle = last.register_full_backward_hook(lambda *_: seen.append(1))
    potential.train()(data, forces=False).energy.sum().backward()
    assert seen
    handle.remove()
    assert potential.is_fast


class Sideways(nn.Linear):
    def forward(self, x):
        return super().forward(x.flip(0))


def deeper(model):
    first = model.interactions[0].conv
    first.filter = nn.Sequential(*first.filter, nn.Tanh(), nn.Linear(8, 8).double())


def one_layer(model):
    model.interactions[1].conv.filter = nn.Linear(8, 8).double()


def sideways(model):
    model.interactions[1].lin2.__class__ = Sideways


def two_activations(model):
    model.interactions[1].activation = nn.SiLU()


class Sharpened(nn.Module):
    def __init__(self):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return torch.tanh(self.sharpness * x)


def trained_activation(model):
    for interaction in model.interactions:
        interaction.activation = Sharpened().double()


@pytest.mark.parametrize(
    "change", [deeper, one_layer, sideways, two_activations, trained_activation]
)
def test_changed_parts_count(change):
    """A model that was taken apart is not passed by."""
    potential, exact = both()
    change(potential.model)
    exact.model.interactions = copy.deepcopy(potential.model.interactions)
    data = batch_of(rattled("CH3CH2OH"))
    assert not potential.is_fast
    torch.testing.assert_close(potential(data).forces, exact(data).forces, rtol=1e-12, atol=1e-12)


@few_examples
@given(atoms=st.one_of(clusters(8), crystals(3)))
def test_edges_of_a_skin_change_nothing(atoms):
    potential, data = small().train(), from_ase(atoms)
    expected, found = potential(data), potential(with_edges(data, 5.5))
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-12, atol=1e-12)


def test_edges_sorted_by_target_alone():
    """As other neighbor lists give them, of images of one atom too."""
    for atoms in (rattled("CH3CH2OH"), Atoms("Ne", cell=[2.5, 2.6, 2.7], pbc=True)):
        potential, data = small(), with_edges(from_ase(atoms), 4.0)
        expected, target = potential(data), data.edge_index[1]
        order = (target * data.num_edges - torch.arange(data.num_edges)).argsort()
        data.edge_index = data.edge_index[:, order]
        if data.get("edge_shift") is not None:
            data.edge_shift = data.edge_shift[order]
        del data.edge_reverse
        assert torch.equal(data.edge_index[1], target)
        found = potential(data)
        torch.testing.assert_close(found.forces, expected.forces, rtol=1e-12, atol=1e-12)


@few_examples
@given(atoms=st.one_of(clusters(8), crystals(3)), seed=st.integers(0, 99), reverse=st.booleans())
def test_edges_in_any_order(atoms, seed, reverse):
    potential, data = small(), with_edges(from_ase(atoms), 4.0)
    expected = potential(data)
    shuffled = copy.copy(data)
    order = torch.randperm(data.num_edges, generator=torch.Generator().manual_seed(seed))
    shuffled.edge_index = data.edge_index[:, order]
    if data.get("edge_shift") is not None:
        shuffled.edge_shift = data.edge_shift[order]
    shuffled.edge_reverse = order.argsort()[data.edge_reverse[order]] if reverse else None
    found = potential(shuffled)
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_edges_without_their_reverse_are_refused(training):
    data = from_ase(rattled("H2O"))
    data.edge_index = torch.tensor([[1, 2, 0], [0, 0, 1]])
    data.edge_cutoff = torch.tensor([4.0])
    with pytest.raises(InputError, match="give every edge its reverse, or take filters='exact'"):
        small().train(training)(data)
    small("exact")(data)


def test_images_without_their_reverse_are_refused():
    """Both edges lead from the one atom to itself, but not back."""
    data = from_ase(Atoms("Ne", cell=[2.5, 2.6, 2.7], pbc=True))
    data.edge_index = torch.zeros(2, 2, dtype=torch.long)
    data.edge_shift = torch.tensor([[1, 0, 0], [0, 1, 0]])
    data.edge_cutoff = torch.tensor([4.0])
    with pytest.raises(InputError, match="give every edge its reverse"):
        small()(data)


def test_the_weights_are_the_same_for_both_filters(tmp_path):
    model, exact = both()
    assert model.state_dict().keys() == exact.state_dict().keys()
    exact.load_state_dict(model.state_dict())
    Potential(model.model, filters="exact", spacing=0.01).save(tmp_path / "model.safetensors")
    loaded = schnetgeo.load(tmp_path / "model.safetensors")
    assert (loaded.filters, loaded.spacing) == ("exact", 0.01)


def test_unknown_filters_and_spacings_are_refused():
    with pytest.raises(InputError, match="unknown filters 'fast'; known: spline, exact"):
        Potential(SchNet(), filters="fast")
    for spacing in (0, -0.1, 6.0, float("nan")):
        with pytest.raises(InputError, match=f"spacing must lie in .* got {spacing}"):
            Potential(SchNet(), spacing=spacing)
    with pytest.raises(InputError, match="spacing must be a number in Å, got '0.1'"):
        Potential(SchNet(), spacing="0.1")


def test_an_edge_on_the_last_knot():
    """In float32 r / h may round to the next knot, beyond those that the longest edge needs."""
    network, envelope = nn.Linear(8, 3), nn.Identity()
    model = SchNet(num_basis=8, cutoff=5.0)
    for spacing in (0.0107, 0.0239, 0.05):
        knots = Knots(model.basis, 5.0, spacing)
        lengths = torch.arange(16, 60, 16) * torch.tensor(spacing)
        for length in lengths:
            below = torch.nextafter(length, torch.tensor(0.0))
            above = torch.nextafter(length, torch.tensor(9.0))
            for r in (below, length, above):
                placed = PlacedFilters(knots, envelope, None, r.reshape(1))
                found = placed.on_edges(network)
                torch.testing.assert_close(found, network(model.basis(r[None])), rtol=0, atol=1e-5)


@few_examples
@given(st.lists(st.floats(0, 6), min_size=1, max_size=9), st.sampled_from([0.013, 0.1, 0.7]))
def test_filters_do_not_depend_on_the_batch(lengths, spacing):
    potential = small(spacing=spacing)
    model, knots = potential.model, potential.fast.knots
    network = model.interactions[0].conv.filter
    r = torch.tensor(lengths, dtype=torch.float64)

    def filters(r):
        placed = PlacedFilters(knots, model.cutoff_fn, None, r)
        return model.cutoff_fn(r).unsqueeze(1) * placed.on_edges(network)

    together = filters(r)
    alone = torch.cat([filters(one) for one in r.split(1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_training_after_inference():
    """What inference mode keeps must not stop a training."""
    potential, data = small(), batch_of(rattled("H2O"))
    with torch.inference_mode():
        potential(data.clone())
    potential.train()(data).forces.square().sum().backward()
    potential.model.readout.register_forward_hook(lambda *_: None)
    potential(data).forces.square().sum().backward()

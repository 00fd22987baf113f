"""What the engine computes equals exact filters, but for what interpolation costs."""

import copy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch

from schnetgeo.data import from_ase, with_edges
from schnetgeo.engine.knots import Knots
from schnetgeo.errors import InputError
from schnetgeo.geometry import distances, edge_vectors
from schnetgeo.nn import MeanReadout, PaiNN, SchNet
from schnetgeo.potential import Potential
from tests.engine.potentials import (
    EXECUTORS,
    MODELS,
    SIZES,
    assert_near,
    assert_same_training,
    batch_of,
    crystals_and_atoms,
    exact,
    methanol,
    potential_of,
    rattled,
    training_step,
    use_executor,
)
from tests.nn.weights import randomize
from tests.shared_data import shared
from tests.structures import clusters, crystals

few_examples = settings(max_examples=10, deadline=None, derandomize=True)
VARIANTS = {
    **{name: dict(SchNet.presets[name], **SIZES) for name in SchNet.presets},
    "in_bias": dict(in_bias=True),
    "mean": dict(readout=MeanReadout),
    "activated filters": dict(filter_last_activation=True),
    "silu": dict(readout_activation=nn.SiLU),
    "tanh": dict(activation=nn.Tanh),
    "gelu": dict(activation=nn.GELU, filter_last_activation=True),
    "one layer": dict(num_layers=1),
    "one channel": dict(channels=1, readout_channels=1),
    "odd": dict(channels=7, readout_channels=5, num_basis=9),
}
ALONE, APART = Atoms("H"), Atoms("CO", [[0, 0, 0], [0, 0, 10]])


def fine(name="SchNet", **arguments):
    """A sixteenth of the default spacing: values err 16⁴, derivatives 16³ times less.

    By the leading terms (`test_quartics_err_by_the_leading_term`) of one Gaussian that is 6e-11 of
    its largest value, and 5e-9 of its largest derivative; of sums that cancel, more.
    """
    model = potential_of(name, **arguments).model
    spacing = Knots(model.basis, model.cutoff).spacing / 16
    return potential_of(name, spacing=spacing, **arguments)


def assert_equals_exact(potential, data, tolerance=5e-7, **what):
    assert potential.reading() is not None
    found = training_step(potential, data, **what)
    assert_same_training(found, training_step(exact(potential), data, **what), tolerance)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_variants_of_schnet(variant, executor, monkeypatch):
    """Energy, forces, stress, and the gradient of a loss on all three for every parameter."""
    use_executor(executor, monkeypatch)
    potential = fine(**{**SIZES, **VARIANTS[variant]})
    _, gradients = assert_equals_exact(potential, crystals_and_atoms(), stress=True)
    assert all(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    "what",
    [dict(stress=True), dict(forces=False), dict(forces=False, stress=True)],
    ids=["all", "energy", "stress"],
)
def test_other_models(name, executor, what, monkeypatch):
    use_executor(executor, monkeypatch)
    assert_equals_exact(fine(name), crystals_and_atoms(), **what)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@few_examples
@given(atoms=st.lists(st.one_of(clusters(8), crystals(3)), min_size=1, max_size=4))
def test_any_batch(name, atoms):
    """Cells smaller than the cutoff and atoms without neighbors among them."""
    assert_equals_exact(fine(name), batch_of(*atoms))


@pytest.mark.parametrize("name", MODELS)
@few_examples
@given(atoms=st.lists(st.one_of(clusters(8), crystals(3)), min_size=1, max_size=4))
def test_both_executors_agree(name, atoms):
    """With the same splines, coarse ones."""
    compiled, data = potential_of(name, spacing=0.2), batch_of(*atoms)
    by_torch = copy.deepcopy(compiled)
    by_torch.reading().numba_refusal = "a test"
    found, expected = (training_step(p, data) for p in (compiled, by_torch))
    assert_same_training(found, expected, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_float32(name, executor, monkeypatch):
    use_executor(executor, monkeypatch)
    potential, data = potential_of(name), crystals_and_atoms()
    expected = training_step(potential, data, stress=True)
    found = training_step(copy.deepcopy(potential).float(), data, stress=True)
    assert found[0][0].dtype == torch.float64
    assert {value.dtype for value in found[0][1:]} == {torch.float32}
    assert {gradient.dtype for gradient in found[1].values()} == {torch.float32}
    assert_same_training(found, expected, 5e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("forces", [False, True])
def test_atoms_without_any_edge(name, executor, forces, monkeypatch):
    use_executor(executor, monkeypatch)
    data = batch_of(ALONE, Atoms("C"), APART)
    results, gradients = assert_equals_exact(potential_of(name), data, 1e-12, forces=forces)
    assert not (forces and results[1].any())
    for parameter, gradient in gradients.items():
        assert torch.isfinite(gradient).all()
        if "filter" in parameter:
            assert not gradient.any()


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", MODELS)
def test_forces_alone_in_the_loss(name, executor, monkeypatch):
    """The energy's own gradient is zero then."""
    use_executor(executor, monkeypatch)
    potential = fine(name)
    found, expected = (
        torch.autograd.grad(
            p(methanol()).forces.square().sum(),
            list(p.parameters()),
            allow_unused=True,
            materialize_grads=True,
        )
        for p in (potential, exact(potential))
    )
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, 1e-7)


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


LARGE = {
    "SchNet": lambda: SchNet(channels=64, num_layers=3, num_basis=50, cutoff=5.0),
    "SchNet, 10 Å": lambda: SchNet(channels=128, num_layers=3, num_basis=50, cutoff=10.0),
    "SchNet, 2017": lambda: SchNet.preset("paper2017"),
    "PaiNN": lambda: PaiNN(channels=64, num_layers=3, num_basis=20, cutoff=5.0),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("molecules", [ethanols, qm9_molecules])
def test_real_molecules_at_the_default_spacing(name, molecules):
    """Weights as at the start of a training, but for zeros: within 5e-5 of the largest number.

    This is what splines of the default spacing cost; what runs them errs by 1e-12
    (`test_same_splines`).
    """
    torch.manual_seed(0)
    model = LARGE[name]().double()
    for parameter in model.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.1)
    data = batch_of(*molecules(8))
    potential = Potential(model).train()
    (energy, forces), gradients = training_step(potential, data)
    (energy0, forces0), gradients0 = training_step(exact(potential), data)
    assert_near(energy, energy0, 2e-6)
    assert_near(forces, forces0, 3e-5)
    assert not torch.equal(forces, forces0)
    for parameter, gradient in gradients0.items():
        scale = float(gradient.abs().max())
        assert float((gradients[parameter] - gradient).abs().max()) < 5e-5 * scale, parameter


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("system", ["molecule", "crystal"])
def test_errors_fall_under_refinement(name, system):
    """Energies err as h⁴, forces as h³, with neighbors on both sides of the cutoff."""
    atoms = rattled("CH3CH2OH") if system == "molecule" else rattled(bulk("Si") * (2, 1, 1))
    data, potential = with_edges(from_ase(atoms), 5.0), potential_of(name).eval()
    assert ((distances(edge_vectors(data)) - 4).abs() < 0.3).any()
    expected, energies, forces = exact(potential)(data), [], []
    for spacing in (0.043, 0.0215, 0.01075):
        prediction = Potential(potential.model, scale=1.3, spacing=spacing)(data)
        energies.append((prediction.energy - expected.energy).abs().max().item())
        forces.append(float((prediction.forces - expected.forces).norm()))
    assert energies[0] / energies[2] > 60  # 256 but for the chance of signs
    assert 40 < forces[0] / forces[2] < 200  # 64 but for the chance of places


def test_errors_across_the_cutoff_fall_too():
    """Edges a little shorter and longer than the cutoff: no smeared kink."""
    inside = 0.3 * torch.rand(200, generator=torch.Generator().manual_seed(0))
    lengths = 4.0 - torch.cat([inside, torch.tensor([1e-3, 0.0, -1e-6, -1e-3, -0.1])])
    structures = [from_ase(Atoms("CO", [[0, 0, 0], [0, 0, float(r)]])) for r in lengths]
    data = with_edges(Batch.from_data_list(structures), 5.0)
    potential, errors = potential_of().eval(), []
    expected = exact(potential)(data).forces
    for spacing in (0.043, 0.0215, 0.01075):  # the cutoff is no knot
        forces = Potential(potential.model, scale=1.3, spacing=spacing)(data).forces
        assert forces[:-8].any()
        assert not forces[-8:].any()
        errors.append(float((forces - expected).norm()))
    assert 40 < errors[0] / errors[2] < 200  # 64 but for the chance of places


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("system", ["molecule", "crystal"])
def test_forces_are_the_gradient_of_the_spline_energy(name, executor, system, monkeypatch):
    """Not of the exact one: a coarse spline shows the difference."""
    use_executor(executor, monkeypatch)
    atoms = rattled("CH3OH") if system == "molecule" else rattled(bulk("NaCl", "rocksalt", a=5.6))
    potential = potential_of(name, spacing=0.3).eval()
    forces = potential(from_ase(atoms)).forces
    scale = float(forces.abs().max())
    assert (forces - exact(potential)(from_ase(atoms)).forces).abs().max() > 1e-4 * scale
    step = 1e-4
    for atom in range(2):
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[atom, axis] += sign * step
                energies.append(potential(from_ase(moved), forces=False).energy)
            expected = -(energies[0] - energies[1]) / (2 * step)
            assert abs(float(forces[atom, axis] - expected)) < 5e-7 * scale


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", ["SchNet", "PaiNN"])
@pytest.mark.parametrize("embedding_alone", [False, True])
@pytest.mark.parametrize("forces", [False, True])
def test_second_derivatives_in_the_parameters_are_refused(
    name, executor, forces, embedding_alone, monkeypatch
):
    """Wherever they come from: a penalty on the gradient is not left out without a word."""
    use_executor(executor, monkeypatch)
    potential = potential_of(name)
    wanted = list(potential.parameters())[: 1 if embedding_alone else None]

    def loss():
        prediction = potential(methanol(), forces=forces)
        energy = prediction.energy.sum()  # whose own gradient is constant
        return energy + prediction.forces.square().sum() if forces else energy

    first = torch.autograd.grad(loss(), wanted, create_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss(), wanted), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="second derivative in the parameters.*filters='exact'"):
        torch.autograd.grad(sum(g.square().sum() for g in first), wanted)


def test_activations_of_huge_numbers():
    """No garbage from the exponential where it overflows."""
    potential = potential_of().eval()
    with torch.no_grad():
        for interaction in potential.model.interactions:
            interaction.lin2.weight.mul_(1e5)
            interaction.lin3.weight.mul_(1e-5)
        potential.model.readout.lin1.weight.mul_(1e3)
    expected = exact(potential)(methanol())
    for dtype in (torch.float32, torch.float64):
        found = copy.deepcopy(potential).to(dtype)(methanol())
        assert_near(found.energy, expected.energy, 1e-4)
        assert_near(found.forces, expected.forces, 2e-3)


@few_examples
@given(st.lists(st.floats(0.5, 6), min_size=1, max_size=9), st.sampled_from([0.013, 0.1, 0.7]))
def test_energies_do_not_depend_on_the_batch(lengths, spacing):
    potential = potential_of(spacing=spacing).eval()
    pairs = [Atoms("CO", [[0, 0, 0], [0, 0, r]]) for r in lengths]
    alone = torch.cat([potential(from_ase(pair)).energy for pair in pairs])
    together = potential(Batch.from_data_list(list(map(from_ase, pairs)))).energy
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_unknown_filters_and_spacings_are_refused():
    with pytest.raises(InputError, match="unknown filters 'fast'; known: spline, exact"):
        Potential(SchNet(), filters="fast")
    with pytest.raises(InputError, match="spacing must be a number in Å, got '0.1'"):
        Potential(SchNet(), spacing="0.1")
    for spacing in (0, -0.1, 6.0, float("nan")):
        with pytest.raises(InputError, match=f"spacing must lie in .* got {spacing}"):
            Potential(randomize(SchNet()), spacing=spacing)(methanol())

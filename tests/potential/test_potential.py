import copy
import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch, Data

from schnetgeo.data import from_ase, with_edges
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, distances, edge_vectors, num_structures
from schnetgeo.nn import Baseline, MeanReadout, SchNet
from schnetgeo.nn.readout import sum_atoms
from schnetgeo.potential import Potential
from tests.nn.weights import randomize
from tests.structures import clusters, crystals, generators

CUTOFF = 4.0
STEP = 1e-4  # Å, of central differences
SCALE = 100.0  # eV, so that an error of 1e-6 is small
HARD = dict(rtol=0, atol=1e-10)
few_examples = settings(max_examples=15, deadline=None, derandomize=True)


class Constant(nn.Module):
    """A model that looks at nothing but the elements."""

    cutoff = None
    max_z = 100

    def __init__(self):
        super().__init__()
        self.per_element = nn.Parameter(torch.linspace(0, 1, 100))

    def forward(self, data):
        return sum_atoms(self.per_element[data.z], batch_index(data), num_structures(data))


class Springs(nn.Module):
    """E = Σ_i |r_i|² / 2, without parameters, and with a record of how it was called."""

    cutoff = None
    max_z = 100

    def forward(self, data):
        self.grad_enabled = torch.is_grad_enabled()
        self.pos = data.pos
        return sum_atoms(data.pos.square().sum(-1) / 2, batch_index(data), num_structures(data))


def small_model(**changes):
    arguments = dict(channels=8, num_layers=2, num_basis=8, cutoff=CUTOFF)
    return randomize(SchNet(**{**arguments, **changes}).double(), seed=1)


def small_potential(filters="spline", **changes):
    return Potential(small_model(**changes), filters=filters).eval()


def rattled(atoms, seed=0):
    atoms = molecule(atoms) if isinstance(atoms, str) else atoms
    atoms.rattle(0.1, seed=seed)
    return atoms


def nacl():
    return rattled(bulk("NaCl", "rocksalt", a=5.64))


def slab():
    atoms = fcc111("Al", (1, 1, 2), vacuum=6.0)
    atoms.info.clear()
    atoms.set_cell(atoms.cell.array + [[0.1, 0, 0], [0, 0.2, 0], [0.3, 0, 0]])
    return rattled(atoms)


def skewed():
    return rattled(bulk("Si") * (2, 1, 1), seed=3)


def batch_of(*atoms):
    return Batch.from_data_list([from_ase(a) for a in atoms])


SYSTEMS = {
    "molecule": [rattled("CH3CH2OH")],
    "crystal": [nacl()],
    "slab": [slab()],
    "crystals": [nacl(), skewed(), bulk("Cu")],
}
PERIODIC = {k: v for k, v in SYSTEMS.items() if k != "molecule"}


def energies_of(potential, atoms_list):
    return potential(batch_of(*atoms_list), forces=False).energy


def displaced(atoms, index, step):
    out = atoms.copy()
    out.positions[index] += step
    return out


def deformed(atoms, row, column, step):
    out = atoms.copy()
    change = np.eye(3)
    change[row, column] += step
    out.set_cell(atoms.cell.array @ change, scale_atoms=False)
    out.positions = atoms.positions @ change
    return out


@pytest.mark.parametrize("model", ["schnet", "mean", "baseline"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_forces_equal_central_differences(system, model):
    if model == "baseline":
        potential = Potential(randomize(Baseline().double()), scale=SCALE).eval()
    else:
        readout = {"readout": MeanReadout} if model == "mean" else {}
        potential = Potential(small_model(**readout), scale=SCALE).eval()
    expected = []
    for atoms in SYSTEMS[system]:
        places = list(itertools.product(range(len(atoms)), range(3)))
        right = energies_of(potential, [displaced(atoms, place, STEP) for place in places])
        left = energies_of(potential, [displaced(atoms, place, -STEP) for place in places])
        expected.append(-(right - left).reshape(-1, 3) / (2 * STEP))
    forces = potential(batch_of(*SYSTEMS[system])).forces
    assert forces.abs().max() > 5e-3
    torch.testing.assert_close(forces, torch.cat(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("system", PERIODIC)
def test_stress_equals_central_differences(system):
    """All nine components, each under its own deformation, which need not be symmetric."""
    potential = Potential(small_model(), scale=SCALE).eval()
    expected = []
    for atoms in PERIODIC[system]:
        places = list(itertools.product(range(3), repeat=2))
        right = energies_of(potential, [deformed(atoms, *place, STEP) for place in places])
        left = energies_of(potential, [deformed(atoms, *place, -STEP) for place in places])
        expected.append((right - left).reshape(3, 3) / (2 * STEP) / atoms.get_volume())
    stress = potential(batch_of(*PERIODIC[system]), stress=True).stress
    assert stress.abs().max() > 1e-3
    torch.testing.assert_close(stress, torch.stack(expected), rtol=0, atol=1e-6)


def test_stress_is_negative_under_compression():
    """The sign of ASE: springs that pull outward, as E falls when they are stretched."""

    class Repulsion(Springs):
        def forward(self, data):
            return -super().forward(data)

    data = from_ase(Atoms("H", [[1.0, 2.0, 3.0]], cell=[10, 10, 10], pbc=True))
    stress = Potential(Repulsion()).double().eval()(data, stress=True).stress
    expected = -np.outer([1, 2, 3], [1, 2, 3]) / 1000
    np.testing.assert_allclose(stress[0].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("forces", "stress"), list(itertools.product([False, True], repeat=2)))
def test_what_is_asked_for_is_given_and_does_not_depend_on_the_rest(forces, stress):
    potential, data = small_potential(), batch_of(nacl(), skewed())
    everything = potential(data, stress=True)
    prediction = potential(data, forces=forces, stress=stress)
    torch.testing.assert_close(prediction.energy, everything.energy, **HARD)
    for name, asked in (("forces", forces), ("stress", stress)):
        value = getattr(prediction, name)
        assert (value is not None) == asked
        if asked:
            torch.testing.assert_close(value, getattr(everything, name), **HARD)


@pytest.mark.parametrize("system", ["molecule", "crystal"])
def test_derivatives_of_the_energy(system):
    """First and second, with respect to positions."""
    model = small_model(channels=4, num_layers=1)
    data = with_edges(batch_of(*SYSTEMS[system]), CUTOFF)

    def energy(pos):
        moved = copy.copy(data)
        moved.pos = pos
        return model(moved)

    pos = data.pos.clone().requires_grad_()
    assert torch.autograd.gradcheck(energy, pos)
    assert torch.autograd.gradgradcheck(energy, pos)


@pytest.mark.parametrize("stress", [False, True])
def test_gradient_of_the_force_loss(stress):
    """With respect to every parameter: the derivative of a derivative."""
    potential = Potential(small_model(channels=4, num_layers=1), scale=1.7).train()
    data = with_edges(batch_of(nacl()) if stress else batch_of(rattled("H2O")), CUTOFF)
    parameters = tuple(potential.parameters())

    def loss(*_):
        prediction = potential(data, stress=stress)
        total = prediction.energy.square().sum() + prediction.forces.square().sum()
        return total + prediction.stress.square().sum() if stress else total

    assert torch.autograd.gradcheck(loss, parameters, fast_mode=stress)
    assert all(gradient.any() for gradient in torch.autograd.grad(loss(), parameters))


def rotation(rng):
    """A random element of SO(3)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def transformed(atoms, matrix):
    out = atoms.copy()
    out.set_cell(atoms.cell.array @ matrix, scale_atoms=False)
    out.positions = atoms.positions @ matrix
    return out


@few_examples
@given(atoms=st.one_of(clusters(8), crystals(4)), rng=generators(), reflect=st.booleans())
def test_rotation_and_reflection(atoms, rng, reflect):
    matrix = rotation(rng) * (-1 if reflect else 1)
    potential = small_potential()
    before, after = potential(from_ase(atoms)), potential(from_ase(transformed(atoms, matrix)))
    torch.testing.assert_close(after.energy, before.energy, **HARD)
    torch.testing.assert_close(after.forces, before.forces @ torch.from_numpy(matrix), **HARD)


@few_examples
@given(atoms=crystals(4).filter(lambda a: a.pbc.all()), rng=generators())
def test_stress_turns_with_the_crystal(atoms, rng):
    matrix = rotation(rng)
    turned = from_ase(transformed(atoms, matrix))
    potential, matrix = small_potential(), torch.from_numpy(matrix)
    stress = potential(from_ase(atoms), stress=True).stress
    expected = matrix.T @ stress @ matrix
    torch.testing.assert_close(potential(turned, stress=True).stress, expected, **HARD)


@few_examples
@given(atoms=st.one_of(clusters(8), crystals(4)), rng=generators())
def test_translation(atoms, rng):
    moved = atoms.copy()
    moved.positions += rng.uniform(-5, 5, 3)
    potential = small_potential()
    before, after = potential(from_ase(atoms)), potential(from_ase(moved))
    torch.testing.assert_close(after.energy, before.energy, **HARD)
    torch.testing.assert_close(after.forces, before.forces, **HARD)


@few_examples
@given(atoms=st.one_of(clusters(8), crystals(4)), rng=generators())
def test_renumbering(atoms, rng):
    order = rng.permutation(len(atoms))
    potential = small_potential()
    before, after = potential(from_ase(atoms)), potential(from_ase(atoms[order]))
    torch.testing.assert_close(after.energy, before.energy, **HARD)
    torch.testing.assert_close(after.forces, before.forces[order], **HARD)


@few_examples
@given(atoms=st.lists(st.one_of(clusters(6), crystals(3)), min_size=2, max_size=4))
def test_batch_composition(atoms):
    """Each structure as if it were alone, first, last and between others."""
    potential = small_potential()
    together = potential(batch_of(*atoms))
    alone = [potential(from_ase(a)) for a in atoms]
    torch.testing.assert_close(together.energy, torch.cat([p.energy for p in alone]), **HARD)
    torch.testing.assert_close(together.forces, torch.cat([p.forces for p in alone]), **HARD)


@few_examples
@given(first=clusters(6), second=clusters(6))
def test_energies_of_distant_molecules_add(first, second):
    second.positions += 1000.0
    potential = small_potential()
    together = potential(from_ase(first + second)).energy
    apart = potential(from_ase(first)).energy + potential(from_ase(second)).energy
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-9)


@few_examples
@given(atoms=clusters(10))
def test_net_force_and_torque_are_zero(atoms):
    forces = small_potential()(from_ase(atoms)).forces
    torque = torch.linalg.cross(torch.from_numpy(atoms.positions), forces)
    assert forces.sum(0).abs().max() < 1e-12
    assert torque.sum(0).abs().max() < 1e-11


@few_examples
@given(atoms=crystals(5))
def test_net_force_of_a_crystal_is_zero(atoms):
    assert small_potential()(from_ase(atoms)).forces.sum(0).abs().max() < 1e-12


def test_an_energy_that_depends_on_elements_and_distances():
    """So that the invariances above are not those of a constant."""
    names = ("H2O", "SH2", "CO2", "CH3CH2OH")
    energies = energies_of(small_potential(), [molecule(n) for n in names])
    energies = torch.cat([energies, energies_of(small_potential(), [rattled("H2O")])])
    assert torch.pdist(energies.unsqueeze(1)).min() > 1e-4


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "atoms",
    [
        Atoms("C"),
        Atoms("H", pbc=True, cell=[20, 20, 20]),
        Atoms("CO", [[0, 0, 0], [0, 0, 50]]),
    ],
    ids=["atom", "atom in a box", "two atoms apart"],
)
def test_forces_without_edges_are_exactly_zero(atoms, training):
    potential = small_potential().train(training)
    prediction = potential(from_ase(atoms))
    assert prediction.forces.shape == (len(atoms), 3)
    assert not prediction.forces.any()
    assert torch.isfinite(prediction.energy).all()
    if atoms.pbc.any():
        assert not potential(from_ase(atoms), stress=True).stress.any()


def test_forces_of_isolated_atoms_in_company_are_exactly_zero():
    lonely = molecule("H2O") + Atoms("Ne", [[50, 0, 0]])
    forces = small_potential()(batch_of(molecule("CH4"), Atoms("C"), lonely)).forces
    assert not forces[5].any()
    assert not forces[-1].any()
    assert (forces[6:9].abs().sum(1) > 0).all()


def test_atoms_in_one_place_do_not_make_nan():
    """As a step of a bad trajectory may have them."""
    data = Data(z=torch.tensor([6, 6, 8]), pos=torch.zeros(3, 3).double())
    data.pos[2, 0] = 1.0
    prediction = small_potential()(data)
    assert torch.isfinite(prediction.energy).all()
    assert torch.isfinite(prediction.forces).all()


def test_coinciding_atoms_leave_finite_gradients_in_training():
    data = Data(z=torch.tensor([6, 6, 8]), pos=torch.zeros(3, 3).double())
    data.pos[2, 0] = 1.0
    potential = small_potential().train()
    potential(data).forces.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in potential.parameters() if p.grad is not None)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_model_that_ignores_positions_has_no_forces(frozen):
    data = batch_of(nacl(), skewed())
    model = Constant().requires_grad_(not frozen)
    for training in (False, True):
        prediction = Potential(model).train(training)(data, stress=True)
        assert prediction.forces.shape == (6, 3)
        assert prediction.stress.shape == (2, 3, 3)
        assert not prediction.forces.any()
        assert not prediction.stress.any()


def test_evaluation_keeps_no_graph():
    prediction = small_potential()(batch_of(nacl()), stress=True)
    for value in prediction:
        assert not value.requires_grad
        assert value.grad_fn is None


def test_training_keeps_the_graph():
    prediction = small_potential().train()(batch_of(nacl()), stress=True)
    for value in prediction:
        assert value.grad_fn is not None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("training", [False, True])
def test_forces_where_gradients_are_switched_off(mode, training):
    """The same forces, not zeros, and no graph."""
    potential, data = small_potential().train(training), batch_of(nacl(), skewed())
    expected = potential(data, stress=True)
    with mode():
        prediction = potential(data, stress=True)
        built_inside = potential(batch_of(nacl(), skewed()), stress=True)
        energy = potential(data, forces=False).energy
    for name, wanted in expected.items():
        assert not prediction[name].requires_grad
        torch.testing.assert_close(prediction[name], wanted.detach(), **HARD)
        torch.testing.assert_close(built_inside[name], wanted.detach(), **HARD)
    assert not energy.requires_grad
    assert energy.tolist() == pytest.approx(expected.energy.tolist(), rel=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_energy_alone_builds_no_graph_of_the_positions(training):
    model = Springs()
    data = from_ase(molecule("H2O"))
    Potential(model).train(training)(data, forces=False)
    assert model.grad_enabled == training
    assert not model.pos.requires_grad
    with torch.no_grad():
        Potential(model).train(training)(data, forces=False)
    assert not model.grad_enabled
    Potential(model).train(training)(data)
    assert model.grad_enabled
    assert model.pos.requires_grad


def snapshot(data):
    state = {}
    for key, value in data.to_dict().items():
        if torch.is_tensor(value):
            state[key] = (value.clone().detach().tolist(), value.requires_grad, id(data[key]))
        else:
            state[key] = value
    return state


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("stress", [False, True])
@pytest.mark.parametrize("pos_requires_grad", [False, True])
@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_inputs_are_untouched(training, stress, pos_requires_grad, edges, single):
    data = from_ase(nacl()) if single else batch_of(nacl(), skewed())
    data = with_edges(data, CUTOFF) if edges else data
    data.pos.requires_grad_(pos_requires_grad)
    before = snapshot(data)
    prediction = small_potential().train(training)(data, stress=stress)
    if training:
        (prediction.energy.sum() + prediction.forces.sum()).backward()
    assert snapshot(data) == before
    assert (data.pos.grad is not None) == (training and pos_requires_grad)


@pytest.mark.parametrize(
    "convert",
    [
        lambda p: p.float(),
        lambda p: p.half(),
        lambda p: p.bfloat16(),
        lambda p: p.to(torch.float32),
        lambda p: p.to("cpu", torch.float16),
        lambda p: p.double().float(),
        copy.deepcopy,
    ],
)
def test_references_stay_float64(convert):
    references = torch.rand(100, dtype=torch.float64)
    potential = convert(Potential(SchNet(channels=4, num_layers=1), references, scale=0.1))
    assert potential.atomic_references.values.dtype == torch.float64
    assert torch.equal(potential.atomic_references.values, references)


def test_conversion_reaches_model_and_scale():
    potential = Potential(SchNet(channels=4, num_layers=1)).double()
    assert {p.dtype for p in potential.parameters()} == {torch.float64}
    assert potential.scale.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_type_of_the_result_is_that_of_the_model(dtype):
    """For structures of either type, and energies in float64."""
    potential = Potential(SchNet(channels=4, num_layers=1).to(dtype)).eval()
    data = from_ase(nacl())
    for pos_dtype in (torch.float32, torch.float64):
        given = data.clone()
        given.pos, given.cell = given.pos.to(pos_dtype), given.cell.to(pos_dtype)
        prediction = potential(given, stress=True)
        types = [value.dtype for value in prediction]
        assert types == [torch.float64, dtype, dtype]


def test_energies_total_in_float64():
    """A millionth of an eV is seen beside −11,500 eV, as float32 could not."""
    model = SchNet(channels=8, num_layers=1)
    data = batch_of(molecule("H2O"), molecule("CH4"))
    references = -1000 * torch.arange(100, dtype=torch.float64)
    references[1] += 1e-6
    bare = Potential(model).eval()(data)
    full = Potential(model, references).eval()(data)
    expected = torch.tensor([-10_000 + 2e-6, -10_000 + 4e-6], dtype=torch.float64)
    assert full.energy.dtype == torch.float64
    torch.testing.assert_close(full.energy - bare.energy, expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(full.forces, bare.forces, rtol=0, atol=0)


@pytest.mark.parametrize("of", [list, np.array, torch.tensor])
def test_references_may_be_any_numbers(of):
    model, values = small_model(), [-float(z) for z in range(100)]
    references = of(values)
    potential = Potential(model, references)
    potential.atomic_references.values += 1  # of the potential, not of what it was built from
    assert list(references) == values
    assert potential.atomic_references.values.tolist() == [1 - z for z in range(100)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(scale=float("nan")), "scale must be finite in eV, got nan; leave scale out"),
        (dict(scale="large"), "scale must be numbers in eV, got 'large'"),
        (dict(scale=[1.0, 2.0]), "scale must be one number, got shape .2,."),
        (
            dict(atomic_references=[0.0] * 99 + [float("-inf")]),
            "atomic_references must be finite .* -inf",
        ),
        (dict(atomic_references={"H": 1.0}), "atomic_references must be numbers in eV, got .'H'"),
        (dict(atomic_references=[0.0] * 99), "atomic_references must have shape .100,."),
    ],
    ids=str,
)
def test_references_and_scale_must_be_finite_numbers(arguments, message):
    with pytest.raises(InputError, match=message):
        Potential(small_model(), **arguments)


def test_scale_multiplies_everything_but_the_references():
    model, references = small_model(), torch.rand(100)
    data = batch_of(nacl())
    bare = Potential(model, references).eval()(data, stress=True)
    scaled = Potential(model, references, scale=3.0).eval()(data, stress=True)
    shift = references.double()[[11, 17]].sum()
    torch.testing.assert_close(scaled.energy - shift, 3 * (bare.energy - shift), **HARD)
    torch.testing.assert_close(scaled.forces, 3 * bare.forces, **HARD)
    torch.testing.assert_close(scaled.stress, 3 * bare.stress, **HARD)


def test_scale_and_references_are_not_trained():
    potential = Potential(SchNet(channels=4, num_layers=1), torch.rand(100), scale=3.0)
    assert {name.split(".")[0] for name, _ in potential.named_parameters()} == {"model"}
    assert {
        "outputs.0.atomic_references.values",
        "outputs.0.scale",
    } <= potential.state_dict().keys()


@pytest.mark.parametrize(
    "atoms",
    [
        molecule("H2O"),
        Atoms("H", pbc=(True, False, False), cell=[5, 0, 0]),
    ],
    ids=["molecule", "chain"],
)
def test_stress_needs_a_volume(atoms):
    with pytest.raises(InputError, match="stress=True needs a cell with a volume"):
        small_potential()(from_ase(atoms), stress=True)


def test_stress_needs_a_cell():
    data = Data(z=torch.tensor([1]), pos=torch.zeros(1, 3))
    with pytest.raises(InputError, match="stress=True needs a cell with a volume"):
        small_potential()(data, stress=True)


def test_stress_without_a_volume_beside_others_is_nan():
    """One molecule among crystals costs nobody the stress of the others."""
    crystals = small_potential()(batch_of(nacl(), skewed()), stress=True)
    mixed = small_potential()(batch_of(nacl(), molecule("H2O"), skewed()), stress=True)
    torch.testing.assert_close(mixed.stress[[0, 2]], crystals.stress, **HARD)
    assert mixed.stress[1].isnan().all()
    assert mixed.forces.isfinite().all()


@pytest.mark.parametrize("filters", ["spline", "exact"])
@pytest.mark.parametrize("training", [False, True])
def test_positions_that_ask_for_it_get_gradients(filters, training):
    potential = small_potential(filters=filters).train(training)
    data = batch_of(molecule("CH3OH"), molecule("H2O"))
    expected = potential(data).forces.detach()
    data.pos = data.pos.clone().requires_grad_()
    prediction = potential(data)
    (gradient,) = torch.autograd.grad(prediction.energy.sum(), data.pos, retain_graph=True)
    tolerance = 1e-5 if filters == "spline" else 1e-10  # the layers run on every edge then
    torch.testing.assert_close(-gradient, expected, rtol=0, atol=tolerance)
    (row,) = torch.autograd.grad(prediction.forces[0, 1], data.pos)  # of −1 times the Hessian
    step, ends = 1e-5, []
    for sign in (1, -1):
        moved = data.clone()
        moved.pos = data.pos.detach().clone()
        moved.pos[2, 0] += sign * step
        ends.append(potential(moved).forces[0, 1].detach())
    torch.testing.assert_close(row[2, 0], (ends[0] - ends[1]) / (2 * step), rtol=1e-3, atol=1e-6)


class Column(nn.Module):
    """Returns (B, 1), as networks whose readout is a dense layer do."""

    cutoff, max_z = None, 10

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, data):
        return self.weight * sum_atoms(
            data.pos.square().sum(1), data.batch, num_structures(data)
        ).unsqueeze(1)


@pytest.mark.parametrize("forces", [False, True])
def test_a_model_must_return_one_energy_per_structure(forces):
    with pytest.raises(InputError, match=r"shape \(2,\), got shape \(2, 1\); .*squeeze"):
        Potential(Column())(batch_of(molecule("H2O"), molecule("CH4")), forces=forces)
    one = Potential(Column())(batch_of(molecule("H2O")), forces=forces)
    assert one.energy.shape == (1,)  # of one structure there is no doubt


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 2), "Linear has no cutoff and no max_z; set cutoff and max_z"),
        ("model.safetensors", "must be a torch.nn.Module .* got 'model.safetensors'"),
        (SchNet, "must be a torch.nn.Module .* got <class"),
    ],
)
def test_what_is_no_model_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        Potential(model)


def test_a_mean_stays_one_with_references_and_scale():
    """Two far copies have the value of one, whatever the references are."""
    potential = Potential(small_model(readout=MeanReadout), 100 * torch.rand(100), scale=3.0).eval()
    one = molecule("CH3OH")
    two = one + Atoms(one.symbols, one.positions + 50)
    first, second, mixed = (
        potential(from_ase(one)),
        potential(from_ase(two)),
        potential(batch_of(one, two, molecule("H2O"))),
    )
    torch.testing.assert_close(first.energy, second.energy, rtol=1e-12, atol=0)
    torch.testing.assert_close(mixed.energy[:2], first.energy.expand(2), rtol=1e-12, atol=0)
    frozen = potential.tabulate()
    for atoms in (one, two, one * (1, 1, 1)):
        data = from_ase(atoms)
        torch.testing.assert_close(
            frozen(data).energy, potential(data).energy, rtol=1e-6, atol=1e-5
        )
    large = one.copy()
    for k in range(1, 20):
        large += Atoms(one.symbols, one.positions + 50 * k)
    torch.testing.assert_close(frozen(from_ase(large)).energy, first.energy, rtol=1e-6, atol=1e-5)


def test_weights_of_inference_mode():
    """A potential built there says what to do; one that is loaded there serves as others do."""
    data = from_ase(molecule("H2O"))
    with torch.inference_mode():
        potential = small_potential(filters="exact")
    with pytest.raises(InputError, match="under torch.inference_mode.*save it and load it"):
        potential(data)


def test_representations_say_what_matters():
    potential = small_potential()
    text = repr(potential)
    number = sum(p.numel() for p in potential.model.parameters())
    assert f"cutoff={CUTOFF:g} Å, {number:,} parameters" in text
    assert "filters='spline', trained on nothing yet" in text
    prediction = potential(from_ase(molecule("H2O")))
    assert repr(prediction) == "Prediction(energy=(1,) float64, forces=(3, 3) float64)"


def test_atomic_number_above_the_table():
    potential = small_potential(max_z=10)
    potential(from_ase(molecule("HF")))
    with pytest.raises(InputError, match=r"structure 1: z\[\d\] = 14 .* from 1 to 9; raise max_z"):
        potential(batch_of(molecule("H2O"), molecule("SiH4")))


def test_references_of_another_length_are_refused():
    with pytest.raises(
        InputError, match=r"atomic_references must have shape \(100,\), .* got \(10,\)"
    ):
        Potential(SchNet(channels=4, num_layers=1), torch.zeros(10))


def test_edges_with_their_cutoff_are_used():
    """They are not searched again: without any, the atoms do not see each other."""
    data = from_ase(molecule("H2O"))
    data.edge_index = torch.zeros(2, 0, dtype=torch.long)
    data.edge_cutoff = torch.tensor([4.0])
    alone = sum(small_potential()(from_ase(Atoms(s))).energy for s in "OHH")
    torch.testing.assert_close(small_potential()(data).energy, alone, **HARD)


def test_a_single_structure_is_a_batch_of_one():
    single, batch = from_ase(nacl()), batch_of(nacl())
    for one, other in zip(
        small_potential()(single, stress=True), small_potential()(batch, stress=True), strict=True
    ):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("columns", [2, 4])
def test_positions_of_another_shape(columns):
    data = with_edges(from_ase(molecule("H2O")), 4.0)
    data.pos = torch.zeros(3, columns)
    with pytest.raises(InputError, match=r"pos must have shape \(3, 3\), .* got \(3, "):
        small_potential()(data)


def test_lattice_vectors_of_too_few_edges():
    data = with_edges(from_ase(bulk("NaCl", "rocksalt", a=5.64)), 4.0)
    data.edge_shift = data.edge_shift[:1]
    with pytest.raises(InputError, match="edge_shift must have shape|edge_reverse must point"):
        small_potential()(data)


class Bonds(torch.nn.Module):
    """A model of one's own, of the edges' vectors."""

    cutoff, max_z = 4.0, 100

    def __init__(self):
        super().__init__()
        self.strength = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, data):
        energy = self.strength * (4 - distances(edge_vectors(data))).square()
        structure = batch_index(data).index_select(0, data.edge_index[1])
        return sum_atoms(energy, structure, num_structures(data))


FAR = {
    "spline": lambda: small_potential(),
    "exact": lambda: small_potential(filters="exact"),
    "own model": lambda: Potential(Bonds()),
}


@pytest.mark.parametrize("kind", FAR)
@pytest.mark.parametrize("training", [False, True])
def test_float32_loses_nothing_far_from_the_origin(kind, training):
    potential = FAR[kind]().float().train(training)
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    crystal.rattle(0.1, seed=1)
    boxed = molecule("CH3CH2OH")
    boxed.set_cell([30, 31, 32])
    near = [from_ase(atoms) for atoms in (crystal, boxed)]
    far = [data.clone() for data in near]
    cells = torch.randint(-300, 300, far[0].pos.shape, generator=torch.Generator().manual_seed(0))
    far[0].pos = far[0].pos + cells.double() @ far[0].cell[0]
    far[1].pos = far[1].pos + torch.tensor([10_000.0, -20_000.0, 30_000.0]).double()
    near, far = (potential(Batch.from_data_list(part), stress=True) for part in (near, far))
    torch.testing.assert_close(far.energy, near.energy, rtol=3e-6, atol=0)
    torch.testing.assert_close(far.forces, near.forces, rtol=0, atol=3e-6 * largest(near.forces))
    # autograd's stress is a sum of forces times positions, of atoms a thousand Å apart here
    torch.testing.assert_close(far.stress, near.stress, rtol=0, atol=1e-3 * largest(near.stress))


def largest(tensor):
    return float(tensor.detach().abs().max())


@pytest.mark.parametrize("training", [False, True])
def test_exact_filters_follow_autocast(training):
    torch.manual_seed(0)
    potential = Potential(SchNet(channels=16, num_layers=1), filters="exact").train(training)
    data = from_ase(molecule("CH3OH"))
    expected = potential(data).forces.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = potential(data)
        if training:
            (found.energy.sum() + found.forces.square().sum()).backward()
    assert not torch.equal(found.forces, expected)
    assert float((found.forces - expected).detach().norm() / expected.norm()) < 0.3

"""The checks accept what is right, and refuse what is wrong with the right message."""

import copy
import re
import types
from dataclasses import replace

import pytest
import torch
from ase.build import bulk, molecule
from torch import nn
from torch.autograd.function import once_differentiable

from schnetgeo.data import Structure, from_ase
from schnetgeo.data.coverage import Coverage
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, distances, edge_vectors, num_structures
from schnetgeo.nn import Baseline, CFConv, RadialConv, SchNet
from schnetgeo.nn.readout import sum_atoms
from schnetgeo.potential import Potential
from schnetgeo.testing import CheckFailed, check_conv, check_potential


class PairConv(RadialConv):
    """What a user writes: a message of both atoms and the distance."""

    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.lin = nn.Linear(2 * channels + num_basis, channels)

    def message(self, x_i, x_j, edge_attr):
        return torch.tanh(self.lin(torch.cat([x_i, x_j, edge_attr], dim=-1)))


class UpdateConv(PairConv):
    """A layer that goes on after the sum, with a bias."""

    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.after = nn.Linear(channels, channels)

    def forward(self, *inputs):
        return self.after(torch.tanh(super().forward(*inputs)))


@pytest.mark.parametrize("conv", [CFConv, PairConv, UpdateConv, RadialConv])
def test_conv_passes(conv):
    report = check_conv(conv)
    assert [result.status for result in report.results] == ["passed"] * 12
    assert len(str(report).splitlines()) == 13
    assert str(report).startswith(f"{conv.__name__}\n  passed  output")


def test_conv_other_sizes_and_random_state():
    state = torch.get_rng_state()
    for seed in range(5):
        check_conv(PairConv, channels=3, num_basis=1, seed=seed)
    assert torch.equal(torch.get_rng_state(), state)


def test_conv_within_no_grad():
    with torch.no_grad():
        check_conv(CFConv)


class Mean(PairConv):
    def aggregate(self, inputs, index, edge_weight, dim_size):
        total = super().aggregate(inputs, index, edge_weight, dim_size)
        return total / index.bincount(minlength=dim_size).clamp(min=1).unsqueeze(-1)


class Softmax(PairConv):
    def aggregate(self, inputs, index, edge_weight, dim_size):
        inputs = inputs.exp() / inputs.exp().sum(0)
        return super().aggregate(inputs, index, edge_weight, dim_size)


class Sidestep(PairConv):
    def aggregate(self, inputs, index, dim_size):
        return inputs.new_zeros(dim_size, inputs.size(-1)).index_add(0, index, inputs)


class BiasPerEdge(PairConv):
    """Its bias starts at zero, which must not hide it."""

    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.bias = nn.Parameter(torch.zeros(channels))

    def aggregate(self, inputs, index, edge_weight, dim_size):
        total = super().aggregate(inputs, index, edge_weight, dim_size)
        return total + self.bias * index.bincount(minlength=dim_size).unsqueeze(-1)


class WeightedMean(PairConv):
    """Zero edges leave it alone, but its output does not vanish with the cutoff function."""

    def aggregate(self, inputs, index, edge_weight, dim_size):
        total = super().aggregate(inputs, index, edge_weight, dim_size)
        weights = edge_weight.new_zeros(dim_size).index_add(0, index, edge_weight)
        return total / torch.where(weights > 0, weights, 1.0).unsqueeze(-1)


class Root(PairConv):
    def aggregate(self, inputs, index, edge_weight, dim_size):
        root = torch.where(edge_weight > 0, edge_weight, 1.0).sqrt() * (edge_weight > 0)
        return super().aggregate(inputs, index, root, dim_size)


class Cumulative(PairConv):
    def message(self, x_i, x_j, edge_attr):
        return super().message(x_i, x_j, edge_attr).cumsum(0)


class EdgeIndex(PairConv):
    def message(self, x_i, x_j, edge_attr):
        return super().message(x_i, x_j, edge_attr) * torch.arange(len(x_j)).unsqueeze(-1)


class AtomIndex(PairConv):
    def forward(self, x, *edges):
        return super().forward(x, *edges) * torch.arange(len(x)).unsqueeze(-1)


class OverAllAtoms(PairConv):
    def forward(self, x, *edges):
        return super().forward(x - x.mean(0), *edges)


class InPlace(PairConv):
    def message(self, x_i, x_j, edge_attr):
        edge_attr *= 2
        return super().message(x_i, x_j, edge_attr)


class HalfPrecision(PairConv):
    def forward(self, *inputs):
        return super().forward(*inputs).float()


class Widened(PairConv):
    def forward(self, *inputs):
        return super().forward(*inputs).repeat(1, 2)


class NanWithoutEdges(PairConv):
    def message(self, x_i, x_j, edge_attr):
        return super().message(x_i, x_j, edge_attr)

    def forward(self, x, edges):
        return super().forward(x, edges) + 0 * edges.edge_attr.mean()


class Detached(PairConv):
    def message(self, x_i, x_j, edge_attr):
        return super().message(x_i, x_j, edge_attr.detach())


class FullyDetached(PairConv):
    def forward(self, *inputs):
        return super().forward(*inputs).detach()


class _Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class _DetachedSquare(_Square):
    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x.detach() * gradient


class Once(PairConv):
    square = _Square

    def message(self, x_i, x_j, edge_attr):
        return super().message(x_i, x_j, self.square.apply(edge_attr))


class HalfTwice(Once):
    square = _DetachedSquare


@pytest.mark.parametrize(
    ("conv", "message"),
    [
        (Mean, r"edges of weight zero changed the output by 0\.\d+.*must not count"),
        (Softmax, "edges of weight zero changed the output by .*RadialConv weight and sum"),
        (Sidestep, "edges of weight zero changed the output by .*neither `aggregate`"),
        (BiasPerEdge, "edges of weight zero changed the output"),
        (WeightedMean, "edges of a weight below 1e-06 changed the output"),
        (Root, "edges of a weight below 1e-06 changed the output"),
        (Cumulative, "same edges in another order changed the output by .*x_i, x_j and edge_attr"),
        (EdgeIndex, "same edges in another order changed the output"),
        (AtomIndex, "renumbering the atoms changed the output"),
        (OverAllAtoms, "two graphs into one batch changed the output.*batch normalization"),
        (InPlace, r"edge_attr was modified in place, by .*instead of using \+="),
        (HalfPrecision, r"output for 60 edges must have .*float64, but has .*float32"),
        (Widened, r"output for 60 edges must have shape \(8, 16\).*has shape \(8, 32\)"),
        (NanWithoutEdges, "output for 0 edges must have .*128 values not finite"),
        (Detached, "first derivatives by x, edge_weight, edge_attr.* are wrong.*Remove detach"),
        (FullyDetached, "first derivatives .* are wrong.*Remove detach"),
        (Once, "second derivatives .* are wrong.*an autograd function needs two"),
        (HalfTwice, "second derivatives .* are wrong.*needs two derivatives"),
    ],
)
def test_conv_refused(conv, message):
    with pytest.raises(CheckFailed, match=f"(?s)^{conv.__name__}: .*{message}"):
        check_conv(conv)


class DropoutFilter(CFConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter.append(nn.Dropout(0.2))


class RandomFilter(CFConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis, activation=nn.RReLU)


class Noise(nn.Module):
    """Random in evaluation mode too."""

    def forward(self, x):
        return torch.tanh(x) * (1 + 0.1 * torch.randn_like(x))


class NoisyFilter(CFConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis, activation=Noise)


class Flat(CFConv):
    def forward(self, x, edge_index, edge_weight, edge_attr):
        return super().forward(x, edge_index, edge_weight, edge_attr)


@pytest.mark.parametrize(
    ("conv", "message"),
    [
        (DropoutFilter, r"training mode changed the output by \d.*Leave out dropout"),
        (RandomFilter, r"training mode changed the output by \d.*random activations"),
        (NoisyFilter, r"computing the same graph again changed the output by \d.*no random"),
        (Flat, "cannot check output: TypeError: .*positional arg"),
    ],
)
def test_conv_refused_for_what_a_model_makes_of_it(conv, message):
    with pytest.raises(CheckFailed, match=f"(?s)^{conv.__name__}: .*{message}"):
        check_conv(conv)


class Updating(CFConv):
    def update(self, inputs):
        return 2 * inputs


class BasisInSum(CFConv):
    """Takes the basis functions in `aggregate`, which messages alone do not tell."""

    def aggregate(self, inputs, index, edge_weight, edge_attr, dim_size):
        inputs = inputs * edge_attr.sum(1, keepdim=True)
        return super().aggregate(inputs, index, edge_weight, dim_size)


class OwnPropagation(CFConv):
    def propagate(self, edge_index, x, edge_weight, edge_attr, W, **others):
        messages = x[edge_index[0]] * W * edge_attr.sum(1, keepdim=True)
        return self.aggregate(messages, edge_index[1], edge_weight, x.size(0))


@pytest.mark.parametrize(
    ("conv", "cause"),
    [
        (PairConv, r"PairConv\.message .*concatenates x_j and x_i; autograd runs the model"),
        (CFConv, ""),
        (Updating, ""),
        (BasisInSum, ""),
        (OwnPropagation, ""),
    ],
)
def test_layers_that_are_right_fast_or_slow(conv, cause):
    for report in (check_conv(conv), check_potential(schnet(conv=conv))):
        note = {result.name: result.note for result in report.results}["fast path"]
        assert re.fullmatch(cause and f"slow and right: {cause}", note)
        assert set(statuses(report).values()) == {"passed"}


@pytest.mark.parametrize("thing", [nn.Linear, "CFConv", CFConv(4, 4), None])
def test_conv_of_another_kind(thing):
    with pytest.raises(InputError, match="takes a subclass of schnetgeo.nn.RadialConv, got"):
        check_conv(thing)


def schnet(kind=SchNet, **changes):
    torch.manual_seed(1)
    return kind(**{"channels": 16, "num_layers": 2, "num_basis": 12, **changes})


def statuses(report):
    return {result.name: result.status for result in report.results}


def test_potential_passes():
    report = check_potential(schnet())
    assert set(statuses(report).values()) == {"passed"}
    assert len(report.results) == 18
    assert str(report).startswith("SchNet\n  passed  output")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_potential_passes_for_any_seed(seed):
    assert set(statuses(check_potential(schnet(), seed=seed)).values()) == {"passed"}


def test_paper_skips_smoothness():
    report = check_potential(SchNet.preset("paper2017"))
    skipped = [result for result in report.results if result.status == "skipped"]
    assert [result.name for result in skipped] == ["smooth at the cutoff"]
    assert "StepCutoff does not vanish" in str(report)


def test_small_table_of_elements_and_own_layer():
    model = schnet(conv=PairConv, max_z=10)
    assert set(statuses(check_potential(model)).values()) == {"passed"}


@pytest.mark.parametrize("cell", [True, False])
def test_own_structures(cell):
    atoms = molecule("NH3")
    data = from_ase(atoms)
    data.energy = torch.tensor([3.0], dtype=torch.float64)
    data.forces = torch.zeros(4, 3)
    if not cell:
        del data.cell, data.pbc
    before = data.clone()
    crystal = bulk("NaCl", "rocksalt", a=5.6)
    crystal.rattle(0.1, seed=3)
    slab = bulk("C", cubic=True)
    slab.rattle(0.1, seed=4)
    slab.pbc = (True, True, False)
    structures = [data, from_ase(crystal), from_ase(slab)]
    assert set(statuses(check_potential(schnet(), structures)).values()) == {"passed"}
    assert set(statuses(check_potential(schnet(), structures[1:])).values()) == {"passed"}
    assert all(torch.equal(data[key], before[key]) for key in before.keys())


def test_models_trained_on_other_elements_than_the_examples_have():
    potential = Potential(schnet())
    potential.trained_on = Coverage.of(StructureDataset.from_list([from_ase(molecule("H2"))]))
    assert set(statuses(check_potential(potential)).values()) == {"passed"}
    assert potential.trained_on.elements == ["H"]


def test_object_stays_as_it_is():
    references = torch.full((100,), -1000.0, dtype=torch.float64)
    potential = Potential(schnet(zero_init=True), references, scale=2.0).train()
    before = copy.deepcopy(potential.state_dict())
    state = torch.get_rng_state()
    assert set(statuses(check_potential(potential)).values()) == {"passed"}
    after = potential.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in before)
    assert all(after[k].dtype == before[k].dtype for k in before)
    assert all(module.training for module in potential.modules())
    assert all(p.grad is None for p in potential.parameters())
    assert torch.equal(torch.get_rng_state(), state)


class Toy(nn.Module):
    """Energies of what `per_atom` makes of each structure's positions, for wrong models."""

    cutoff, max_z = None, 100

    def forward(self, data):
        batch, num = batch_index(data), num_structures(data)
        return torch.stack([self.energy(data.z[batch == b], data.pos[batch == b])
                            for b in range(num)])  # fmt: skip


class Moments(Toy):
    """Right: the spread of the atoms about their center."""

    def energy(self, z, pos):
        return (z.unsqueeze(-1) * (pos - pos.mean(0)).square()).sum()


class Absolute(Toy):
    def energy(self, z, pos):
        return pos.square().sum()


class Oriented(Toy):
    def energy(self, z, pos):
        return (pos - pos.mean(0)).square()[:, 0].sum()


class Chiral(Toy):
    def energy(self, z, pos):
        relative = pos - pos.mean(0)
        powers = [relative.square().sum(1) * z**k for k in range(3)]
        return torch.linalg.det(torch.stack([p @ relative for p in powers]))


class FirstAtom(Toy):
    def energy(self, z, pos):
        return (pos - pos[:1]).square().sum()


def test_model_without_edges():
    report = statuses(check_potential(Moments(), [from_ase(molecule("CH3OH"))]))
    skipped = {name for name, status in report.items() if status == "skipped"}
    assert skipped == {
        "order of edges",
        "smooth at the cutoff",
        "cutoff function beyond the cutoff",
        "edges beyond the cutoff",
        "extensive",
    }


class WrongForces(Potential):
    def forward(self, data, **options):
        prediction = super().forward(data, **options)
        forces = prediction.forces
        return replace(prediction, forces=None if forces is None else 0.9 * forces)


class WrongStress(Potential):
    def forward(self, data, **options):
        prediction = super().forward(data, **options)
        stress = prediction.stress
        return replace(prediction, stress=None if stress is None else -stress)


class HalfDetached(SchNet):
    def forward(self, data):
        energy = super().forward(data)
        data = copy.copy(data)
        data.pos = data.pos.detach()
        return energy + super().forward(data)


class BatchNormalized(SchNet):
    def forward(self, data):
        energy = super().forward(data)
        return energy - energy.mean()


class Squared(SchNet):
    def forward(self, data):
        return super().forward(data).square()


class Counting(SchNet):
    """Depends on the number of an edge in the list."""

    def forward(self, data):
        number = torch.linspace(0, 1, data.num_edges, dtype=data.pos.dtype)
        lengths = distances(edge_vectors(data)) * number
        target = batch_index(data)[data.edge_index[1]]
        return super().forward(data) + sum_atoms(lengths, target, num_structures(data))


class Column(SchNet):
    def forward(self, data):
        return super().forward(data).unsqueeze(-1)


class Mutating(SchNet):
    def forward(self, data):
        data.z.clamp_(max=7)
        return super().forward(data)


class Adding(SchNet):
    def forward(self, data):
        data.energy_of_model = energy = super().forward(data)
        return energy


class MeanDistance(SchNet):
    """Divides by the number of neighbors, which may be none."""

    def forward(self, data):
        source, target = data.edge_index
        lengths = distances(edge_vectors(data))
        count = sum_atoms(torch.ones_like(lengths), target, data.z.numel())
        mean = sum_atoms(lengths, target, data.z.numel()) / count
        return sum_atoms(mean, batch_index(data), num_structures(data))


class Springs(nn.Module):
    """Takes the edges that it is given, as Potential gives them."""

    cutoff, max_z = 3.0, 100

    def forward(self, data):
        gap = self.cutoff - distances(edge_vectors(data))
        structure = batch_index(data)[data.edge_index[1]]
        return sum_atoms(gap**3, structure, num_structures(data))


def test_model_that_trusts_its_edges():
    report = check_potential(Springs())
    note = {result.name: result.note for result in report.results}["edges beyond the cutoff"]
    assert note.startswith(
        "called alone it counts edges beyond the cutoff, which change its output"
    )
    assert set(statuses(report).values()) == {"passed", "skipped"}


class Step(nn.Module):
    def __init__(self, cutoff):
        super().__init__()
        self.cutoff = cutoff

    def forward(self, distance):
        return 1.0 * (distance < self.cutoff)


class Ramp(Step):
    """Vanishes at the cutoff, but its slope does not."""

    def forward(self, distance):
        return (1 - distance / self.cutoff).clamp(min=0)


class Unmasked(Step):
    """Right below the cutoff alone."""

    def forward(self, distance):
        return 0.5 * (torch.cos(distance * torch.pi / self.cutoff) + 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: schnet(cutoff_fn=Unmasked),
            "the cutoff function is 1 beyond the cutoff of 5.0 Å.*Multip",
        ),
        (lambda: schnet(conv=DropoutFilter), "training mode changed the energy by .*dropout"),
        (lambda: schnet(activation=nn.RReLU), "training mode changed the energy by .*random act"),
        (lambda: schnet(activation=Noise), "same structures again changed the energy by .*Draw no"),
        (
            lambda: Potential(schnet(), spacing=1.0),
            "filters on knots .* changed the energy by .*Lower `spacing`",
        ),
        (Baseline, "Baseline: translation changed the energy by .*edge_vectors and distances"),
        (Absolute, "Absolute: translation changed the energy"),
        (Oriented, "Oriented: rotation changed the energy"),
        (Chiral, "Chiral: reflection changed the energy by .*triple products"),
        (FirstAtom, "FirstAtom: renumbering the atoms changed the energy"),
        (lambda: WrongForces(schnet()), "WrongForces of SchNet: forces differ from .* by "),
        (lambda: WrongStress(schnet()), "WrongStress of SchNet: stress · volume differs from"),
        (lambda: schnet(HalfDetached), "HalfDetached: forces differ from .*Remove detach"),
        (lambda: schnet(BatchNormalized), "BatchNormalized: .*into one batch changed the energy"),
        (lambda: schnet(Squared), "Squared: the energy of two far copies differs from twice"),
        (
            lambda: schnet(Counting),
            "Counting: listing the same edges in another order changed the energy",
        ),
        (
            lambda: schnet(Column),
            r"Column: output: .*one energy per structure, shape \(10,\), got shape \(10, 1\)",
        ),
        (lambda: schnet(Mutating), "Mutating: z of the batch was added or modified"),
        (lambda: schnet(Adding), "Adding: energy_of_model of the batch was added or modified"),
        (
            lambda: schnet(cutoff_fn=Step),
            "SchNet: energy jumps by .* cutoff of 5.0 Å.*CosineCutoff",
        ),
        (lambda: schnet(cutoff_fn=Ramp), "SchNet: forces jumps? by .* cutoff of 5.0 Å"),
        (lambda: schnet(conv=Mean), "SchNet: energy jumps by"),
    ],
)
def test_potential_refused(make, message):
    with pytest.raises(CheckFailed, match=f"(?s){message}"):
        check_potential(make())


def test_one_structure_is_enough_to_find_a_column():
    with pytest.raises(CheckFailed, match=r"got shape \(2, 1\)"):
        check_potential(schnet(Column), [from_ase(molecule("H2O"))])


def test_function_replaced_on_an_instance():
    potential = Potential(schnet())
    conv = potential.model.interactions[0].conv
    conv.forward = types.MethodType(
        lambda self, x, *edges: 2 * CFConv.forward(self, x, *edges), conv
    )
    assert set(statuses(check_potential(potential)).values()) == {"passed"}


def test_atom_without_edges():
    with pytest.raises(CheckFailed, match="energy of an atom without edges .* not finite"):
        check_potential(schnet(MeanDistance), [from_ase(molecule("CH3OH"))])


def test_error_within_the_model_is_told():
    class Broken(SchNet):
        def forward(self, data):
            return {}["key"]

    with pytest.raises(CheckFailed, match="Broken: cannot check output: KeyError") as caught:
        check_potential(schnet(Broken))
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("thing", [None, nn.Linear(3, 3), SchNet])
def test_potential_of_another_kind(thing):
    with pytest.raises(InputError, match="takes a Potential or a module with attributes cutoff"):
        check_potential(thing)


def test_structures_of_another_kind():
    for wrong, message in (
        ([molecule("H2O")], "structure 0 must be one Structure, got Atoms"),
        ([Structure(z=torch.tensor([1]), pos=torch.full((1, 3), torch.nan))], "finite"),
        ([], "at least one"),
        ([from_ase(molecule("SiH4"))], "raise max_z"),
    ):
        with pytest.raises(InputError, match=message):
            check_potential(schnet(max_z=10), wrong)

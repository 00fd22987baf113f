"""Checks for layers and models of your own: what must not change their output, and derivatives.

    print(schnetgeo.testing.check_conv(MyConv))
    print(schnetgeo.testing.check_potential(MyModel()))

The first statement that does not hold raises `CheckFailed`, which says by how much, and what
usually is the cause. Everything is computed on the CPU, on copies, and in float64.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry import complete_cell
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch_geometric.data import Batch, Data

from schnetgeo.data import Structure, from_ase, validate, with_edges
from schnetgeo.data.structure import PER_ATOM, PER_EDGE
from schnetgeo.errors import InputError
from schnetgeo.geometry import strained
from schnetgeo.nn import NoEnvelope, Potential, Prediction, RadialConv, SumReadout
from schnetgeo.nn.readout import sum_atoms

_EXACT = 1e-8  # relative: equal but for rounding
_SLOPE = 1e-5  # relative: equal but for the error of central differences
_ROUNDING = 1e-9  # of the energy or output: what a force or slope of zero may come to
_STEP = 1e-5  # of central differences, Å
_SMALL = 1e-6  # an envelope, or a distance in Å, as good as zero

_SUM = (
    "Return the message of one edge from `message`, let RadialConv weight and sum it, and override "
    "neither `aggregate` nor `propagate`: a layer must not count or normalize over neighbors"
)
_VECTORS = "Use positions through edge_vectors and distances of schnetgeo.geometry alone"
_ALONE = "Mix atoms only along edges and sum them by `batch`; normalize nothing over the batch"
_DERIVED = "Remove detach, .data and no_grad from the model; leave derivatives to Potential"


class CheckFailed(AssertionError):
    """A layer or model violates a statement; the message says which, by how much, and a remedy."""


class Result(NamedTuple):
    """One check: its name, "passed" or "skipped", and the reason for skipping."""

    name: str
    status: str
    note: str


class Report(NamedTuple):
    """All checks of one layer or model; as a string, a line for each."""

    subject: str
    results: tuple[Result, ...]

    def __str__(self) -> str:
        width = max(len(result.name) for result in self.results)
        lines = [f"  {r.status}  {r.name:{width}}  {r.note}".rstrip() for r in self.results]
        return "\n".join([self.subject, *lines])


def check_conv(
    conv_class: type[RadialConv], channels: int = 16, num_basis: int = 8, seed: int = 0
) -> Report:
    """Check a message-passing layer on random graphs, with repeated edges as in small crystals.

    Args:
        conv_class: subclass of `RadialConv`, built as conv_class(channels, num_basis).
        channels: F, features per atom.
        num_basis: K, radial basis functions per edge.
        seed: of weights and graphs.

    Raises:
        CheckFailed: at the first statement that is violated.
        InputError: for anything but a subclass of `RadialConv`.
    """
    if not (isinstance(conv_class, type) and issubclass(conv_class, RadialConv)):
        raise InputError(
            f"check_conv takes a subclass of schnetgeo.nn.RadialConv, got {conv_class!r}; derive "
            "your layer from it and pass the class"
        )
    with _seeded(seed):
        layer = conv_class(channels, num_basis)
        return _ConvChecks(layer, channels, num_basis).run(conv_class.__name__)


def check_potential(
    potential_or_model: Potential | nn.Module,
    structures: Iterable[Structure] | None = None,
    seed: int = 0,
) -> Report:
    """Check energy, forces and stress, in evaluation mode and without the references.

    Parameters that are zero, as a last layer before training, get random values in the copy.

    Args:
        potential_or_model: a `Potential`, or a model with attributes `cutoff` and `max_z`.
        structures: single structures; `None` is some distorted molecules, an atom and a crystal
            whose cell is smaller than most cutoffs.
        seed: of distortions and directions.

    Raises:
        CheckFailed: at the first statement that is violated.
        InputError: for an object that is no model, and for structures that are not valid.
    """
    potential = potential_or_model
    if not isinstance(potential, Potential):
        missing = [name for name in ("cutoff", "max_z") if not hasattr(potential, name)]
        if missing or not isinstance(potential, nn.Module):
            raise InputError(
                "check_potential takes a Potential or a module with attributes cutoff (None if "
                f"edgeless) and max_z, got {potential!r:.60}; set {' and '.join(missing) or 'both'}"
            )
        potential = Potential(potential)
    names = [type(part).__name__ for part in (potential, potential.model)]
    subject = names[1] if type(potential) is Potential else " of ".join(names)
    with _seeded(seed):
        return _PotentialChecks(potential, structures, seed).run(subject)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw the same numbers each time, with gradients, and leave torch's state as it was."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(seed)
        yield


def _agree(actual: Tensor, expected: Tensor, violation: str, tolerance=_EXACT, floor=0.0) -> None:
    """Raise unless |actual − expected| ≤ tolerance · |expected| + floor in the maximum norm."""
    difference = _largest(actual - expected)
    if not difference <= tolerance * _largest(expected) + floor:  # NaN is no agreement
        raise CheckFailed(f"{violation} by {difference:.2g}")


def _expect(what: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    bad = int((~tensor.isfinite()).sum())
    if bad or tensor.shape != shape or tensor.dtype != dtype:
        found = f"shape {tuple(tensor.shape)} and type {tensor.dtype}, {bad} values not finite"
        raise CheckFailed(f"{what} must have shape {shape} and type {dtype}, but has {found}")


def _largest(tensor: Tensor) -> float:
    return float(tensor.detach().abs().max())


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _slope(function: Callable[[float], Tensor]) -> Tensor:
    return (function(_STEP) - function(-_STEP)) / (2 * _STEP)


def _check(remedy: str) -> Callable:
    """Mark a method as a check: it raises, returns the reason why it does not apply, or nothing."""

    def mark(method: Callable) -> Callable:
        method.remedy = remedy
        return method

    return mark


class _Checks:
    """A copy of a layer or potential in float64, to be evaluated, and the checks as methods."""

    def __init__(self, module: nn.Module):
        self.module = copy.deepcopy(module).cpu().double().eval()
        for parameter in self.module.parameters():
            if not bool(parameter.detach().any()):  # zeros would hide what it does
                parameter.data.normal_(std=0.1)

    def run(self, subject: str) -> Report:
        results = []
        for method in vars(type(self)).values():
            if not hasattr(method, "remedy"):
                continue
            name, remedy = method.__name__.replace("_", " "), method.remedy
            try:
                reason = method(self)
            except CheckFailed as error:
                raise CheckFailed(f"{subject}: {error}. {remedy}.") from error.__cause__
            except InputError:
                raise
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise CheckFailed(f"{subject}: cannot check {name}: {what}") from error
            results.append(Result(name, "skipped" if reason else "passed", reason or ""))
        return Report(subject, tuple(results))


class _Graph(NamedTuple):
    x: Tensor
    edge_index: Tensor
    edge_weight: Tensor
    edge_attr: Tensor

    def edges(self, which: Tensor) -> "_Graph":
        """The same atoms with these edges, in this order."""
        edge = (self.edge_index[:, which], self.edge_weight[which], self.edge_attr[which])
        return _Graph(self.x, *edge)


class _ConvChecks(_Checks):
    def __init__(self, layer: RadialConv, channels: int, num_basis: int):
        super().__init__(layer)
        pairs = torch.randint(7, (2, 30))  # of 8 atoms: one stays alone
        pairs = torch.cat([pairs, pairs.flip(0)], dim=1)
        weight = torch.rand(30, dtype=torch.float64).repeat(2)
        attr = _normal(30, num_basis).sigmoid().repeat(2, 1)
        graph = _Graph(_normal(8, channels), pairs, weight, attr)
        self.graph = graph.edges(pairs[1].argsort(stable=True))
        self.no_edges = graph.edges(torch.arange(0))

    def agree(self, graph: _Graph, expected: Tensor, change: str, floor: float = 0.0) -> None:
        _agree(self.module(*graph), expected, f"{change} changed the output", floor=floor)

    @_check("Create tensors with x.new_zeros and the like, and return a row per atom")
    def output(self) -> None:
        for dtype in (torch.float32, torch.float64):
            layer = copy.deepcopy(self.module).to(dtype)
            for graph in (self.graph, self.no_edges):
                y = layer(*(t.to(dtype) if t.is_floating_point() else t for t in graph))
                what = f"the output for {graph.edge_weight.numel()} edges"
                _expect(what, y, tuple(graph.x.shape), dtype)

    @_check("Compute new tensors instead of using +=, mul_ and the like")
    def untouched_inputs(self) -> None:
        given = [t.clone() for t in self.graph]
        with torch.no_grad():
            self.module(*given)
        for name, after, before in zip(_Graph._fields, given, self.graph, strict=True):
            _agree(after, before, f"{name} was modified in place,", tolerance=0.0)

    @_check("Let `message` use x_i, x_j and edge_attr alone, and RadialConv do the sum")
    def order_of_edges(self) -> None:
        other = self.graph.edges(torch.randperm(self.graph.edge_weight.numel()))
        self.agree(other, self.module(*self.graph), "listing the same edges in another order")

    @_check("Do not use the index of an atom")
    def renumbering(self) -> None:
        graph, order = self.graph, torch.randperm(self.graph.x.size(0))
        other = graph._replace(x=graph.x[order], edge_index=order.argsort()[graph.edge_index])
        self.agree(other, self.module(*graph)[order], "renumbering the atoms")

    @_check(_SUM)
    def zero_envelope(self) -> None:
        graph, (source, target) = self.graph, self.graph.edge_index
        kept = ((source + target) % 3 != 0) & (source != 0) & (target != 0)  # atom 0 loses all
        zero = graph._replace(edge_weight=graph.edge_weight * kept)
        self.agree(zero, self.module(*graph.edges(kept)), "adding edges whose envelope is zero")

    @_check(_SUM)
    def small_envelope(self) -> None:
        alone = self.module(*self.no_edges)
        floor = 100 * _SMALL * _largest(self.module(*self.graph) - alone)
        faint = self.graph._replace(edge_weight=self.graph.edge_weight * _SMALL)
        self.agree(faint, alone, f"adding edges with an envelope below {_SMALL:.0e}", floor)

    @_check("Do not mix all atoms, as batch normalization does")
    def batch_and_singles(self) -> None:
        first, second = self.graph, self.graph.edges(torch.arange(0, 60, 3))
        second = second._replace(x=3 * second.x.flip(0))
        singles = torch.cat([self.module(*first), self.module(*second)])
        second = second._replace(edge_index=second.edge_index + first.x.size(0))
        pairs = enumerate(zip(first, second, strict=True))
        both = _Graph(*(torch.cat(pair, dim=int(k == 1)) for k, pair in pairs))
        self.agree(both, singles, "putting two graphs into one batch")

    @_check("Remove detach, .data and no_grad; an autograd function needs two derivatives")
    def derivatives(self) -> None:
        x, edge_index, *others = self.graph
        inputs = [t.clone().requires_grad_() for t in (x, *others)]

        def function(x: Tensor, *others: Tensor) -> Tensor:
            return self.module(x, edge_index, *others)

        for order, check in (("first", gradcheck), ("second", gradgradcheck)):
            try:
                check(function, inputs, fast_mode=True, rtol=_SLOPE, atol=1e-8, nondet_tol=1e-9)
            except (RuntimeError, ValueError) as error:
                what = f"{order} derivatives by x, edge_weight, edge_attr (inputs 0, 1, 2)"
                reason = " ".join(str(error).split("\n\n")[0].split()).rstrip(".")
                raise CheckFailed(f"{what} are wrong: {reason}") from error


class _PotentialChecks(_Checks):
    def __init__(self, potential: Potential, structures: Iterable[Structure] | None, seed: int):
        super().__init__(potential)
        self.module.references.energies.zero_()  # functions of z alone that drown the rest
        self.model, self.cutoff = self.module.model, self.module.model.cutoff
        given = _examples(self.model.max_z, seed) if structures is None else structures
        self.structures = [_plain(data, f"structure {k}") for k, data in enumerate(given)]
        if not self.structures:
            raise InputError("structures must hold at least one structure; None takes examples")
        first = self.structures[0]
        pbc = torch.zeros_like(first.pbc)
        self.atom = _changed(first, z=first.z[:1], pos=first.pos[:1], pbc=pbc)
        self.molecules = [data for data in self.structures if not bool(data.pbc.any())]
        self.molecules.insert(0, self.atom)

    def predict(self, structures: list[Structure]) -> Prediction:
        return self.module(Batch.from_data_list(structures), stress=True)

    @cached_property
    def prediction(self) -> Prediction:
        return self.predict(self.structures)

    @cached_property
    def floor(self) -> float:
        return _ROUNDING * _largest(self.prediction.energy)

    def connected(self, margin: float = 0.0) -> Data:
        """All structures with edges shorter than the cutoff minus a margin."""
        batch = Batch.from_data_list(self.structures)
        return batch if self.cutoff is None else with_edges(batch, self.cutoff - margin)

    def agree(self, actual: Prediction, expected: Prediction, change: str) -> None:
        for name, a, b in zip(Prediction._fields, actual, expected, strict=True):
            _agree(a, b, f"{change} changed the {name}", floor=self.floor)

    @_check("Return one energy per structure, in the type of data.pos")
    def output(self) -> None:
        batch = Batch.from_data_list(self.structures)
        for dtype in (torch.float32, torch.float64):
            energy, forces, stress = copy.deepcopy(self.module).to(dtype)(batch, stress=True)
            _expect("the energy", energy, (batch.num_graphs,), torch.float64)
            _expect("the forces", forces, tuple(batch.pos.shape), dtype)
            _expect("the stress", stress, tuple(batch.cell.shape), dtype)

    @_check("Work on a copy, such as copy.copy(data)")
    def untouched_inputs(self) -> None:
        for given in (Batch.from_data_list(self.structures), self.connected()):
            before = copy.deepcopy(given.to_dict())
            self.module(given, stress=True)
            if "edge_index" in before or self.cutoff is None:
                self.model(given)
            for name, value in given.to_dict().items():
                if name not in before or (torch.is_tensor(value) and not value.equal(before[name])):
                    raise CheckFailed(f"{name} of the batch was added or modified in place")

    @_check(_VECTORS)
    def translation(self) -> None:
        moved = [_changed(data, pos=data.pos + 3 * _normal(1, 3)) for data in self.structures]
        self.agree(self.predict(moved), self.prediction, "translation")

    def turn(self, handedness: int, change: str) -> None:
        q, _ = torch.linalg.qr(_normal(3, 3))
        q = q * torch.linalg.det(q).sign() * handedness
        turned = [_changed(data, pos=data.pos @ q, cell=data.cell @ q) for data in self.structures]
        energy, forces, stress = self.prediction
        self.agree(self.predict(turned), Prediction(energy, forces @ q, q.T @ stress @ q), change)

    @_check(_VECTORS)
    def rotation(self) -> None:
        self.turn(1, "rotation")

    @_check("Mirror images have one energy: use distances and angles, no triple products")
    def reflection(self) -> None:
        self.turn(-1, "reflection")

    @_check("Sum over edges and do not use their index")
    def order_of_edges(self) -> str | None:
        if self.cutoff is None:
            return "the model has no cutoff, hence no edges"
        batch = self.connected()
        order = torch.randperm(batch.num_edges)
        edges = {"edge_index": batch.edge_index[:, order], "edge_shift": batch.edge_shift[order]}
        edges["edge_reverse"] = order.argsort()[batch.edge_reverse[order]]
        actual = self.module(_changed(batch, **edges), stress=True)
        self.agree(actual, self.prediction, "listing the same edges in another order")
        return None

    @_check("Do not use the index of an atom")
    def renumbering(self) -> None:
        orders = [torch.randperm(data.z.numel()) for data in self.structures]
        pairs = zip(self.structures, orders, strict=True)
        other = [_changed(data, z=data.z[order], pos=data.pos[order]) for data, order in pairs]
        split = self.prediction.forces.split([order.numel() for order in orders])
        forces = torch.cat([f[order] for f, order in zip(split, orders, strict=True)])
        expected = self.prediction._replace(forces=forces)
        self.agree(self.predict(other), expected, "renumbering the atoms")

    @_check(_VECTORS)
    def atom_without_edges(self) -> None:
        energy, forces, _ = self.predict([self.atom])
        _expect("the energy of an atom without edges", energy, (1,), torch.float64)
        what = "the force on an atom without edges differs from zero"
        _agree(forces, torch.zeros_like(forces), what, tolerance=0.0)

    @_check(_ALONE)
    def batch_and_singles(self) -> None:
        singles = [self.predict([data]) for data in self.structures]
        together = Prediction(*(torch.cat(parts) for parts in zip(*singles, strict=True)))
        self.agree(self.prediction, together, "putting structures into one batch")

    @_check(_DERIVED)
    def forces(self) -> None:
        batch = self.connected(margin=1e-3)  # so that no step takes an edge across the cutoff
        forces = self.module(batch).forces
        for along in _normal(3, *batch.pos.shape):

            def energy(step: float, along=along) -> Tensor:
                moved = _changed(batch, pos=batch.pos + step * along)
                return self.module(moved, forces=False).energy

            work = sum_atoms((forces * along).sum(1), batch.batch, batch.num_graphs)
            what = "forces differ from −∂E/∂pos by differences"
            _agree(work, -_slope(energy), what, _SLOPE, self.floor)

    @_check(_DERIVED)
    def stress(self) -> None:
        batch = self.connected(margin=1e-3)
        strain = 0.1 * _normal(*batch.cell.shape)

        def energy(step: float) -> Tensor:
            pos, cell = strained(batch, step * strain)
            return self.module(_changed(batch, pos=pos, cell=cell), forces=False).energy

        work = (self.module(batch, stress=True).stress * strain).sum((1, 2))
        work = work * torch.linalg.det(batch.cell).abs()
        what = "stress · volume differs from ∂E/∂strain by differences"
        _agree(work, _slope(energy), what, _SLOPE, self.floor)

    @_check(
        "Multiply what an edge does by an envelope that ends there flat, as CosineEnvelope does"
    )
    def smooth_at_the_cutoff(self) -> str | None:
        if self.cutoff is None:
            return "the model has no cutoff"
        if isinstance(getattr(self.model, "envelope", None), NoEnvelope):
            return "NoEnvelope does not vanish at the cutoff: energies jump there"

        def predict(gap: float) -> Prediction:
            """Of each molecule and one more atom, as far from its first atom as cutoff + gap."""
            grown = []
            for data in self.molecules:
                step = (self.cutoff + gap) * data.pos.new_tensor([[0.36, 0.48, 0.8]])
                pos, z = torch.cat([data.pos, data.pos[:1] + step]), torch.cat([data.z, data.z[:1]])
                grown.append(_changed(data, z=z, pos=pos))
            return self.predict(grown)

        wide, narrow = (zip(predict(-gap), predict(gap), strict=True) for gap in (1e-3, _SMALL))
        for name in ("energy", "forces"):
            before, after = (_largest(a - b) for a, b in (next(wide), next(narrow)))
            if not after <= 0.1 * before + self.floor:  # a smooth change shrinks with the gap
                where = f"where a distance crosses the cutoff of {self.cutoff} Å"
                raise CheckFailed(f"{name} jumps by {after:.2g} {where}")
        return None

    @_check(_ALONE)
    def extensive(self) -> str | None:
        if type(getattr(self.model, "readout", None)) is not SumReadout or self.cutoff is None:
            return "only asked of models that have a cutoff and whose readout is SumReadout"
        far = 2 * self.cutoff + 2 * max(_largest(data.pos) for data in self.molecules)
        doubled = [
            _changed(data, z=data.z.repeat(2), pos=torch.cat([data.pos, data.pos + far]))
            for data in self.molecules
        ]
        actual, expected = self.predict(doubled).energy, 2 * self.predict(self.molecules).energy
        _agree(actual, expected, "the energy of two far copies differs from twice that of one")
        return None


def _examples(max_z: int, seed: int) -> list[Structure]:
    crystal = bulk("Si") if max_z > 14 else bulk("C")
    atoms = [*map(molecule, ("H2O", "CH3CONH2", "H2")), Atoms("H"), crystal]
    for k, item in enumerate(atoms):
        item.rattle(0.1, seed=seed + k)
    return [from_ase(item) for item in atoms if item.numbers.max() < max_z]


def _plain(data: Structure, where: str) -> Structure:
    """The structure in float64, without labels and edges, in a cell that has a volume."""
    if not isinstance(data, Data) or data.get("batch") is not None:
        raise InputError(f"{where} must be one Structure, got {type(data).__name__}; pass a list")
    validate(data, where)
    left_out = ("energy", "stress", *PER_ATOM[2:], *PER_EDGE)
    plain = Structure(cell=torch.zeros(1, 3, 3), pbc=torch.zeros(1, 3, dtype=torch.bool))
    plain.update({key: value for key, value in data.to_dict().items() if key not in left_out})
    plain = plain.cpu()
    cell = torch.from_numpy(complete_cell(plain.cell[0].numpy())).double().unsqueeze(0)
    return plain.update({"pos": plain.pos.detach().double(), "cell": cell})


def _changed(data: Data, **fields: Tensor) -> Data:
    return copy.copy(data).update(fields)

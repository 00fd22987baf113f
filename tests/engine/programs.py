"""Random programs of all operations, and batches to run them on."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from schnetgeo.engine import program as p
from schnetgeo.engine.edges import KnotWeights, knot_weights
from schnetgeo.engine.knots import Knots
from schnetgeo.nn.basis import GaussianBasis
from schnetgeo.nn.cutoff import CosineCutoff
from schnetgeo.ops import bspline, edges_from_index
from tests.engine.reference import values_on_knots

ELEMENTS = 4
CUTOFF = 3.0
SPACING = 0.4
CHANNELS = st.one_of(st.integers(1, 5), st.sampled_from([8, 17]))
SIZES = st.tuples(st.integers(1, 7), st.integers(0, 12))  # numbers of atoms, and of pairs of edges
Shape = tuple[int, ...]


class RandomModel(NamedTuple):
    """A program and the shapes of its parameters."""

    program: p.ModelProgram
    shapes: tuple[Shape, ...]
    num_basis: int

    @property
    def is_directed(self) -> bool:
        """Whether a convolution reads unit vectors."""
        operations = self.program.atoms.operations
        return any(getattr(op, "direction", 0) for op in operations)


class Builder:
    """A program that grows by operations on registers that are there.

    Args:
        draw: hypothesis's.
        shapes: of the parameters, to which this adds.
        registers: that no operation writes.
    """

    def __init__(self, draw, shapes: list[Shape], registers: tuple[p.Register, ...] = ()):
        self.draw, self.shapes = draw, shapes
        self.registers, self.operations = list(registers), []

    def emit(self, operation: type, register: p.Register, **fields) -> int:
        out = len(self.registers)
        self.registers.append(register)
        self.operations.append(operation(out=out, **fields))
        return out

    def parameter(self, *shape: int) -> int:
        """A new one, or one of that shape again."""
        same = [n for n, other in enumerate(self.shapes) if other == shape]
        if same and self.draw(st.booleans()):
            return self.draw(st.sampled_from(same))
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def pick(self, condition=lambda register: True) -> int | None:
        """A register, a late one more often."""
        fitting = [n for n, register in enumerate(self.registers) if condition(register)]
        if not fitting:
            return None
        return fitting[-1 - min(self.draw(st.integers(0, len(fitting) - 1)) for _ in range(2))]

    def linear(self, x: int, channels: int) -> int:
        before, components = self.registers[x]
        register = p.Register(channels, components)
        bias = self.parameter(channels) if self.draw(st.booleans()) else None
        residual = self.pick(lambda r: r == register) if self.draw(st.booleans()) else None
        weight = self.parameter(channels, before)
        return self.emit(p.Linear, register, x=x, weight=weight, bias=bias, residual=residual)

    def activation(self, x: int, function: p.Function | None = None) -> int:
        register = self.registers[x]
        if function is None:
            function = self.draw(st.sampled_from(p.Function))
            if function in (p.Function.SQRT, p.Function.RSQRT, p.Function.RECIPROCAL):
                x = self.activation(self.activation(x, p.Function.TANH), p.Function.SQUARE)
                x = self.emit(p.Affine, register, x=x, scale=2.0, shift=0.5)
            elif function in (p.Function.EXP, p.Function.SQUARE):
                x = self.activation(x, p.Function.TANH)
        return self.emit(p.Activation, register, x=x, function=function)

    def multiply(self, x: int, y: int) -> int:
        register = broadcast(self.registers[x], self.registers[y])
        return self.emit(p.Multiply, register, x=x, y=y)

    def any_local(self, x: int) -> int:
        """One of the operations on each row alone."""
        register = self.registers[x]
        channels, components = register
        kinds = [
            p.Linear, p.Activation, p.Affine, p.Scale, p.Shift, p.Add, p.Multiply, p.SumChannels,
            p.Slice, p.Concatenate,
        ]  # fmt: skip
        match self.draw(st.sampled_from(kinds)):
            case p.Linear:
                return self.linear(x, self.draw(CHANNELS))
            case p.Activation:
                return self.activation(x)
            case p.Affine:
                return self.emit(p.Affine, register, x=x, scale=-0.7, shift=0.3)
            case p.Scale:
                return self.emit(p.Scale, register, x=x, weight=self.parameter(channels))
            case p.Shift:
                return self.emit(p.Shift, register, x=x, bias=self.parameter(channels))
            case p.Add:
                y = self.pick(lambda other: broadcast(register, other))
                return self.emit(p.Add, broadcast(register, self.registers[y]), x=x, y=y)
            case p.Multiply:
                y = self.pick(lambda other: broadcast(register, other))
                bounded = self.activation(y, p.Function.TANH)
                return self.multiply(*((bounded, bounded) if x == y else (x, bounded)))
            case p.SumChannels:
                return self.emit(p.SumChannels, p.Register(1, components), x=x)
            case p.Slice:
                start = self.draw(st.integers(0, channels - 1))
                stop = self.draw(st.integers(start + 1, channels))
                part = p.Register(stop - start, components)
                return self.emit(p.Slice, part, x=x, start=start)
            case p.Concatenate:
                y = self.pick(lambda other: other.components == components)
                both = p.Register(channels + self.registers[y].channels, components)
                return self.emit(p.Concatenate, both, x=x, y=y)

    def build(self, outputs: list[int]) -> p.Program:
        return p.Program(tuple(self.registers), tuple(self.operations), tuple(outputs))


def broadcast(x: p.Register, y: p.Register) -> p.Register | None:
    """Of the sum of two registers; `None` if they do not fit."""
    pairs = list(zip(x, y, strict=True))
    fit = all(a == b or 1 in (a, b) for a, b in pairs)
    return p.Register(*map(max, pairs)) if fit else None


class Start(NamedTuple):
    """Registers of each kind."""

    still: int  # does not depend on the edges
    scalar: int
    vector: int


def model_with(operation: Callable[[Builder, Start], int]) -> RandomModel:
    """A model of few operations, one of which is added by a function that returns its register."""
    atoms, filters = (Builder(lambda strategy: False, []) for _ in range(2))
    shapes = filters.shapes = atoms.shapes
    filters.registers.append(p.Register(2))
    outputs = [filters.linear(0, 3) for _ in range(2)]

    def convolve(x, direction, components, number=0):
        register = p.Register(3, components)
        return atoms.emit(p.FilterConv, register, x=x, filter=number, direction=direction)

    weight = atoms.parameter(ELEMENTS, 3)
    still = atoms.emit(p.Embedding, p.Register(3), weight=weight)
    scalar = convolve(still, p.Direction.NONE, 1)
    out = operation(atoms, Start(still, scalar, convolve(scalar, p.Direction.GRADIENT, 3, 1)))
    result = out
    if atoms.registers[out].components == 3:
        out = atoms.multiply(out, out)
        out = atoms.emit(p.SumComponents, p.Register(atoms.registers[out].channels), x=out)
    out = atoms.activation(atoms.linear(out, 3), p.Function.SILU)
    out = atoms.multiply(convolve(out, p.Direction.NONE, 1), scalar)
    energy = atoms.linear(out, 1)
    program = p.ModelProgram(atoms.build([energy, result]), filters.build(outputs), energy)
    return RandomModel(program, tuple(shapes), 2)


@st.composite
def random_models(draw, max_operations: int = 14) -> RandomModel:
    """Models of a few layers, with vectors, shared parameters and filters, and dead registers.

    Some have an energy, the first result, and some have results of any shape.
    """
    shapes, num_basis = [], draw(CHANNELS)
    filters, outputs = Builder(draw, shapes, (p.Register(num_basis),)), []
    atoms = Builder(draw, shapes)
    for _ in range(draw(st.integers(1, 2))):
        channels = draw(CHANNELS)
        weight = atoms.parameter(ELEMENTS, channels)
        atoms.emit(p.Embedding, p.Register(channels), weight=weight)
    for _ in range(draw(st.integers(0, max_operations))):
        x = atoms.pick()
        match draw(st.sampled_from(["local", "local", "convolution", "convolution", "sum"])):
            case "local":
                atoms.any_local(x)
            case "sum" if atoms.registers[x].components == 3:
                atoms.emit(p.SumComponents, p.Register(atoms.registers[x].channels), x=x)
            case _:
                _convolve(draw, atoms, filters, outputs, x)
    results = [atoms.pick() for _ in range(draw(st.integers(0, 3)))]
    energy = _atomic_value(atoms) if not results or draw(st.booleans()) else None
    results = dict.fromkeys(results if energy is None else [energy, *results])
    program = p.ModelProgram(atoms.build([*results]), filters.build(outputs), energy)
    return RandomModel(program, tuple(shapes), num_basis)


def _convolve(draw, atoms: Builder, filters: Builder, outputs: list[int], x: int) -> int:
    channels, components = atoms.registers[x]
    fitting = [n for n, r in enumerate(outputs) if filters.registers[r].channels == channels]
    if not fitting or draw(st.booleans()):
        y = filters.pick()
        if draw(st.booleans()):
            y = filters.any_local(y)
        y = filters.linear(y, channels)
        outputs.append(filters.activation(y) if draw(st.booleans()) else y)
        fitting = [len(outputs) - 1]
    changes = p.Direction.GRADIENT if components == 1 else p.Direction.DIVERGENCE
    direction = draw(st.sampled_from([p.Direction.NONE, changes]))
    if direction is not p.Direction.NONE:
        components = 4 - components
    number = draw(st.sampled_from(fitting))
    register = p.Register(channels, components)
    return atoms.emit(p.FilterConv, register, x=x, filter=number, direction=direction)


def _atomic_value(atoms: Builder) -> int:
    """One number for each atom, from the last register."""
    y = len(atoms.registers) - 1
    if atoms.registers[y].components == 3:
        y = atoms.multiply(y, y)
        y = atoms.emit(p.SumComponents, p.Register(atoms.registers[y].channels), x=y)
    return atoms.linear(y, 1)


class Case(NamedTuple):
    """All that an executor needs for one batch, and the loss's gradients for what it gives.

    float64; `distance` and `unit` are what the weights of the knots follow from.
    """

    program: p.ModelProgram
    parameters: list[Tensor]
    basis: Tensor
    edges: KnotWeights
    z: Tensor
    atom_weights: Tensor
    distance: Tensor
    unit: Tensor
    values_bar: list[Tensor]  # (N, C, F)
    radial_bar: Tensor
    angular_bar: Tensor


def random_case(model: RandomModel, seed: int, num_atoms: int = 5, num_pairs: int = 9) -> Case:
    """Random numbers, and edges between any atoms, some from an atom to its own image."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=random, dtype=torch.float64)

    def uniform(*shape):
        return torch.rand(shape, generator=random, dtype=torch.float64)

    ends = torch.randint(num_atoms, (2, num_pairs), generator=random)
    forward, backward = torch.arange(2 * num_pairs).view(2, num_pairs)
    source, target = torch.cat([ends, ends.flip(0)], dim=1)
    target, order = target.sort(stable=True)
    position = order.argsort()
    reverse = torch.cat([position[backward], position[forward]])[order]
    edges = edges_from_index(torch.stack([source[order], target]), reverse, num_atoms)

    def of_pairs(values, sign):
        return torch.cat([values, sign * values])[order]

    distance = of_pairs(0.1 + (CUTOFF + 0.2) * uniform(num_pairs), 1)
    unit = of_pairs(torch.nn.functional.normalize(normal(num_pairs, 3)), -1)
    knots = Knots(GaussianBasis(2, CUTOFF), CUTOFF, SPACING)
    atoms = model.program.atoms
    placed = knot_weights(knots, CosineCutoff(CUTOFF), distance, edges, unit)
    return Case(
        program=model.program,
        parameters=[normal(*shape) / shape[-1] ** 0.5 for shape in model.shapes],
        basis=normal(len(placed.coefficients) + 2, model.num_basis),
        edges=placed,
        z=torch.randint(ELEMENTS, (num_atoms,), generator=random),
        atom_weights=uniform(num_atoms),
        distance=distance,
        unit=unit,
        values_bar=[
            normal(num_atoms, register.components, register.channels)
            for register in map(atoms.registers.__getitem__, atoms.outputs)
        ],
        radial_bar=of_pairs(normal(num_pairs), 1),
        angular_bar=of_pairs(normal(num_pairs, 3), -1),
    )


class Expected(NamedTuple):
    """What an executor must give."""

    values: list[Tensor]  # (N, C, F)
    energy: Tensor  # Σ w y, 0 where there is none
    radial: Tensor
    angular: Tensor
    basis: Tensor  # gradients of Σ v̄ v + Σ ṙ radial + Σ u̇ angular
    parameters: list[Tensor]


def expected(case: Case, gradients: bool = True) -> Expected:
    """By autograd, twice; `gradients` is whether those for the edges count."""
    r, unit = case.distance.clone().requires_grad_(), case.unit.clone().requires_grad_()
    trained = [t.clone().requires_grad_() for t in (case.basis, *case.parameters)]
    interval, first = case.edges.interval, case.edges.coefficients.start + 1
    f = 0.5 * (torch.cos(r * (torch.pi / CUTOFF)) + 1) * (r < CUTOFF)
    weights = f.unsqueeze(1) * bspline.weights(r / SPACING - first - interval)
    weights = torch.where((r < CUTOFF).unsqueeze(1), weights, 0.0)
    values = values_on_knots(
        case.program, trained[1:], trained[0], case.z, case.edges.edges[:2], (interval, weights),
        unit,
    )  # fmt: skip
    options = dict(allow_unused=True, materialize_grads=True)
    total = 0 * (r.sum() + unit.sum())
    if case.program.energy is not None:
        y = values[case.program.atoms.outputs.index(case.program.energy)].flatten()
        total = total + (case.atom_weights * y).sum()
    radial, angular = torch.autograd.grad(total, (r, unit), create_graph=True, **options)
    loss = sum((bar * v).sum() for bar, v in zip(case.values_bar, values, strict=True))
    if gradients:
        loss = loss + (case.radial_bar * radial).sum() + (case.angular_bar * angular).sum()
    basis, *parameters = torch.autograd.grad(loss, trained, **options)
    values = [v.detach() for v in values]
    return Expected(values, total.detach(), radial.detach(), angular.detach(), basis, parameters)

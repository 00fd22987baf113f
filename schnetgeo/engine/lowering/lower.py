"""Reads the program of a model off its own forward."""

from operator import is_
from typing import NamedTuple

import torch
from torch import Tensor

from schnetgeo.engine.lowering import messages
from schnetgeo.engine.lowering.modules import unreadable
from schnetgeo.engine.lowering.outputs import Outputs, first, read_outputs
from schnetgeo.engine.lowering.refusal import REMEDY, reason_of
from schnetgeo.engine.lowering.simplify import simplified
from schnetgeo.engine.lowering.tracing import Tracing
from schnetgeo.engine.lowering.values import Draft, Features, Index, Place
from schnetgeo.engine.lowering.watch import Watch
from schnetgeo.engine.program import ModelProgram
from schnetgeo.nn.conv import EdgeFeatures
from schnetgeo.nn.model import AtomisticModel

# what is written for both must be the same, so that no number of atoms is part of a program
_ROWS = (5, 19), (131, 517)


class Lowered(NamedTuple):
    """A program, and the tensors of the model that it names by their positions.

    Once `watch.changed()`, the model must be lowered again.
    """

    program: ModelProgram
    outputs: Outputs  # what `atomic_values` returns, from the results of the program
    parameters: tuple[Tensor, ...]
    watch: Watch


class Refusal(NamedTuple):
    """Why autograd runs a model: where in it what was met. Once `watch.changed()`, ask again."""

    reason: str
    watch: Watch


def lower(model: AtomisticModel) -> Lowered | Refusal:
    """The program of what `model.atomic_values` computes, or why there is none.

    The method runs twice, on small tensors whose numbers nobody reads. The model stays as it is,
    and so does torch's generator of random numbers.

    Args:
        model: any; one that is no AtomisticModel is refused.
    """
    watch = Watch(model)
    reason = unreadable(model) or watch.unwatchable
    if reason:
        return Refusal(f"{reason}; {REMEDY}", watch)
    try:
        random = torch.random.fork_rng(_gpus(model))
        with random, torch.inference_mode(False), torch.enable_grad():
            (*one, parameters), (*two, others) = (_traced(model, rows) for rows in _ROWS)
    except Exception as error:  # whatever the user's code raises for such tensors
        return _refusal(reason_of(model, error), watch)
    if watch.changed():
        return _refusal(f"{type(model).__name__} changes its attributes in forward", watch)
    if one != two or not all(map(is_, parameters, others)):
        return _refusal(
            f"{type(model).__name__}.atomic_values computes differently in each call, or by the "
            "number of atoms or edges",
            watch,
        )
    return Lowered(*one, parameters, watch)


def _gpus(model: AtomisticModel) -> list[torch.device]:
    return list({p.device for p in model.parameters() if p.device.type == "cuda"})


def _refusal(reason: str, watch: Watch) -> Refusal:
    if watch.changed():
        watch.restore()
    return Refusal(f"{reason}; {REMEDY}", watch)


def _traced(
    model: AtomisticModel, rows: tuple[int, int]
) -> tuple[ModelProgram, Outputs, tuple[Tensor, ...]]:
    like = next(model.parameters())
    num_basis = _num_basis(model, like)
    draft = Draft(num_basis)
    tracing = Tracing(draft, model, rows, like.dtype, like.device)
    z, edges = _inputs(tracing, rows, num_basis, like.dtype)
    with tracing:
        result = model.atomic_values(z, edges)
    if tracing.error:
        raise tracing.error
    outputs, registers = read_outputs(result)
    programs = draft.atoms.program(tuple(registers)), draft.filters.program(())
    program, numbers = simplified(*programs, has_energy=first(outputs).axes == "r")
    return program, outputs, tuple(draft.parameters.tensors[number] for number in numbers)


def _inputs(
    tracing: Tracing, rows: tuple[int, int], num_basis: int, dtype: torch.dtype
) -> tuple[Tensor, EdgeFeatures]:
    num_atoms, num_edges = rows
    z = tracing.symbol(Index.ATOMIC_NUMBER, (num_atoms,), torch.long)
    basis = Features(Place.EDGE, 0, "rf" if num_basis > 1 else "r1")
    return z, EdgeFeatures(
        edge_index=tracing.symbol(Index.EDGE_INDEX, (2, num_edges), torch.long),
        edge_weight=tracing.symbol(messages.cutoff_function(), (num_edges,), dtype),
        edge_attr=tracing.symbol(basis, (num_edges, num_basis), dtype),
        edge_unit=tracing.symbol(messages.unit_vector(), (num_edges, 3), dtype),
    )


def _num_basis(model: AtomisticModel, like: Tensor) -> int:
    with torch.no_grad():
        return model.basis(like.new_ones(1)).shape[-1]

"""What runs a potential, and why."""

from dataclasses import fields
from typing import NamedTuple

import torch
from torch import nn
from torch_geometric.data import Data

from schnetgeo.data.graph import with_edges
from schnetgeo.engine.engine import Reading
from schnetgeo.engine.program import ModelProgram, Operation, Program


class Explanation(NamedTuple):
    """What computes a potential; prints as text."""

    executor: str  # "autograd", "torch" or "numba"
    reason: str
    program: ModelProgram | None  # what the model was read as

    def __str__(self) -> str:
        lines = [f"{self.executor}: {self.reason}"]
        if self.program is not None:
            lines += ["filters, on knots:", *_listing(self.program.filters)]
            lines += ["atoms:", *_listing(self.program.atoms)]
        return "\n".join(lines)


@torch.no_grad()
def explain(potential: nn.Module, data: Data) -> Explanation:
    """Which executor computes a potential for a batch, why, and what the model was read as.

        print(explain(potential, data))

    Args:
        potential: a `Potential`.
        data: structure or batch.
    """
    if potential.filters != "spline":
        return Explanation("autograd", f"filters={potential.filters!r}", None)
    reading = potential.engine.read(potential.model, potential.has_energy)
    if not isinstance(reading, Reading):
        return Explanation("autograd", reading.reason, None)
    if potential.scale.device.type != "cpu":
        reason = f"the model is on {potential.scale.device}; sizes that come often are CUDA graphs"
        return Explanation("torch", reason, reading.program)
    if reading.numba_refusal is not None:
        return Explanation("torch", reading.numba_refusal, reading.program)
    data = with_edges(data, potential.model.cutoff)
    if reading.measure(data, potential.scale) is not None:
        return Explanation("numba", "compiled code serves the model and the batch", reading.program)
    reason = "threads could not share the structures, as of one large crystal"
    return Explanation("torch", reason, reading.program)


def _listing(program: Program) -> list[str]:
    lines = [f"  {_line(operation)}" for operation in program.operations]
    return [*lines, f"  result {', '.join(f'r{n}' for n in program.outputs)}"]


def _line(operation: Operation) -> str:
    arguments = []
    for field in fields(operation):
        value = getattr(operation, field.name)
        if field.name == "out" or value is None:
            continue
        if field.name in ("x", "y", "residual"):
            arguments.append(f"r{value}" if field.name != "residual" else f"residual=r{value}")
        elif field.name in ("weight", "bias"):
            arguments.append(f"{field.name}=p{value}")
        else:
            arguments.append(f"{field.name}={getattr(value, 'name', value)}")
    return f"r{operation.out} = {type(operation).__name__}({', '.join(arguments)})"

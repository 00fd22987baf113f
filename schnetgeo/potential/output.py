"""From what a model returns to a target in its unit."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.geometry import num_structures
from schnetgeo.nn.readout import Readout, SumReadout
from schnetgeo.potential.atomic_references import AtomicReferences
from schnetgeo.targets import Target
from schnetgeo.units import conversion


class Output(nn.Module):
    """scale · result + Σ_i e0[z_i] (their mean for an intensive target).

    The references e0 belong to targets that are a sum or mean over atoms; what has them is
    float64, all else has the type of the model.

    Args:
        target: what comes out.
        readout: what gives the results; `None` for a model without one.
        scale: number, in the unit of the target.
        references: e0, a row per atomic number, in the unit of the target.
        dtype: of the model.

    Raises:
        InputError: if references are given for a target that has none.
    """

    scale: Tensor

    def __init__(
        self,
        target: Target,
        readout: Readout | None,
        scale: Float[Tensor, ""],
        references: Float[Tensor, "Z"],
        dtype: torch.dtype,
    ):
        super().__init__()
        self.target = target
        self.register_buffer("scale", scale.to(dtype))
        has_references = has_atomic_references(target, readout)
        if not has_references and bool(references.any()):
            raise InputError(f"{target} has no atomic_references; leave them out, or give zeros")
        mean = not target.extensive
        self.atomic_references = AtomicReferences(references, mean) if has_references else None

    def forward(self, result: Tensor, data: Data) -> Tensor:
        """The target of each structure or atom.

        Args:
            result: of the model, times `scale` already.
            data: structure or batch.
        """
        if self.atomic_references is None:
            return result
        references = self.atomic_references(data)
        return result.to(references.device).double() + references

    def scaled(self, result: object, data: Data) -> Tensor:
        """Scale · result, or an `InputError` where that has not the shape of the target."""
        number = data.z.numel() if self.target.per == "atom" else num_structures(data)
        shape = (number, *self.target.shape)
        if torch.is_tensor(result) and number == 1 and result.numel() == math.prod(shape):
            return self.scale * result.reshape(shape)
        if torch.is_tensor(result) and result.shape == shape:
            return self.scale * result
        got = f"shape {tuple(result.shape)}" if torch.is_tensor(result) else type(result).__name__
        what = "one energy" if self.target.name == "energy" else f"one {self.target.name}"
        raise InputError(
            f"the model must return {what} per {self.target.per}, shape {shape}, got {got}; end "
            "its forward with .squeeze(-1), or sum over atoms by `batch`"
        )

    def extra_repr(self) -> str:
        return f"{self.target}, scale={float(self.scale):.4g}"


def has_atomic_references(target: Target, readout: Readout | None) -> bool:
    """Whether the composition explains a part of a target: of sums and means over atoms."""
    is_scalar = target.per == "structure" and target.shape == ()
    return is_scalar and (readout is None or isinstance(readout, SumReadout))


def unit_scale(target: Target, readout: Readout | None) -> float:
    """Value of the unit of a readout in that of the target; 1 for a readout without unit.

    Raises:
        InputError: for units of different dimensions.
    """
    if readout is None or readout.unit is None:
        return 1.0
    try:
        return conversion(readout.unit, target.unit)
    except InputError as error:
        raise InputError(
            f"{target}: {type(readout).__name__} gives {readout.unit}, but {error}; give the "
            "target another unit, or take another readout"
        ) from None


def check_fits(target: Target, readout: Readout | None) -> None:
    """Raise `InputError` unless a readout gives values of the kind of a target."""
    if readout is None:
        return
    name = type(readout).__name__
    if (readout.per, readout.shape) != (target.per, target.shape):
        raise InputError(
            f"{target} has shape {target.shape} for each {target.per}, but {name} gives shape "
            f"{readout.shape} for each {readout.per}; give the model another readout, or the "
            "potential other targets"
        )
    if target.per == "structure" and readout.extensive not in (None, target.extensive):
        kinds = {True: "extensive", False: "intensive"}
        raise InputError(
            f"{target} is {kinds[target.extensive]}, but {name} gives what is "
            f"{kinds[readout.extensive]}; give the model another readout, or "
            f"Target(…, extensive={readout.extensive})"
        )

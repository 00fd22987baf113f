"""What a potential says of structures."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError


class Prediction(NamedTuple):
    """What a potential says of B structures with N atoms in all."""

    energy: Float[Tensor, "B"]  # eV, float64, references included
    forces: Float[Tensor, "N 3"] | None  # eV/Å
    stress: Float[Tensor, "B 3 3"] | None  # eV/Å³, NaN for a structure without a cell

    def __repr__(self) -> str:
        shapes = [
            f"{name}={tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
            for name, value in self._asdict().items()
            if value is not None
        ]
        return f"Prediction({', '.join(shapes)})"


def cell_volumes(data: Data) -> Float[Tensor, "B 1 1"]:
    """|det cell| of each structure, Å³, NaN where it is 0, or an `InputError` where all are."""
    if data.get("cell") is not None:
        volumes = torch.linalg.det(data.cell.detach()).abs().reshape(-1, 1, 1)
        if bool((volumes > 0).any()):
            return torch.where(volumes > 0, volumes, torch.nan)
    raise InputError("stress=True needs a cell with a volume, but no structure has one; set `cell`")

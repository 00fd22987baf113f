"""Charge, spin and center of each molecule of a batch."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.readout import sum_atoms


def state_of(data: Data, name: str, like: Tensor) -> Float[Tensor, "B"]:
    """`data.charge` (e) or `data.spin`, 0 where structures have none, in the type of a tensor.

    Raises:
        InputError: unless there is one number for each structure.
    """
    number, value = num_structures(data), data.get(name)
    if value is None:
        return like.new_zeros(number)
    if not torch.is_tensor(value) or value.shape != (number,):
        got = tuple(value.shape) if torch.is_tensor(value) else f"{value!r:.50}"
        raise InputError(
            f"{name} must have shape ({number},), one for each structure, got {got}; give a tensor "
            "of numbers"
        )
    return value.to(like)


def centered(
    data: Data, dtype: torch.dtype, weights: Float[Tensor, "N"] | None = None
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "B 3"]]:
    """r_i − c_b and c_b = Σ_i w_i r_i / Σ_i w_i, by differences in float64.

    Args:
        data: structure or batch of molecules.
        dtype: of the results.
        weights: of the atoms; `None` is 1.

    Raises:
        InputError: for a periodic structure, where positions are known up to lattice vectors.
    """
    pbc = data.get("pbc")
    if pbc is not None and pbc.device.type == "cpu" and bool(pbc.any()):
        raise InputError(
            "a dipole, an extent or a polarizability from positions is defined for molecules, but "
            "a structure has pbc=True; set pbc to False if it is a molecule in a box"
        )
    batch, number = batch_index(data), num_structures(data)
    pos, residual = data.pos.double(), data.get("pos_residual")
    pos = pos if residual is None else pos + residual
    weights = pos.new_ones(len(pos)) if weights is None else weights.to(pos)
    total = sum_atoms(weights, batch, number).unsqueeze(1)
    center = sum_atoms(weights.unsqueeze(1) * pos, batch, number) / total
    return (pos - center.index_select(0, batch)).to(dtype), center.to(dtype)

"""What ASE atoms carry beside geometry and labels, as fields of a structure."""

from collections.abc import Mapping

import numpy as np
import torch

from schnetgeo.data.labels import suggestion
from schnetgeo.data.names import check_name
from schnetgeo.data.structure import GRAPH, LABELS, PER_ATOM, Structure, mask_name
from schnetgeo.errors import InputError

ARRAYS = PER_ATOM[4:]  # those that ASE keeps under the same name
_TAILS = {"momenta": ((3,),), "initial_magmoms": ((), (3,))}  # of their shapes, after the atoms
RESULTS = ("free_energy", "magmom")
_RESERVED = {*PER_ATOM, *GRAPH, *LABELS, *map(mask_name, LABELS), *RESULTS, "cell", "pbc", "ptr"}
_GEOMETRY = {"z", "pos", "cell", "pbc", "numbers", "positions", "lattice", "box"}


def add_results(data: Structure, results: dict, left_out: list[str]) -> None:
    """Add partial charges, free energy and magnetic moment; `left_out` is told of all others."""
    for name, value in sorted(results.items()):
        if name in RESULTS and np.size(value) == 1:
            data[name] = torch.from_numpy(np.array(value, dtype=np.float64).reshape(1))
        elif name == "charges":
            data[name] = torch.from_numpy(np.array(value, dtype=np.float64))
        else:
            left_out.append(f"the calculator's result {name!r}")


def add_arrays(data: Structure, arrays: dict, left_out: list[str]) -> None:
    """Add the per-atom arrays that ASE has names for; `left_out` is told of all others.

    Raises:
        InputError: for arrays that are no numbers, hold geometry, or look like labels.
    """
    if "type" in arrays and np.array_equal(arrays["type"], data.z):
        raise InputError(
            "the atomic numbers are the types of a LAMMPS file, not elements; write the dump with "
            "element names (dump_modify element), or set atoms.numbers and write another file"
        )
    for name, value in sorted(arrays.items()):
        if name in ARRAYS:
            data[name] = torch.from_numpy(_checked(name, value, len(data.z)))
            continue
        if name.lower() in _GEOMETRY:
            raise _second_geometry(name)
        numbers = value.dtype.kind in "fiu" and value.shape == (len(data.z), 3)
        advice = suggestion("forces", [name]) if numbers and "forces" not in data else None
        if advice or (name == "columns" and value.dtype.kind == "f"):
            raise InputError(
                f"the per-atom array {name!r} of shape {value.shape} would be lost; if it is the "
                f"forces, pass {advice or 'forces_key=' + repr(name)}, else name it in drop"
            )
        left_out.append(f"the per-atom array {name!r}")


def _checked(name: str, value: np.ndarray, size: int) -> np.ndarray:
    """A copy of an array that ASE knows, if it has numbers in a shape that ASE gives it."""
    tails = _TAILS.get(name, ((),))
    if value.dtype.kind not in "fiu" or value.shape not in [(size, *tail) for tail in tails]:
        shapes = " or ".join(str((size, *tail)) for tail in tails)
        raise InputError(
            f"the per-atom array {name!r} must hold numbers in shape {shapes}, got shape "
            f"{value.shape} and type {value.dtype}; correct it, or pass drop=({name!r},)"
        )
    return value.copy()


def add_scalars(data: Structure, values: Mapping, left_out: list[str], what: str = "info") -> None:
    """Add text and single numbers to a structure under their names.

    Args:
        data: the structure.
        values: by name.
        left_out: is told what a structure has no place for, and why.
        what: what the values are called there.

    Raises:
        InputError: for a second cell, and for positions or numbers of atoms.
    """
    for name, value in sorted(values.items(), key=lambda item: str(item[0])):
        if isinstance(name, str) and _is_geometry(name, value):
            raise _second_geometry(name)
        try:
            check_name(name, "atoms")
            why = "taken" if name in _RESERVED else None
        except InputError:
            why = "not one of a field"
        if why:
            left_out.append(f"{what}[{name!r:.50}] (its name is {why})")
            continue
        scalar = _scalar(value)
        if scalar is None:
            left_out.append(f"{what}[{name!r:.50}] (neither text nor a number of 64 bits)")
        else:
            data[name] = scalar


def _is_geometry(name: str, value) -> bool:
    """Whether an entry repeats the geometry; Z=4 in a cell are formula units."""
    return name.lower() in _GEOMETRY and not (name == "Z" and np.isscalar(value))


def _scalar(value) -> torch.Tensor | str | None:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    dtype = {bool: torch.bool, int: torch.int64, float: torch.float64}.get(type(value))
    if dtype is None or (dtype == torch.int64 and abs(value) >= 2**63):
        return None
    return torch.tensor([value], dtype=dtype)


def _second_geometry(name: str) -> InputError:
    return InputError(
        f"{name!r} seems to hold geometry, which belongs into atoms.cell, atoms.pbc, "
        f"atoms.positions or atoms.numbers; set these, or pass drop=({name!r},) if it is not needed"
    )

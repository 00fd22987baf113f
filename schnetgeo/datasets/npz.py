"""NumPy archives of structures: fixed composition, ragged, MD17 and revised MD17."""

import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from schnetgeo import units
from schnetgeo.data.packed import PackedDataset
from schnetgeo.data.structure import GRAPH, PER_ATOM, Structure
from schnetgeo.errors import InputError

_NONE: Mapping[str, str] = MappingProxyType({})
_KCAL = {"e_unit": "kcal/mol", "f_unit": "kcal/mol/Angstrom", "r_unit": "Angstrom"}
_REVISED = {
    "nuclear_charges": "z", "coords": "R", "energies": "E", "forces": "F",
    "old_indices": "old_indices",
}  # fmt: skip
_GEOMETRY = {"N", "z", "Z", "R", "cell", "pbc", "stress"}
_TYPES = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}


def read_npz(
    path: str | os.PathLike,
    energy_key: str | None = None,
    forces_key: str | None = None,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    length_unit: str | None = None,
    assumed: Mapping[str, str] = _NONE,
) -> PackedDataset:
    """Structures of an .npz archive, in eV and Å.

    Four layouts, told apart by their keys, with T structures:

    * fixed composition: `z` (n,) or `Z` (T, n), `R` (T, n, 3), `E` (T,), `F` (T, n, 3);
    * ragged: `N` (T,), `Z` (ΣN,), `R` (ΣN, 3), `E` (T,), `F` (ΣN, 3);
    * MD17 as published: fixed composition with `E` (T, 1), kcal/mol and kcal/mol/Å;
    * revised MD17 as published: `nuclear_charges`, `coords`, `energies`, `forces`, likewise; also
      `old_indices`, the frames of MD17 that these are, whose labels `old_*` are left out.

    All may have `cell` (T, 3, 3), periodic unless `pbc` says otherwise, and `stress` (T, 3, 3) in
    eV/Å³. Further arrays with a row for each structure become attributes under their own name,
    in their own unit.

    Args:
        path: the file.
        energy_key: array that holds the energy; `None` is `E` or `energy` where there is one.
        forces_key: array that holds the forces; `None` is `F` or `forces` where there is one.
        energy_unit: needed unless the file states `e_unit`.
        force_unit: needed unless the file states `f_unit`.
        length_unit: `None` is what the file states as `r_unit`, or Å.
        assumed: units of a published format, by `e_unit`, `f_unit`, `r_unit`; what the file itself
            states comes first.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    arrays = _as_arrays(assumed) | _open(path)
    if "nuclear_charges" in arrays:
        arrays = {_REVISED.get(k, k): v for k, v in arrays.items()} | _as_arrays(_KCAL)
        energy_key = _REVISED.get(energy_key, energy_key)
        forces_key = _REVISED.get(forces_key, forces_key)
    elif (
        "z" in arrays and arrays.get("E", np.empty(0)).ndim == 2 and not (energy_unit or force_unit)
    ):
        arrays = _as_arrays(_KCAL) | arrays
    energy_key = _key(path, arrays, energy_key, ("E", "energy"))
    forces_key = _key(path, arrays, forces_key, ("F", "forces"))
    for kind, names in (("positions", ("R",)), ("atomic numbers", ("z", "Z"))):
        if not arrays.keys() & set(names):
            raise InputError(
                f"{path}: has no {kind}, called {' or '.join(names)}, only "
                f"{', '.join(sorted(arrays))}; see read_npz for the layouts"
            )
    sizes, z = _composition(path, arrays)
    count = len(sizes)
    shape = (*arrays["R"].shape[:-1], 3) if "N" not in arrays else (int(sizes.sum()), 3)
    length = _factor(path, units.length, length_unit or _stated(arrays, "r_unit") or "Angstrom")
    data = Structure(z=z, pos=_rows(path, arrays, "R", shape).reshape(-1, 3) * length)
    if "cell" in arrays:
        data.cell = _rows(path, arrays, "cell", (count, 3, 3)) * length
        periodic = np.ones((count, 3), bool)
        data.pbc = torch.from_numpy(arrays.get("pbc", periodic))
    if "stress" in arrays:
        data.stress = _rows(path, arrays, "stress", (count, 3, 3))
    if energy_key:
        unit = _factor(path, units.energy, _unit(path, arrays, "e_unit", energy_unit, "energy"))
        energy = _rows(path, arrays, energy_key, (count,), (count, 1))
        data.energy = energy.reshape(count).double() * unit
    if forces_key:
        unit = _factor(path, units.force, _unit(path, arrays, "f_unit", force_unit, "force"))
        data.forces = _rows(path, arrays, forces_key, shape).reshape(-1, 3) * unit
    for key in arrays:
        if key not in _GEOMETRY and key not in (energy_key, forces_key):
            _keep(path, data, key, arrays[key], count)
    return PackedDataset(data, torch.from_numpy(sizes), where=os.path.basename(path))


def _open(path: str | os.PathLike) -> dict[str, np.ndarray]:
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path}: not an .npz archive, or not a whole one; get a fresh copy, or give the file "
            "the ending of what it is"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            wanted = file.files
            if "nuclear_charges" in wanted:
                wanted = [key for key in wanted if key in _REVISED]
            return {key: file[key] for key in wanted}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); get a fresh copy, or save it again as plain "
            "arrays, without pickled objects"
        ) from None


def _as_arrays(text: Mapping[str, str]) -> dict[str, np.ndarray]:
    return {key: np.array(value) for key, value in text.items()}


def _key(
    path, arrays: dict[str, np.ndarray], key: str | None, usual: tuple[str, ...]
) -> str | None:
    if key is None:
        return next((name for name in usual if name in arrays), None)
    if key not in arrays:
        raise InputError(f"{path}: has no array {key!r}; it has {', '.join(sorted(arrays))}")
    return key


def _composition(path, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, Tensor]:
    """Atoms of each structure, and the atomic numbers of all atoms in a row."""
    z = arrays["Z" if "Z" in arrays else "z"].reshape(-1)
    if "N" in arrays:
        sizes = arrays["N"].astype(np.int64).reshape(-1)
    else:
        shape = arrays["R"].shape
        if len(shape) != 3:
            raise InputError(f"{path}: R must have shape (structures, atoms, 3), got {shape}")
        sizes = np.full(shape[0], shape[1], dtype=np.int64)
        z = np.tile(z, shape[0]) if len(z) == shape[1] else z
    if z.dtype.kind not in "iu" or len(z) != sizes.sum():
        raise InputError(
            f"{path}: there must be {sizes.sum()} integer atomic numbers, as many as atoms in R "
            f"or N; got {len(z)} of type {z.dtype}"
        )
    return sizes, torch.from_numpy(z.astype(np.int64))


def _rows(path, arrays: dict[str, np.ndarray], key: str, *shapes: tuple[int, ...]) -> Tensor:
    """An array that must have one of these shapes, in float32 where it is, else in float64."""
    values = arrays[key]
    if values.shape not in shapes or values.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: {key} must hold numbers in shape {' or '.join(map(str, shapes))}, got shape "
            f"{values.shape} and type {values.dtype}"
        )
    dtype = np.float32 if values.dtype == np.float32 else np.float64
    return torch.from_numpy(np.ascontiguousarray(values, dtype=dtype))


def _stated(arrays: dict[str, np.ndarray], key: str) -> str | None:
    return str(arrays[key].astype(str)) if key in arrays else None  # some were written as bytes


def _unit(path, arrays: dict[str, np.ndarray], key: str, given: str | None, kind: str) -> str:
    unit = given or _stated(arrays, key)
    if unit is None:
        known = "kcal/mol/Angstrom or eV/Angstrom" if kind == "force" else ", ".join(units.ENERGY)
        raise InputError(
            f"{path}: does not state its {kind} unit; give {kind}_unit, such as {known}"
        )
    return unit


def _factor(path, convert: Callable[[str], float], unit: str) -> float:
    try:
        return convert(unit)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _keep(path, data: Structure, key: str, values: np.ndarray, count: int) -> None:
    """Further arrays with a row for each structure, under their own name."""
    if values.ndim == 0 or len(values) != count:
        return  # text about the file, such as its name and theory
    if key in data or key in (*PER_ATOM, *GRAPH, "energy", *dir(Structure)):
        raise InputError(
            f"{path}: the array {key!r} has a name that structures use for something else; "
            "rename it"
        )
    if values.dtype.kind in _TYPES:
        data[key] = torch.from_numpy(values.astype(_TYPES[values.dtype.kind]))
    elif values.dtype.kind == "U":
        data[key] = values.tolist()

"""How arrays of structures are laid out: one composition, ragged, or padded by zeros."""

from typing import NamedTuple

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from schnetgeo.datasets.label_names import only_name_in
from schnetgeo.errors import InputError

NUMBERS = ("z", "Z", "nuclear_charges", "atomic_numbers", "numbers", "species", "atNUM")
POSITIONS = ("R", "coords", "coordinates", "positions", "pos", "conformations", "atXYZ")
COUNTS = ("N", "n_atoms", "natoms")


class Layout(NamedTuple):
    """Where the atoms of each structure are.

    Attributes:
        sizes: atoms of each structure.
        z: atomic numbers of all atoms in a row.
        lead: leading shape of arrays of atoms, (structures, atoms) or (all atoms,).
        real: (structures, atoms), which atoms are none of the padding; `None` is all.
    """

    sizes: np.ndarray
    z: Tensor
    lead: tuple[int, ...]
    real: np.ndarray | None = None

    def per_atom(self, values: np.ndarray) -> np.ndarray | None:
        """A row for each atom of all structures; `None` for arrays that have no such rows."""
        if values.shape[: len(self.lead)] != self.lead:
            return None
        if self.real is not None:
            return values[self.real]
        return values.reshape(-1, *values.shape[len(self.lead) :])


def name_in(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> str | None:
    """The first of these names that an array has."""
    return next((name for name in names if name in arrays), None)


def layout_of(where: str, arrays: dict[str, np.ndarray]) -> Layout:
    """The layout that numbers, positions and counts have.

    Raises:
        InputError: where one of them is missing, or they do not agree.
    """
    for kind, names in (("positions", POSITIONS), ("atomic numbers", NUMBERS)):
        if only_name_in(where, arrays, names) is None:
            raise InputError(
                f"{where}: has no {kind}, called {' or '.join(names)}, only "
                f"{', '.join(sorted(arrays))}; see read_npz for the layouts"
            )
    name = name_in(arrays, POSITIONS)
    positions, z = arrays[name], _numbers(where, arrays)
    if positions.ndim not in (2, 3) or positions.shape[-1] != 3 or not positions.size:
        raise InputError(
            f"{where}: {name} must have shape (structures, atoms, 3), or (all atoms, 3) beside N, "
            f"got {positions.shape}"
        )
    counts = only_name_in(where, arrays, COUNTS)
    sizes = None if counts is None else _counts(where, counts, arrays[counts])
    if positions.ndim == 3:
        return _fixed(where, name, positions.shape[:2], z, sizes)
    if sizes is None:
        raise InputError(
            f"{where}: {name} must have shape (structures, atoms, 3), got {positions.shape}; "
            "structures of different sizes need N, the atoms of each"
        )
    _check_count(where, z, int(sizes.sum()))
    if len(positions) != len(z.reshape(-1)):
        raise InputError(
            f"{where}: {name} must hold numbers in shape ({len(z.reshape(-1))}, 3), got shape "
            f"{positions.shape}"
        )
    return Layout(sizes, torch.from_numpy(z.reshape(-1)), positions.shape[:1])


def _fixed(
    where: str, name: str, lead: tuple[int, int], z: np.ndarray, sizes: np.ndarray | None
) -> Layout:
    """Structures of as many atoms, the last of which may be padding."""
    count, atoms = lead
    if sizes is not None and len(sizes) != count:
        raise InputError(
            f"{where}: N must have shape ({count},) as {name} has, got ({len(sizes)},)"
        )
    if z.size == atoms and z.size != count * atoms:
        z = np.tile(z.reshape(-1), (count, 1))
    _check_count(where, z, count * atoms)
    z = z.reshape(lead)
    real = z > 0 if sizes is None else np.arange(atoms) < sizes[:, None]
    padded = real.sum(1)
    if not np.array_equal(real, np.arange(atoms) < padded[:, None]) or (z[~real] != 0).any():
        wrong = int((real != (np.arange(atoms) < padded[:, None])).any(1).argmax())
        raise InputError(
            f"{where}, structure {wrong}: atomic numbers are 0 as in padding, but not at the end, "
            f"or not where N says: {z[wrong].tolist()!s:.60}; padding must follow the atoms"
        )
    return Layout(padded, torch.from_numpy(z[real]), lead, None if real.all() else real)


def _counts(where: str, name: str, values: np.ndarray) -> np.ndarray:
    sizes = values.reshape(-1)
    whole = sizes.dtype.kind in "iu" or (sizes.dtype.kind == "f" and (sizes == sizes.round()).all())
    if not whole or not sizes.size or sizes.min() < 0 or sizes.max() > 2**31:
        raise InputError(
            f"{where}: {name} must hold the number of atoms of each structure, whole numbers, got "
            f"{str(sizes[:4].tolist())[:-1]} …] of type {sizes.dtype}"
        )
    return sizes.astype(np.int64)


def _numbers(where: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    name = name_in(arrays, NUMBERS)
    values = arrays[name]
    if values.dtype.kind in "USO":
        return _of_symbols(where, name, values)
    if values.dtype.kind not in "iu":
        raise InputError(
            f"{where}: {name} must hold integer atomic numbers or symbols of elements, got type "
            f"{values.dtype}"
        )
    if values.size and int(values.max()) > 1000:  # such numbers wrap when they change their type
        raise InputError(f"{where}: {name} holds {int(values.max())}, which is no atomic number")
    return np.ascontiguousarray(values, dtype=np.int64)


def _of_symbols(where: str, name: str, values: np.ndarray) -> np.ndarray:
    texts = set(values.reshape(-1).tolist())
    names = {t: t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in texts}
    unknown = sorted(name for name in names.values() if name not in atomic_numbers and name)
    if unknown:
        raise InputError(
            f"{where}: {name} holds {unknown[0]!r:.20}, which is no symbol of an element; "
            "write H for D and T"
        )
    symbols, kind = np.unique(values.astype(str), return_inverse=True)
    return np.array([atomic_numbers.get(s, 0) for s in symbols])[kind].reshape(values.shape)


def _check_count(where: str, z: np.ndarray, atoms: int) -> None:
    if z.size != atoms:
        raise InputError(
            f"{where}: there must be {atoms} atomic numbers, as many as atoms in the positions or "
            f"N; got {z.size}"
        )

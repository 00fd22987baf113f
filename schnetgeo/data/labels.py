"""Which entries of ASE atoms are the labels: by their usual names, or as the user names them."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from schnetgeo.data.further_labels import LabelReader, check_labels_exist
from schnetgeo.data.structure import mask_name
from schnetgeo.errors import InputError

_ASE_UNITS = {"dipole": "e*Angstrom", "charges": "e", "initial_charges": "e", "energies": "eV",
              "free_energy": "eV", "magmom": "mu_B", "magmoms": "mu_B"}  # fmt: skip
_RESULTS_PER_ATOM = ("charges", "magmoms", "energies")
KINDS = ("energy", "forces", "stress", "virial")
_LIKE = {
    "energy": re.compile(r"energy|(^|_)(e|etot|e_tot|toten|u0|hf)$", re.IGNORECASE),
    "forces": re.compile(r"force|gradient|(^|_)(f|grad|frc)$", re.IGNORECASE),
    "stress": re.compile(r"stress|virial", re.IGNORECASE),
}


class Keys(NamedTuple):
    """Names of labels; `None` is the usual name, a minus before a name takes the negative.

    Attributes:
        energy: name of the energy.
        forces: of the forces; "-gradient" where the file has their negative.
        stress: of the stress (1/V) ∂E/∂strain, ASE's sign; "-stress" where the file has pressures.
        virial: of the virial W = −V · stress; "-virial" where it has the other sign.
        further: labels of further targets.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None
    further: tuple[LabelReader, ...] = ()


class Entries(NamedTuple):
    """What atoms carry beside their geometry, in dictionaries that may be changed."""

    results: dict[str, Any]
    info: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def names(self) -> list[str]:
        """All names, without the geometry's."""
        return [str(name) for source in self for name in source]

    def pop(self, name: str) -> Any:
        """Remove an entry, wherever it is; `None` where there is none."""
        return next((source.pop(name) for source in self if name in source), None)


class Labels(NamedTuple):
    """The labels of a structure; those that are missing are not in the dictionary."""

    values: dict[str, np.ndarray]
    from_virial: bool  # the stress is −virial / volume
    left_out: list[str]


def take_labels(atoms: Atoms, entries: Entries, keys: Keys) -> Labels:
    """Remove the labels from the entries.

    Raises:
        InputError: for a label that is no number, or of another shape.
    """
    labels = {}
    for name, convert in (("energy", _energy), ("forces", _forces), ("stress", _stress)):
        key = getattr(keys, name)
        if key is not None:
            value, sign = _named(entries, key)
            entries.results.pop(name, None)  # of another calculation than the one that was named
        else:
            value, sign = (None if keys.virial and name == "stress" else entries.pop(name)), 1.0
        if value is not None:
            labels[name] = sign * convert(value, key or name, len(atoms))
    key = keys.virial or ("virial" if keys.stress is None and "virial" in entries.info else None)
    if "stress" in labels or key is None:
        return Labels(labels, False, [])
    value, sign = _named(entries, key)
    if value is None:
        return Labels(labels, False, [])
    virial = _stress(value, key, len(atoms))
    try:
        labels["stress"] = sign * stress_from_virial(virial, atoms.cell.array, atoms.pbc, key)
    except InputError:
        return Labels(labels, False, [f"{key.removeprefix('-')!r} without a periodic cell"])
    return Labels(labels, True, [])


def take_further_labels(
    entries: Entries, size: int, readers: Iterable[LabelReader], left_out: list[str]
) -> dict[str, np.ndarray]:
    """Remove labels of further targets, and what else is called as they are, from the entries.

    Args:
        entries: of the atoms.
        size: number of atoms.
        readers: of the labels.
        left_out: is told what is called as a label and is none.

    Returns:
        The values, and masks that say that they are there; nothing for those that are missing.

    Raises:
        InputError: for a label that is no number, has another shape, or has no unit.
    """
    values = {}
    for reader in readers:
        name, key = reader.label.name, reader.key
        per = "atom" if key in entries.arrays or key in _RESULTS_PER_ATOM else "structure"
        per = reader.known_per or per
        units = [entries.info.pop(word, None) for word in reader.unit_names]
        value = entries.pop(key)
        if entries.pop(name) is not None:
            left_out.append(f"{name!r}, in the place of which {key!r} is read")
        if value is not None:
            stated = next((unit for unit in units if isinstance(unit, str)), None)
            rows = size if per == "atom" else 1
            values[name] = reader.read(value, rows, per, stated, _ASE_UNITS.get(key))
            values[mask_name(name)] = np.ones(1, bool)
    return values


def stress_matrices(values: np.ndarray, count: int, key: str) -> np.ndarray:
    """Matrices (B, 3, 3) of nine numbers each, or of six in the order xx yy zz yz xz xy.

    Raises:
        InputError: for other numbers; names `key`.
    """
    if values.size == 6 * count:
        return voigt_6_to_full_3x3_stress(values.reshape(count, 6))
    if values.size != 9 * count:
        raise InputError(
            f"{key} must hold nine numbers, or six in the order xx yy zz yz xz xy, got shape "
            f"{values.shape}; correct it, or leave it out with drop=({key.removeprefix('-')!r},)"
        )
    return values.reshape(count, 3, 3).copy()


def stress_from_virial(
    virial: np.ndarray, cell: np.ndarray, pbc: np.ndarray, key: str
) -> np.ndarray:
    """σ = −W / V of virials (B, 3, 3) and cells (B, 3, 3), or (3, 3).

    Raises:
        InputError: where a cell is not periodic in all directions or has no volume; names `key`.
    """
    volume = np.abs(np.linalg.det(cell))
    if not pbc.all() or not volume.all():
        raise InputError(
            f"{key.removeprefix('-')} needs periodic cells, whose volume makes it a stress; set "
            f"cell and pbc, or leave it out with drop=({key.removeprefix('-')!r},)"
        )
    return -virial / volume.reshape(-1, 1, 1)


def check_keys(keys: Keys, present: Iterable[str], names: Iterable[str]) -> None:
    """Raise `InputError` where a label that the user names is nowhere; list what there is."""
    names = set(names)
    check_labels_exist("", keys.further, present, names)
    for kind in KINDS:
        key = getattr(keys, kind)
        label = "stress" if kind == "virial" else kind
        missing = key is not None and label not in present
        if missing and kind == "virial" and key.removeprefix("-") in names:
            raise InputError(
                f"{key.removeprefix('-')} needs a periodic cell, whose volume makes it a stress; "
                f"set cell and pbc, or leave {kind}_key out"
            )
        if missing:
            raise InputError(
                f"has no {kind} named {key.removeprefix('-')!r}; it has "
                f"{', '.join(sorted(names)) or 'none'}"
            )


def suggestion(label: str, names: Iterable[str]) -> str | None:
    """What to type where a name looks like a label, such as forces_key='REF_forces'."""
    like = [name for name in names if _LIKE[label].search(name)]
    if not like:
        return None
    kind = "virial" if "virial" in like[0].lower() else label
    return f"{kind}_key={like[0]!r}"


def _named(entries: Entries, key: str) -> tuple[Any, float]:
    """The entry of this name, and -1 for a minus before it."""
    if key.startswith("-"):
        return entries.pop(key[1:]), -1.0
    return entries.pop(key), 1.0


def _numbers(value: Any, key: str, label: str) -> np.ndarray:
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            array = np.array(value, dtype=np.float64) if array.dtype.kind in "US" else None
        return array.astype(np.float64)
    except (ValueError, TypeError, AttributeError):
        named = f", named {key!r}," if key != label else ""
        raise InputError(
            f"{label} {value!r:.50}{named} is no number; correct or remove it"
        ) from None


def _energy(value: Any, key: str, size: int) -> np.ndarray:
    array = _numbers(value, key, "energy")
    if array.size != 1:
        raise InputError(
            f"energy, named {key!r}, must be one number, got shape {array.shape}; name another"
        )
    return array.reshape(1)


def _forces(value: Any, key: str, size: int) -> np.ndarray:
    array = _numbers(value, key, "forces")
    if array.shape != (size, 3):
        raise InputError(
            f"forces must have shape ({size}, 3), got {array.shape}, named {key!r}; name another "
            "entry, or correct this one"
        )
    return array


def _stress(value: Any, key: str, size: int) -> np.ndarray:
    return stress_matrices(_numbers(value, key, "stress"), 1, key)

"""NumPy archives of structures: fixed composition, ragged, padded, MD17 and revised MD17."""

import os
from collections.abc import Iterable

import numpy as np

from schnetgeo.data.file_units import FileUnits, check_effect
from schnetgeo.data.further_labels import LabelReader, check_labels_exist
from schnetgeo.data.labels import Keys
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import NONE, UNIT_NAMES, Convention, Units, stated_in
from schnetgeo.datasets.arrays import ArrayReader
from schnetgeo.datasets.npz_members import read_members, shapes_in, text_in, text_of
from schnetgeo.notes import note

KCAL_MOL = Units(
    "kcal/mol", "kcal/mol/Angstrom", "kcal/mol/Angstrom^3", "Angstrom"
)  # of sGDML's files, MD17's among them
MD17_CONVENTION = Convention("MD17", KCAL_MOL)
REVISED_MD17_CONVENTION = Convention("revised MD17", KCAL_MOL)
_ABOUT_MD17 = {"name", "theory", "md5"}  # of which every file of MD17 has some
_OLD_LABELS = ("old_energies", "old_forces")  # of revised MD17: another level of theory


def read_npz(
    path: str | os.PathLike,
    keys: Keys = Keys(),  # noqa: B008
    units: Units = Units(),  # noqa: B008
    drop: tuple[str, ...] = (),
    convention: Convention | None = None,
    used: set[str] | None = None,
) -> StructureDataset:
    """Structures of an .npz archive, in eV and Å.

    Layouts, told apart by their arrays, with T structures:

    * fixed composition: `z` (n,) or `Z` (T, n), `R` (T, n, 3), `E` (T,), `F` (T, n, 3);
    * padded: the same, with atomic numbers 0 behind the atoms of each structure, or with `N` (T,);
    * ragged: `N` (T,), `Z` (ΣN,), `R` (ΣN, 3), `E` (T,), `F` (ΣN, 3);
    * MD17 as published: fixed composition with `E` (T, 1), and `name`, `theory` or `md5`, which is
      in kcal/mol and kcal/mol/Å;
    * revised MD17 as published: `nuclear_charges`, `coords`, `energies`, `forces`, likewise; its
      `old_energies` and `old_forces`, those of MD17, are left out.

    Other usual names do as well, such as `positions`, `atomic_numbers` or `energy`. All may have
    `cell`, `lattice` or `box` (T, 3, 3), or (3, 3) for all, periodic unless `pbc` says otherwise,
    and `stress` (T, 3, 3). Further arrays with a row for each structure become attributes under
    their own name, in their own unit; `charges` and others of `PER_ATOM` have one for each atom.
    What has no place is left out, and a note says so.

    The file states units as `e_unit`, `f_unit`, `r_unit`, `stress_unit`, and what it states wins;
    with `e_unit` and `r_unit` forces are in e_unit/r_unit unless it states others.

    Args:
        path: the file.
        keys: names of the labels; `None` is `E`, `energy` or `energies`, `F` or `forces`,
            `stress`.
        units: needed where the file states none, but that positions beside forces per Å or
            energies in eV, or whose nearest neighbors are a bond length apart in Å, are taken in Å,
            with a note.
        drop: arrays to leave out.
        convention: of a published data set, where the user says that this is one.
        used: is told the kinds of units that were applied; `None` refuses those without effect.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    where = os.path.basename(path)
    arrays = read_members(path, skip=drop)
    if {"nuclear_charges", "coords"} <= arrays.keys():
        arrays = {name: v for name, v in arrays.items() if name not in _OLD_LABELS}
    shapes = {name: values.shape for name, values in arrays.items()}
    stated = stated_in(where, {name: text_of(values) for name, values in arrays.items()})
    file_units = FileUnits(where, stated, units, convention or _convention(shapes))
    reader = ArrayReader(where, arrays, file_units, _label_units(arrays, keys.further))
    dataset = reader.dataset(keys)
    check_labels_exist(where, keys.further, dataset.packed.keys(), arrays)
    file_units.review(dataset)
    if used is None:
        check_effect(where, units, file_units.used)
    else:
        used |= file_units.used
    if reader.left_out:
        note(f"{where}: left out {', '.join(reader.left_out)}")
    return dataset


def _label_units(
    arrays: dict[str, np.ndarray], labels: Iterable[LabelReader]
) -> dict[str, str | None]:
    """Units of further labels that texts such as `dipole_unit` state."""
    units = {}
    for label in labels:
        texts = [text_of(arrays[name]) for name in label.unit_names if name in arrays]
        units[label.key] = next(filter(None, texts), None)
    return units


def npz_units(path: str | os.PathLike, convention: Convention) -> FileUnits:
    """The units that an .npz states, else those of a convention."""
    texts = {name: text_in(path, name) for name in shapes_in(path) if name.lower() in UNIT_NAMES}
    where = os.path.basename(path)
    return FileUnits(where, stated_in(where, texts), convention=convention)


def is_revised_md17(path: str | os.PathLike) -> bool | None:
    """Whether an .npz is of revised MD17, by its names or theory; `None` where it does not say.

    MD17 has `E` (T, 1) and `name`, or says PBE+vdW-TS; revised MD17 has `nuclear_charges`, or says
    def2-SVP.
    """
    if os.path.splitext(path)[1] != ".npz":
        return None
    theory = text_in(path, "theory").lower()
    if "def2-svp" in theory or "rmd17" in theory or "revised" in theory:
        return True
    if "vdw-ts" in theory:
        return False
    convention = _convention(shapes_in(path))
    return None if convention is NONE else convention is REVISED_MD17_CONVENTION


def _convention(shapes: dict[str, tuple[int, ...]]) -> Convention:
    """What the names and shapes of the arrays tell about their units."""
    if {"nuclear_charges", "coords"} <= shapes.keys():
        return REVISED_MD17_CONVENTION
    column = len(shapes.get("E", ())) == 2
    if "z" in shapes and column and not _ABOUT_MD17.isdisjoint(shapes):
        return MD17_CONVENTION
    return NONE

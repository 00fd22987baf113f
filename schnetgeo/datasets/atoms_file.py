"""Your own structures: anything that ASE reads, extended XYZ, databases or .npz."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from schnetgeo.data.file_units import check_effect
from schnetgeo.data.further_labels import Label, label_readers, targets_of
from schnetgeo.data.labels import Keys
from schnetgeo.data.merge import Remarks, merged
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import Units
from schnetgeo.data.structure import Structure
from schnetgeo.datasets.ase_file import read_ase
from schnetgeo.datasets.file_format import file_format
from schnetgeo.datasets.hdf5 import read_hdf5
from schnetgeo.datasets.npz import read_npz
from schnetgeo.datasets.schnetpack import is_schnetpack, read_schnetpack
from schnetgeo.errors import InputError


class AtomsFile(StructureDataset):
    """Structures with their labels from one or several files, in eV and Å.

    Structures that lack a label which others have are kept, with `energy_mask`, `forces_mask` or
    `stress_mask` (B,) saying which; what cannot be kept is left out, and a note says so. See
    docs/reading.md for what each kind of file may hold.

    Args:
        paths: extended XYZ, .npz in one of the layouts of `read_npz`, HDF5 as `read_hdf5` says,
            ASE's databases with the names and data of their rows, those of SchNetPack among them,
            or what else `ase.io.read` knows.
        root: folder that relative paths start from; `None` is the current one. Files are read
            where they are; nothing is downloaded or written.
        format: "extxyz", "npz", "hdf5", "db", "json" or a format of `ase.io`, where the name of a
            file says another; `None` is what content and ending say.
        energy_key: name of the energy: an array of the .npz, an entry of `atoms.info`, a result of
            the calculation, or an entry of a row; `None` is `E`, or what ASE calls energy.
        forces_key: likewise for the forces; a minus before the name takes the negative, as in
            "-gradient".
        stress_key: likewise for the stress (1/V) ∂E/∂strain, ASE's sign: nine numbers, or six in
            the order xx yy zz yz xz xy; "-name" where the file has it with the other sign.
        virial_key: name of a virial −V · stress, which becomes the stress; `None` is `virial`
            where there is no stress.
        energy_unit: unit of the energies, unless the file states it; ASE's formats are in eV,
            eV/Å and eV/Å³ where nobody says otherwise; where one unit is given, give all.
        force_unit: likewise, such as "kcal/mol/Angstrom".
        stress_unit: likewise, such as "GPa".
        length_unit: unit of positions and cells.
        labels: further labels by target, such as "dipole", "charges=hirshfeld:e" or
            Label("gap", "HOMO-LUMO", "Hartree"): values of the structures or of their atoms that
            become attributes in the unit of the target, with a mask such as `dipole_mask` (B,)
            where some structures lack them.
        drop: entries to leave out: of ASE's info, arrays or results, "results", "constraints".

    Raises:
        InputError: names the file, the index of the structure, the field and the value.
    """

    def __init__(
        self,
        paths: str | os.PathLike | Sequence[str | os.PathLike],
        root: str | os.PathLike | None = None,
        *,
        format: str | None = None,
        energy_key: str | None = None,
        forces_key: str | None = None,
        stress_key: str | None = None,
        virial_key: str | None = None,
        energy_unit: str | None = None,
        force_unit: str | None = None,
        stress_unit: str | None = None,
        length_unit: str | None = None,
        labels: Sequence[Label | str] = (),
        drop: Sequence[str] = (),
    ):
        paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        further = label_readers(labels)
        keys = Keys(energy_key, forces_key, stress_key, virial_key, further)
        units = Units(energy_unit, force_unit, stress_unit, length_unit)
        remarks, used, parts = Remarks(), set(), []
        self.counts = []  # structures of each file
        for path in paths:
            file = Path(root or "", path)
            read = list(iter_structures(file, format, keys, units, drop, remarks, used))
            self.counts.append(sum(map(len, read)))
            parts += read
        where = ", ".join(Path(path).name for path in paths)
        check_effect(where, units, used)
        structures, sizes = concatenate(parts, remarks)
        super().__init__(structures, sizes, where, validated=True)
        self.labels = targets_of(further)
        remarks.say(where, len(sizes))


def iter_structures(
    path: str | os.PathLike,
    format: str | None = None,
    keys: Keys = Keys(),  # noqa: B008
    units: Units = Units(),  # noqa: B008
    drop: Sequence[str] = (),
    remarks: Remarks | None = None,
    used: set[str] | None = None,
) -> Iterator[StructureDataset]:
    """The structures of one file; of formats that ASE reads some thousands at a time.

    Args:
        path: the file.
        format: as for `AtomsFile`.
        keys: names of the labels.
        units: given by the user.
        drop: as for `AtomsFile`.
        remarks: is told what was left out or filled in, instead of notes.
        used: is told the kinds of units that were applied; `None` refuses those without effect.

    Raises:
        InputError: as `AtomsFile`.
    """
    path, drop, log = Path(path), tuple(drop), Remarks() if remarks is None else remarks
    kind, count = file_format(path, format), 0
    applied = set() if used is None else used
    if kind == "npz":
        parts = iter([read_npz(path, keys, units, drop, used=applied)])
    elif kind == "db" and is_schnetpack(path):
        parts = iter([read_schnetpack(path, keys, units, drop, applied)])
    elif kind == "hdf5":
        parts = read_hdf5(path, keys, units, drop, log, applied)
    else:
        parts = read_ase(path, kind, keys, units, drop, log, applied)
    for part in parts:
        count += len(part)
        part.labels = targets_of(keys.further)
        yield part
    if used is None:
        check_effect(path.name, units, applied)
    if remarks is None:
        log.say(path.name, count)


def concatenate(
    parts: Sequence[StructureDataset], remarks: Remarks | None = None
) -> tuple[Structure, torch.Tensor]:
    """The structures of all parts in a row, and the atoms of each; see `merged`."""
    remarks = Remarks() if remarks is None else remarks
    if not parts:
        raise InputError("paths: name at least one file")
    structures, sizes = zip(*(part.materialize() for part in parts), strict=True)
    for structure in structures:
        del structure.ptr
    counts = [len(part) for part in parts]
    return merged(structures, counts, [part.name for part in parts], remarks), torch.cat(sizes)

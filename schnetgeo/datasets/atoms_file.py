"""Your own structures: anything that ASE reads, or .npz."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from schnetgeo import units
from schnetgeo.data.atoms import from_ase
from schnetgeo.data.packed import PackedDataset, check_alike
from schnetgeo.data.structure import Structure
from schnetgeo.datasets.npz import read_npz
from schnetgeo.datasets.schnetpack import is_schnetpack, read_schnetpack
from schnetgeo.errors import InputError

_BLOCK = 4096  # structures that are read at once


class AtomsFile(PackedDataset):
    """Structures with their labels from one or several files, in eV and Å.

    Args:
        paths: files that `ase.io.read` knows (extxyz, trajectories, …), ASE databases (.db) with
            the names and data of their rows, those of SchNetPack among them, or .npz in one of the
            layouts of `read_npz`.
        root: folder that relative paths start from; `None` is the current one. Files are read
            where they are; nothing is downloaded or written.
        energy_key: name of the energy: an array of the .npz, an entry of `atoms.info`, or of the
            row of a database; `None` is `E`, or what ASE attached as a calculator.
        forces_key: likewise for the forces: an array of the .npz, of `atoms.arrays`, or of a row.
        energy_unit: unit of the energies; ASE's formats are in eV and eV/Å unless this and
            `force_unit` say otherwise, an .npz must state its own, databases of SchNetPack do.
        force_unit: likewise, such as "kcal/mol/Angstrom"; where ASE's formats have energies and
            forces, give both units or neither.
        length_unit: unit of positions and cells; `None` is Å.
        drop: entries of ASE's info, arrays, results, or "constraints", to leave out.

    Raises:
        InputError: names the file, the index of the structure, the field and the value.
    """

    def __init__(
        self,
        paths: str | os.PathLike | Sequence[str | os.PathLike],
        root: str | os.PathLike | None = None,
        *,
        energy_key: str | None = None,
        forces_key: str | None = None,
        energy_unit: str | None = None,
        force_unit: str | None = None,
        length_unit: str | None = None,
        drop: tuple[str, ...] = (),
    ):
        paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        paths = [Path(root or "", path) for path in paths]
        names = dict(
            energy_key=energy_key,
            forces_key=forces_key,
            energy_unit=energy_unit,
            force_unit=force_unit,
            length_unit=length_unit,
        )
        parts = [part for path in paths for part in read_parts(path, tuple(drop), **names)]
        super().__init__(*joined(parts), where=", ".join(path.name for path in paths))


def read_parts(
    path: str | os.PathLike, drop: tuple[str, ...] = (), **names: str | None
) -> Iterator[PackedDataset]:
    """The structures of one file; of formats that ASE reads some thousands at a time.

    Arguments and errors are those of `AtomsFile`.
    """
    if Path(path).suffix == ".npz":
        yield read_npz(path, **names, drop=drop)
    elif Path(path).suffix == ".db" and Path(path).is_file() and is_schnetpack(path):
        yield read_schnetpack(path, **names, drop=drop)
    else:
        yield from _read_ase(path, **names, drop=drop)


def joined(parts: list[PackedDataset]) -> tuple[Structure, torch.Tensor]:
    """The structures of all files in a row."""
    if not parts:
        raise InputError("paths: name at least one file")
    fields = set(parts[0].packed.keys())
    packed = Structure()
    for part in parts[1:]:
        odd = fields ^ set(part.packed.keys())
        if odd:
            raise InputError(
                f"{parts[0].where} and {part.where}: only one of them has {min(odd)!r}; files that "
                "are read together must carry the same fields"
            )
    for key in parts[0].packed.keys():
        if key == "ptr":
            continue
        values = [part.values(key) for part in parts]
        packed[key] = torch.cat(values) if torch.is_tensor(values[0]) else sum(values, [])
    return packed, torch.cat([part.num_atoms for part in parts])


def _read_ase(
    path: str | os.PathLike,
    energy_key: str | None = None,
    forces_key: str | None = None,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    length_unit: str | None = None,
    drop: tuple[str, ...] = (),
) -> Iterator[PackedDataset]:
    name = os.path.basename(path)
    factors = (
        units.energy(energy_unit or "eV"),
        units.force(force_unit or "eV/Angstrom"),
        units.length(length_unit or "Angstrom"),
    )
    first, block = None, []
    for index, atoms in enumerate(_frames(path)):
        where = f"{name}, structure {index}"
        try:
            data = from_ase(_labeled(atoms, energy_key, forces_key), drop)
        except InputError as error:
            raise InputError(
                f"{where}: {str(error).removeprefix('atoms, structure 0: ')}"
            ) from None
        _convert(data, *factors)
        first = data if first is None else first
        check_alike(data, first, where)
        block.append(data)
        if len(block) == _BLOCK:
            yield _packed(block, name, energy_unit, force_unit)
            block = []
    if block or first is None:
        yield _packed(block, name, energy_unit, force_unit)


def _frames(path: str | os.PathLike) -> Iterator[Atoms]:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        yield from _rows(path) if Path(path).suffix == ".db" else ase.io.iread(path, index=":")
    except Exception as error:  # each of ASE's readers fails in its own way
        raise InputError(
            f"{path}: ASE cannot read it ({type(error).__name__}: {error}); check that the file is "
            "whole and of the kind that its ending says"
        ) from None


def _packed(
    structures: list[Structure], name: str, energy_unit: str | None, force_unit: str | None
) -> PackedDataset:
    dataset = PackedDataset.from_list(structures, where=name)
    _check_units(dataset, energy_unit, force_unit)
    return dataset


def _check_units(dataset: PackedDataset, energy_unit: str | None, force_unit: str | None) -> None:
    """Who says that the energies are not in eV must say what the forces are in."""
    if bool(energy_unit) == bool(force_unit):
        return
    given, lacking = ("energy_unit", "force_unit") if energy_unit else ("force_unit", "energy_unit")
    if dataset.has("energy") and dataset.has("forces"):
        raise InputError(
            f"{dataset.where}: {given} is given but {lacking} is not; without units both are in eV "
            f"and eV/Angstrom, so give {lacking} too"
        )


def _rows(path: str | os.PathLike) -> Iterator[Atoms]:
    """Atoms of a database with all that their rows hold: `ase.io.read` forgets names and data."""
    for row in ase.db.connect(path, use_lock_file=False).select():
        atoms = row.toatoms()
        for name, value in {**row.key_value_pairs, **row.data}.items():
            if not isinstance(value, str) and np.size(value) == 1:
                atoms.info[name] = np.reshape(value, ()).item()
            elif not isinstance(value, str) and np.shape(value)[:1] == (len(atoms),):
                atoms.arrays[name] = np.array(value)
            else:
                atoms.info[name] = value
        yield atoms


def _labeled(atoms: Atoms, energy_key: str | None, forces_key: str | None) -> Atoms:
    """The same atoms with the named info entry and array attached as energy and forces."""
    if energy_key is None and forces_key is None:
        return atoms
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    for key, source, label in (
        (energy_key, atoms.info, "energy"),
        (forces_key, atoms.arrays, "forces"),
    ):
        if key is None or (key == label and label in results):
            continue
        if key not in source:
            raise InputError(f"has no {label} named {key!r}; it has {', '.join(source) or 'none'}")
        results[label] = value = source.pop(key)
        if np.asarray(value).dtype.kind not in "fiu":
            raise InputError(f"{label} {value!r:.50}, named {key!r}, is no number")
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _convert(data: Structure, energy: float, force: float, length: float) -> None:
    """Bring labels and geometry to eV and Å, in place."""
    data.pos *= length
    data.cell *= length
    for name in ("energy", "free_energy"):
        if data.get(name) is not None:
            data[name] *= energy
    if data.get("forces") is not None:
        data.forces *= force
    if data.get("stress") is not None and (energy, length) != (1.0, 1.0):
        data.stress *= energy / length**3

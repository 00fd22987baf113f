"""QM7-X: molecules with up to seven heavy atoms, in equilibrium and displaced from it."""

import lzma
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.datasets.atoms_file import concatenate
from schnetgeo.datasets.hdf5 import import_h5py
from schnetgeo.datasets.hdf5_values import ValueReader
from schnetgeo.datasets.published import cached
from schnetgeo.datasets.published_dataset import PublishedDataset
from schnetgeo.datasets.source import File, Source, fetch, folder_lock
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_path

_URL = "https://zenodo.org/record/4288677/files/"
_MD5 = {
    "1000.xz": "b50c6a5d0a4493c274368cf22285503e",
    "2000.xz": "4418a813daf5e0d44aa5a26544249ee6",
    "3000.xz": "f7b5aac39a745f11436047c12d1eb24e",
    "4000.xz": "26819601705ef8c14080fa7fc69decd4",
    "5000.xz": "85ac444596b87812aaa9e48d203d0b70",
    "6000.xz": "787fc4a9036af0e67c034a30ad854c07",
    "7000.xz": "5ecce00a188410d06b747cb683d8d347",
    "8000.xz": "c893ae88b8f5c32541c3f024fc1daa45",
    "DupMols.dat": "5d886ccac38877c8cb26c07704dd1034",
}
DUPLICATES = "DupMols"
_SHAPES = {"atNUM": 1, "atXYZ": 2, "ePBE0+MBD": 1, "totFOR": 2}  # eV, eV/Å and Å
SOURCE = Source(
    name="QM7X",
    files={name.split(".")[0]: File(name, _URL + name, (), None, f"md5:{md5}")
           for name, md5 in _MD5.items()},
    license="CC BY 4.0",
    citation="Hoja et al., Sci. Data 8, 43 (2021)",
    doi="10.5281/zenodo.4288677",
    url="https://zenodo.org/record/4288677",
)  # fmt: skip


class QM7X(PublishedDataset):
    """Energies (eV) and forces (eV/Å) of about 4.2 million structures, PBE0+MBD.

    H, C, N, O, S, Cl. Each structure has `molecule`, the number of its constitution, for splits by
    `group:molecule`: the conformations of a molecule resemble each other. Other properties are left
    out.

    Args:
        root: folder that keeps the downloaded files, unpacked, and a store that opens at once.
        keep_duplicates: keep the structures of equilibria that its authors list as found twice.
        file: one or several of the files, .xz or unpacked, to read instead of downloading; with
            DupMols.dat beside the first one, or it is downloaded.

    Raises:
        InputError: for a file that cannot be had or read, or a structure without a label.

    Source: Hoja et al., Sci. Data 8, 43 (2021).
    """

    source = SOURCE
    takes_several_files = True

    def __init__(
        self,
        root: str | os.PathLike = "data",
        keep_duplicates: bool = False,
        file: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
    ):
        folder = Path(root) / "QM7X"
        files = [Path(f) for f in ([file] if isinstance(file, str | os.PathLike) else file or [])]
        if files:
            parts = list(_read(files, folder, keep_duplicates))
            stored = StructureDataset(*concatenate(parts), validated=True)
        else:
            name = "all" if keep_duplicates else "unique"
            stored = cached(folder, name, lambda: _downloaded(folder, keep_duplicates))
        super().__init__(stored, "QM7-X")


class _Record(NamedTuple):
    """One structure: atNUM (N,), atXYZ (N, 3), the energy (1,) and totFOR (N, 3)."""

    z: np.ndarray
    pos: np.ndarray
    energy: np.ndarray
    forces: np.ndarray


def _downloaded(folder: Path, keep_duplicates: bool) -> Iterator[StructureDataset]:
    files = [fetch(file, folder) for key, file in SOURCE.files.items() if key != DUPLICATES]
    return _read(files, folder, keep_duplicates)


def _read(files: list[Path], folder: Path, keep_duplicates: bool) -> Iterator[StructureDataset]:
    """A data set for each molecule."""
    h5py = [import_h5py(file) for file in files][0]
    left_out = frozenset() if keep_duplicates else _duplicates(files[0].parent, folder)
    for file in files:
        path = _unpacked(file, folder)
        values = ValueReader(path)
        try:
            with h5py.File(path, "r") as content:
                for molecule in content:
                    part = _molecule(values, path.name, content[molecule], left_out)
                    if part is not None:
                        yield part
        except InputError:
            raise
        except (OSError, KeyError, AttributeError, ValueError) as error:
            raise InputError(f"{path}: is no file of QM7-X ({error}); get a fresh copy") from None


def _duplicates(beside: Path, folder: Path) -> frozenset[str]:
    """Names of equilibria, such as Geom-m1-i1-c2, that are there under another name too."""
    listed = beside / SOURCE.files[DUPLICATES].name
    if not listed.exists():
        listed = fetch(SOURCE.files[DUPLICATES], folder)
    return frozenset(line.strip().removesuffix("-opt") for line in listed.read_text().splitlines())


def _unpacked(path: Path, folder: Path) -> Path:
    """The HDF5 file in an .xz, unpacked into the folder once."""
    if path.suffix != ".xz":
        return path
    target = folder / f"{path.stem}.hdf5"
    with folder_lock(folder):
        if not target.exists():
            try:
                with lzma.open(path) as packed, atomic_path(target) as part, part.open("wb") as out:
                    shutil.copyfileobj(packed, out, 2**20)
            except (lzma.LZMAError, EOFError) as error:
                raise InputError(f"{path}: is damaged ({error}); get a fresh copy") from None
    return target


def _molecule(
    values: ValueReader, where: str, group, left_out: frozenset[str]
) -> StructureDataset | None:
    """All structures of a constitution but those of equilibria that are left out."""
    names = [name for name in group if name.rpartition("-")[0] not in left_out]
    if not names:
        return None
    records = [_record(values, f"{where}, {group.name}/{name}", group[name]) for name in names]
    sizes = torch.tensor([len(record.z) for record in records])
    structures = Structure(
        z=torch.from_numpy(np.concatenate([record.z for record in records]).astype(np.int64)),
        pos=torch.from_numpy(np.concatenate([record.pos for record in records]).astype(float)),
        energy=torch.from_numpy(np.concatenate([r.energy for r in records]).astype(float)),
        forces=torch.from_numpy(np.concatenate([r.forces for r in records]).astype(float)),
        molecule=torch.full((len(records),), int(group.name.rpartition("/")[2])),
    )
    return StructureDataset(structures, sizes, where)


def _record(values: ValueReader, where: str, group) -> _Record:
    arrays = []
    for name, dimensions in _SHAPES.items():
        if name not in group:
            raise InputError(f"{where}: has no {name}; get a fresh copy")
        array = values.read(where, name, group[name])
        rows = 1 if name == "ePBE0+MBD" else len(group["atNUM"])
        if array.shape != (rows, 3)[:dimensions] or array.dtype.kind not in "iuf":
            raise InputError(
                f"{where}: {name} must be numbers in shape {(rows, 3)[:dimensions]}, got shape "
                f"{array.shape} and type {array.dtype}"
            )
        arrays.append(array)
    return _Record(*arrays)

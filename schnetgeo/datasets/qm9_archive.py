"""The archive of QM9: 133,885 small files that are almost XYZ."""

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from ase.data import atomic_numbers

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.datasets.archive import members
from schnetgeo.errors import InputError

# in the order of the second line, after "gdb" and the id
COLUMNS = (
    "A", "B", "C", "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv",
)  # fmt: skip
_BLOCK = 8192  # molecules that are parsed at once


class _Text(NamedTuple):
    """The parts of one file that are kept."""

    file: str
    header: bytes
    atoms: list[bytes]
    smiles: list[str]  # of GDB-17, and of the relaxed geometry


def read_archive(path: str | os.PathLike) -> Iterator[StructureDataset]:
    """The molecules of dsgdb9nsd.xyz.tar.bz2 in blocks, numbers as published.

    A file has the number of atoms; "gdb", the id and `COLUMNS`; a line for each atom with its
    symbol, x, y, z in Å and Mulliken charge; the frequencies; SMILES of GDB-17 and of the relaxed
    geometry; InChI of both. Exponents may be written as `*^`. Frequencies and InChI are left out.

    Raises:
        InputError: for an archive that is not whole, and for a file that has no such form.
    """
    block = []
    for member in members(path):
        if member.name.endswith(".xyz"):
            block.append(_cut(f"{path}, {member.name}", member.read()))
        if len(block) == _BLOCK:
            yield _parsed(block, os.path.basename(path))
            block = []
    if block:
        yield _parsed(block, os.path.basename(path))


def _cut(file: str, content: bytes) -> _Text:
    lines = content.split(b"\n")
    try:
        count = int(lines[0])
        smiles = lines[count + 3].decode().split("\t")
        return _Text(file, lines[1], lines[2 : count + 2], smiles[:2])
    except (ValueError, IndexError):
        raise _malformed(file) from None


def _parsed(block: list[_Text], where: str) -> StructureDataset:
    try:
        return _packed(block, where)
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        if len(block) == 1:
            raise _malformed(block[0].file) from None
        if isinstance(error, InputError):
            raise
    for text in block:  # one of them is to blame
        _parsed([text], where)
    raise AssertionError(f"{where}: each molecule can be parsed, all together cannot")


def _packed(block: list[_Text], where: str) -> StructureDataset:
    header = _table([text.header for text in block], 2 + len(COLUMNS))
    atoms = _table([line for text in block for line in text.atoms], 5)
    properties = header[:, 2:].astype(np.float64)
    symbols, kind = np.unique(atoms[:, 0], return_inverse=True)
    z = np.array([atomic_numbers[symbol.decode()] for symbol in symbols])[kind]
    geometry = torch.from_numpy(atoms[:, 1:].astype(np.float64))
    structures = Structure(
        z=torch.from_numpy(z),
        pos=geometry[:, :3].contiguous(),
        charges=geometry[:, 3].contiguous(),
        id=torch.from_numpy(header[:, 1].astype(np.int64)),
        smiles=[text.smiles[0] for text in block],
        smiles_relaxed=[text.smiles[1] for text in block],
    )
    for column, name in enumerate(COLUMNS):
        structures[name] = torch.from_numpy(properties[:, column].copy())
    sizes = torch.tensor([len(text.atoms) for text in block])
    return StructureDataset(structures, sizes, where)


def _table(lines: list[bytes], columns: int) -> np.ndarray:
    """Words of lines that have `columns` words each; a `ValueError` where they have not."""
    words = b"\n".join(lines).replace(b"*^", b"e").split()
    return np.array(words).reshape(len(lines), columns)


def _malformed(file: str) -> InputError:
    return InputError(
        f"{file}: not in the form of QM9: number of atoms; gdb, id and {len(COLUMNS)} numbers; "
        "symbol and four numbers for each atom; frequencies; SMILES; InChI; get a fresh copy"
    )

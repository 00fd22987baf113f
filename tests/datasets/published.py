"""Real records in the formats in which the authors of the data sets published them."""

import io
import json
import sqlite3
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.db import connect

from tests.shared_data import shared


def records(name: str, rows) -> dict[str, np.ndarray]:
    """Some rows of a shared file of fixed composition, in its own units."""
    with np.load(shared(name)) as file:
        arrays = {key: file[key] for key in file.files if file[key].ndim}
    return {key: value if key == "z" else value[rows] for key, value in arrays.items()}


def md17_npz(rows=slice(6)) -> bytes:
    """MD17 of ethanol, with the texts that sGDML writes as bytes."""
    arrays = records("md17_ethanol.npz", rows)
    arrays["E"] = arrays["E"][:, None]
    about = {"name": np.bytes_("Ethanol"), "type": np.bytes_("d"), "md5": np.bytes_("0123")}
    units = {"e_unit": np.bytes_("kcal/mol"), "r_unit": np.bytes_("Ang")}
    return _npz(**arrays, **about, **units)


def rmd17_npz(rows=slice(40)) -> bytes:
    """Revised MD17 of ethanol."""
    arrays = records("rmd17_ethanol.npz", rows)
    number = len(arrays["E"])
    return _npz(
        nuclear_charges=arrays["z"],
        coords=arrays["R"],
        energies=arrays["E"],
        forces=arrays["F"],
        old_indices=np.arange(number, dtype=float) * 7,
        old_energies=arrays["E"] + 1,
        old_forces=arrays["F"] + 1,
    )


def index_csv(numbers: Iterable[int]) -> bytes:
    """Row numbers, one a line, as NumPy writes floats."""
    buffer = io.StringIO()
    np.savetxt(buffer, np.asarray(numbers, dtype=float))
    return buffer.getvalue().encode()


def iso17_database(path: Path, rows, as_text: bool = False) -> Path:
    """Equilibrium structures as ISO17 stores them, with forces made up since theirs vanish.

    Force component k of row i is (100 i + k) / 1000 eV/Å. `as_text` is how older versions of ASE
    wrote nested lists.
    """
    arrays = records("iso17_equilibrium_sample.npz", rows)
    with connect(path) as database:
        for k, (z, pos, energy) in enumerate(zip(*(arrays[n] for n in "ZRE"), strict=True)):
            data = {"atomic_forces": row_forces(k)}
            database.write(Atoms(z, pos), total_energy=float(energy), data=data)
    if as_text:
        with sqlite3.connect(path) as database:
            for (k,) in database.execute("SELECT id FROM systems").fetchall():
                text = json.dumps({"atomic_forces": row_forces(k - 1)})
                database.execute("UPDATE systems SET data=? WHERE id=?", (text, k))
    return path


def row_forces(k: int) -> list[list[float]]:
    """The forces of row k, counted from 0, in eV/Å."""
    return ((100 * k + np.arange(57)) / 1000).reshape(19, 3).tolist()


_PROPERTIES = (
    "A",
    "B",
    "C",
    "mu",
    "alpha",
    "homo",
    "lumo",
    "gap",
    "r2",
    "zpve",
    "U0",
    "U",
    "H",
    "G",
    "Cv",
)


def qm9_files(number: int) -> dict[str, bytes]:
    """The first molecules of the shared file with all properties, by name, as QM9 has them.

    Ids count from 1, instead of those that these molecules have in QM9, so that none is missing.
    Charges are made up, 1e-6 times the number of the atom, counted from 1: that file has none.
    """
    with np.load(shared("qm9_all_properties.npz")) as file:
        arrays = {key: file[key] for key in file.files}
    ends = np.cumsum(arrays["N"].astype(int))
    files = {}
    for k in range(number):
        atoms = slice(ends[k] - arrays["N"][k], ends[k])
        properties = [float(arrays[name][k]) for name in _PROPERTIES]
        z, pos = arrays["Z"][atoms], arrays["R"][atoms].astype(float)
        smiles = str(arrays["smiles"][k])
        files[f"dsgdb9nsd_{k + 1:06d}.xyz"] = qm9_xyz(k + 1, properties, z, pos, smiles)
    return files


def qm9_xyz(id_: int, properties, z, pos, smiles: str) -> bytes:
    """One file of the archive."""
    rows = [
        "\t".join([chemical_symbols[number], *map(mathematica, place), mathematica(1e-6 * k)])
        for k, (number, place) in enumerate(zip(z, pos, strict=True), 1)
    ]
    header = "\t".join([f"gdb {id_}", *map(mathematica, properties), ""])
    frequencies = "\t".join(["1362.5", "3101.4"])
    tail = [frequencies, f"{smiles}\t{smiles}*\t", "InChI=1S/a\tInChI=1S/b", ""]
    return "\n".join([str(len(z)), header, *rows, *tail]).encode()


def mathematica(value: float) -> str:
    """Small numbers with the exponent of Mathematica, `1.2*^-6`."""
    if value == 0 or abs(value) >= 1e-3:
        return repr(float(value))
    mantissa, _, exponent = f"{value:.16e}".partition("e")
    return f"{mantissa}*^{int(exponent)}"


def uncharacterized_txt(ids) -> bytes:
    """The list of molecules that failed the consistency check: 9 lines, the rows, a line."""
    rows = [f"{k:8d}   C{k}   N{k}   12.3" for k in ids]
    return "\n".join([*["# 3054 molecules"] * 8, "=" * 20, *rows, "=" * 20, ""]).encode()


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    """A zip archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    """A tar archive, compressed as its last ending says."""
    with tarfile.open(path, f"w:{path.suffix[1:]}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()

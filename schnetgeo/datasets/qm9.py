"""QM9: fifteen properties of 133,885 small organic molecules in equilibrium."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import Convention, Units
from schnetgeo.datasets.archive import members
from schnetgeo.datasets.atoms_file import concatenate
from schnetgeo.datasets.npz import npz_units, read_npz
from schnetgeo.datasets.published import cached
from schnetgeo.datasets.published_dataset import FieldMeaning, PublishedDataset, ShellOption
from schnetgeo.datasets.qm9_archive import read_archive
from schnetgeo.datasets.qm9_properties import PROPERTIES, TARGETS, is_energy, properties_in_ev
from schnetgeo.datasets.source import File, Source, fetch
from schnetgeo.errors import InputError
from schnetgeo.notes import note
from schnetgeo.units import HARTREE

CONVENTION = Convention("QM9", Units("Hartree", length="Angstrom"))
SIZE = 133_885
UNCHARACTERIZED = 3_054
_LOWEST = -12.0  # eV an atom; diamond has -7.4
_HOSTS = (
    "https://springernature.figshare.com/ndownloader/files/",
    "https://ndownloader.figshare.com/files/",
    "https://figshare.com/ndownloader/files/",
)


def _file(name: str, figshare: int, size: int, sha256: str) -> File:
    url, *mirrors = [f"{host}{figshare}" for host in _HOSTS]
    return File(name, url, tuple(mirrors), size, f"sha256:{sha256}")


SOURCE = Source(
    name="QM9",
    files={
        "molecules": _file(
            "dsgdb9nsd.xyz.tar.bz2",
            3195389,
            86_144_227,
            "3a63848ac80691bdb8d41834b575afad345b9300d7a2db0c38adb7f6eaa8360c",
        ),
        "uncharacterized": _file(
            "uncharacterized.txt",
            3195404,
            486_752,
            "3aa5115d540b356de94791d4a74c3bf1ed91c469ecf52a4f5d7cc0506fe02e24",
        ),
    },
    license="CC0",
    citation="Ramakrishnan, Dral, Rupp and von Lilienfeld, Sci. Data 1, 140022 (2014)",
    doi="10.6084/m9.figshare.c.978904",
    url="https://figshare.com/collections/978904",
)


class QM9(PublishedDataset):
    """Molecules of H, C, N, O, F in equilibrium, B3LYP/6-31G(2df,p), without forces.

    Each structure has the properties in `PROPERTIES` under their names, energies in eV, others in
    the unit of the papers; `U0_atom`, `U_atom`, `H_atom`, `G_atom`, those less the free atoms'
    (eV); `charges`, Mulliken's (e); `smiles` of GDB-17, `smiles_relaxed` of the geometry; and
    `id`, the number of the molecule in QM9, counted from 1. Frequencies and InChI are left out.

    Other readers differ: PyG takes geometries and bonds from an SDF file and rounds all to float32,
    0.001 eV of a total energy, and has 0 for the `Cv` of atoms; SchNetPack leaves energies in
    Hartree, and the uncharacterized molecules in, unless told otherwise.

    Args:
        root: folder that keeps the downloaded files, and a store of the molecules that opens at
            once.
        target: what training predicts, one of `TARGETS`; where its unit is eV it is `energy` too.
        keep_uncharacterized: keep the 3,054 molecules whose geometry failed the authors' check.
        file: the archive (dsgdb9nsd.xyz.tar.bz2, with uncharacterized.txt beside it) to read
            instead of downloading; or .npz, one or several, whose arrays have the names in
            `PROPERTIES`, with energies in the `e_unit` that they state, else Hartree and all else
            in the units of the published files, and whose molecules are all kept.

    Raises:
        InputError: for an unknown target, a file that cannot be had or read, a molecule that is
            missing or there twice, or a list of other than 3,054 uncharacterized ones.

    Source: Ramakrishnan et al., Sci. Data 1, 140022 (2014).
    """

    source = SOURCE
    options = (ShellOption("target", "target", "an energy; U0 unless given"),)
    takes_several_files = True
    meanings = {name: FieldMeaning(p.unit, p.meaning) for name, p in TARGETS.items()}

    def __init__(
        self,
        root: str | os.PathLike = "data",
        target: str = "U0",
        keep_uncharacterized: bool = False,
        file: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
    ):
        if target not in TARGETS:
            raise InputError(f"unknown target {target!r} of QM9; known: {', '.join(TARGETS)}")
        folder = Path(root) / "QM9"
        files = [file] if isinstance(file, str | os.PathLike) else list(file or [])
        energy = {"energy": target} if TARGETS[target].unit == "eV" else {}
        if files:
            structures, sizes = concatenate(list(_read(files, folder, keep_uncharacterized)))
            if target not in structures:
                raise InputError(f"{files[0]}: has no {target!r}; name another target")
            for name, field in energy.items():
                structures[name] = structures[field].clone()
            stored = StructureDataset(structures, sizes)
        else:
            name = "all" if keep_uncharacterized else "characterized"
            parts = partial(_read, files, folder, keep_uncharacterized)
            stored = cached(folder, name, parts, energy)
        super().__init__(stored, "QM9")
        self.target, self.unit = target, TARGETS[target].unit

    @classmethod
    def published(cls) -> list[dict]:
        return [{"property": name, **known._asdict()} for name, known in cls.meanings.items()]


def read_uncharacterized(path: str | os.PathLike) -> Int[Tensor, "U"]:
    """Ids, counted from 1, of the molecules that uncharacterized.txt lists.

    Raises:
        InputError: unless there are 3,054, all different and in QM9.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); get a fresh copy") from None
    body = "\n".join(text.splitlines()[9:])  # the head of the list speaks of numbers too
    ids = torch.tensor([int(k) for k in re.findall(r"^\s*(\d{1,9})\s", body, re.M)]).unique()
    if ids.numel() != UNCHARACTERIZED or ids[0] < 1 or ids[-1] > SIZE:
        raise InputError(
            f"{path}: must list {UNCHARACTERIZED} different ids from 1 to {SIZE}, got "
            f"{ids.numel()}"
            + (f" from {int(ids[0])} to {int(ids[-1])}" if ids.numel() else "")
            + "; get a fresh copy"
        )
    return ids


def _read(files: list, folder: Path, keep_uncharacterized: bool) -> Iterator[StructureDataset]:
    """Molecules of .npz files, or of the archive, at hand or downloaded, energies in eV."""
    if files and all(Path(path).suffix == ".npz" for path in files):
        yield from map(_from_npz, files)
        return
    for path in files:
        if Path(path).is_dir() or Path(path).suffix == ".xyz":
            raise InputError(
                f"{path}: QM9 is read from its archive, dsgdb9nsd.xyz.tar.bz2, not from "
                f"{'a folder' if Path(path).is_dir() else 'one of its small files'}; name the "
                "archive, or leave file out to download it"
            )
    if len(files) > 1:
        names = ", ".join(map(str, files))
        raise InputError(f"file: QM9 is one archive, or several .npz; got {names}")
    path = Path(files[0]) if files else fetch(SOURCE.files["molecules"], folder)
    if files:
        next(members(path), None)  # what is no archive is refused before a list is downloaded
    left_out, ids = torch.empty(0, dtype=torch.int64), [torch.empty(0, dtype=torch.int64)]
    if not keep_uncharacterized:
        listed = path.with_name(SOURCE.files["uncharacterized"].name)
        if not files or not listed.exists():
            listed = fetch(SOURCE.files["uncharacterized"], folder)
        left_out = read_uncharacterized(listed)
    for block in read_archive(path):
        ids.append(block.get_property("id"))
        characterized = ~torch.isin(ids[-1], left_out)
        if bool(characterized.any()):
            yield properties_in_ev(block[characterized], HARTREE)
    _check_complete(path, torch.cat(ids))


def _check_complete(path: Path, ids: Tensor) -> None:
    count = ids.bincount(minlength=SIZE + 1)
    wrong = (count[1:] != 1).nonzero().flatten() + 1
    if ids.numel() != SIZE or wrong.numel():
        first = int(wrong[0]) if wrong.numel() else int(ids.max())
        raise InputError(
            f"{path}: has {ids.numel()} molecules instead of {SIZE}; molecule {first} is there "
            f"{int(count[first])} times; get a fresh copy"
        )


def _from_npz(path: str | os.PathLike) -> StructureDataset:
    """Molecules of an .npz in the units that it states, else in those of the published files."""
    dataset = read_npz(path, convention=CONVENTION)
    names = [name for name in PROPERTIES if dataset.has_property(name) and is_energy(name)]
    if not names:
        return properties_in_ev(dataset, HARTREE)
    units = npz_units(path, CONVENTION)
    dataset = properties_in_ev(dataset, units.factor("energy"))
    _check_atomization(dataset, stated=units.stated.energy is not None)
    if not units.stated.energy:
        note(f"{dataset.name}: {', '.join(names)} are taken in Hartree, as QM9 is published")
    return dataset


def _check_atomization(dataset: StructureDataset, stated: bool) -> None:
    """Refuse energies that differ from those of free atoms as no molecule's do."""
    for name in ("U0", "U", "H", "G"):
        if not dataset.has_property(f"{name}_atom"):
            continue
        per_atom = dataset.get_property(f"{name}_atom") / dataset.num_atoms
        middle = float(per_atom.nanmedian())
        if not _LOWEST < middle < 0:
            first = float(dataset.get_property(name)[0])
            remedy = "correct e_unit in the file" if stated else "state their unit as e_unit in it"
            raise InputError(
                f"{dataset.name}: {name} of its first molecule is {first:.6g} eV, and half of the "
                f"molecules have atomization energies of {-middle:.3g} eV an atom, which no "
                f"molecule has; {remedy}"
            )

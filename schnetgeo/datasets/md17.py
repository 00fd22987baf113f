"""MD17: ab initio dynamics of small molecules, and its coupled-cluster relatives."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import Convention
from schnetgeo.data.statistics import formula
from schnetgeo.datasets.archive import unpacked
from schnetgeo.datasets.atoms_file import concatenate
from schnetgeo.datasets.npz import (
    MD17_CONVENTION,
    REVISED_MD17_CONVENTION,
    is_revised_md17,
    read_npz,
)
from schnetgeo.datasets.npz_members import text_in
from schnetgeo.datasets.published import PublishedSplit, cached
from schnetgeo.datasets.published_dataset import PublishedDataset, ShellOption
from schnetgeo.datasets.source import File, Source, fetch
from schnetgeo.errors import InputError

_URL = "https://www.quantum-machine.org/gdml/data/npz/"
_MIRRORS = (  # http where nothing else answers: what comes is read as a stranger's file
    "https://www.quantum-machine.org/gdml/repo/datasets/",
    "http://www.quantum-machine.org/gdml/data/npz/",
    "http://www.quantum-machine.org/gdml/repo/datasets/",
)


# atomic numbers of the molecules of MD17 and of its relatives, by the first word of their names
COMPOSITIONS = {
    "benzene": {1: 6, 6: 6},
    "uracil": {1: 4, 6: 4, 7: 2, 8: 2},
    "naphthalene": {1: 8, 6: 10},
    "aspirin": {1: 8, 6: 9, 8: 4},
    "salicylic": {1: 6, 6: 7, 8: 3},
    "malonaldehyde": {1: 4, 6: 3, 8: 2},
    "ethanol": {1: 6, 6: 2, 8: 1},
    "toluene": {1: 8, 6: 7},
    "paracetamol": {1: 9, 6: 8, 7: 1, 8: 2},
    "azobenzene": {1: 10, 6: 12, 7: 2},
}


class MoleculeEntry(NamedTuple):
    """What is published for one molecule."""

    file: str
    frames: int
    atoms: int
    theory: str = "PBE+vdW-TS"
    num_test: int = 0  # the last frames, a file of their own


MOLECULES = {
    "benzene": MoleculeEntry("md17_benzene2017.npz", 627_983, 12),
    "uracil": MoleculeEntry("md17_uracil.npz", 133_770, 12),
    "naphthalene": MoleculeEntry("md17_naphthalene.npz", 326_250, 18),
    "aspirin": MoleculeEntry("md17_aspirin.npz", 211_762, 21),
    "salicylic_acid": MoleculeEntry("md17_salicylic.npz", 320_231, 16),
    "malonaldehyde": MoleculeEntry("md17_malonaldehyde.npz", 993_237, 9),
    "ethanol": MoleculeEntry("md17_ethanol.npz", 555_092, 9),
    "toluene": MoleculeEntry("md17_toluene.npz", 442_790, 15),
    "paracetamol": MoleculeEntry("paracetamol_dft.npz", 106_490, 20),
    "azobenzene": MoleculeEntry("azobenzene_dft.npz", 99_999, 24),
    "benzene2018": MoleculeEntry("benzene2018_dft.npz", 49_863, 12, "DFT, FHI-aims"),
    "benzene_ccsd_t": MoleculeEntry("benzene_ccsd_t.zip", 1500, 12, "CCSD(T)", 500),
    "aspirin_ccsd": MoleculeEntry("aspirin_ccsd.zip", 1500, 21, "CCSD", 500),
    "malonaldehyde_ccsd_t": MoleculeEntry("malonaldehyde_ccsd_t.zip", 1500, 9, "CCSD(T)", 500),
    "ethanol_ccsd_t": MoleculeEntry("ethanol_ccsd_t.zip", 2000, 9, "CCSD(T)", 1000),
    "toluene_ccsd_t": MoleculeEntry("toluene_ccsd_t.zip", 1501, 15, "CCSD(T)", 501),
}
SOURCE = Source(
    name="MD17",
    files={
        molecule: File(entry.file, _URL + entry.file, tuple(m + entry.file for m in _MIRRORS))
        for molecule, entry in MOLECULES.items()
    },
    license="none stated; a public benchmark, to be cited",
    citation="Chmiela et al., Sci. Adv. 3, e1603015 (2017); coupled cluster: Chmiela et al., "
    "Nat. Commun. 9, 3887 (2018)",
    doi="10.1126/sciadv.1603015",
    url="http://www.quantum-machine.org/gdml/",
)


class MD17(PublishedDataset):
    """Energies (eV) and forces (eV/Å) along a trajectory of one molecule at 500 K.

    The published files are in kcal/mol and kcal/mol/Å, and their energies stay float64, where the
    readers of PyG round them to float32, which is 0.03 kcal/mol for aspirin. Frames are 0.5 fs
    apart, so neighbors resemble each other and a random split tests interpolation. "benzene" is
    the set of 2017 that the SchNet paper used; "benzene2018" is another level of theory and gives
    other errors. The coupled-cluster sets come with their own test frames, `pools`.

    Args:
        root: folder that keeps the downloaded file, and a store of its frames that opens at once.
        molecule: one of `MOLECULES`.
        file: a file in the published format (.npz, or .zip of the coupled-cluster sets) to read
            instead of downloading; units are those of MD17 unless it states others.

    Raises:
        InputError: for an unknown molecule, a file that cannot be had or read, is of another
            molecule or of revised MD17, or whose frames are not as many as published.

    Source: Chmiela et al., Sci. Adv. 3, e1603015 (2017); Nat. Commun. 9, 3887 (2018).
    """

    source = SOURCE
    options = (ShellOption("molecule", "molecule"),)

    def __init__(
        self,
        root: str | os.PathLike = "data",
        molecule: str = "ethanol",
        file: str | os.PathLike | None = None,
    ):
        if molecule not in MOLECULES:
            raise InputError(f"unknown molecule {molecule!r}; known: {', '.join(MOLECULES)}")
        folder = Path(root) / "MD17"
        if file is None:
            stored = cached(folder, molecule, lambda: _downloaded(molecule, folder))
            num_test = MOLECULES[molecule].num_test
        else:
            parts = _read(Path(file), molecule)
            stored = StructureDataset(*concatenate(parts), validated=True)
            num_test = len(parts[1]) if len(parts) == 2 else 0
        super().__init__(stored, f"MD17 {molecule}")
        order = torch.arange(len(self))
        self.pools = PublishedSplit(order[:-num_test], order[-num_test:]) if num_test else None

    @classmethod
    def published(cls) -> list[dict]:
        return [
            {
                "molecule": k,
                "structures": entry.frames,
                "atoms": entry.atoms,
                "theory": entry.theory,
            }
            for k, entry in MOLECULES.items()
        ]


def _downloaded(molecule: str, folder: Path) -> list[StructureDataset]:
    path, entry = fetch(SOURCE.files[molecule], folder), MOLECULES[molecule]
    parts = _read(path, molecule)
    check_frames(path, parts, entry.frames, entry.atoms)
    return parts


def _read(path: Path, molecule: str) -> list[StructureDataset]:
    """Frames of a trajectory, or training and test frames of a coupled-cluster set."""
    if path.suffix != ".zip":
        return [read_frames(path, molecule)]
    with unpacked(path, [f"{path.stem}-train.npz", f"{path.stem}-test.npz"]) as parts:
        return [read_frames(part, molecule) for part in parts]


def read_frames(path: str | os.PathLike, molecule: str, revised: bool = False) -> StructureDataset:
    """A file of a molecule of MD17, or of revised MD17.

    Raises:
        InputError: if it lacks energies or forces, or is of another molecule or of the other set.
    """
    check_theory(path, revised)
    frames = read_labeled(path, REVISED_MD17_CONVENTION if revised else MD17_CONVENTION)
    check_molecule(frames, molecule)
    return frames


def read_labeled(path: str | os.PathLike, convention: Convention) -> StructureDataset:
    """Frames of an .npz with energies and forces, in the units of a data set.

    Raises:
        InputError: if it lacks one of them, or cannot be read.
    """
    frames = read_npz(path, convention=convention)
    missing = [field for field in ("energy", "forces") if not frames.has_property(field)]
    if missing:
        raise InputError(f"{path}: has no {missing[0]}; it is not a file of {convention.name}")
    return frames


def check_theory(path: str | os.PathLike, revised: bool) -> None:
    """Raise `InputError` where an .npz is of revised MD17 and should not be, or the reverse.

    The two differ in their level of theory, and their labels must not be mixed.
    """
    other = is_revised_md17(path)
    if other is None or other == revised:
        return
    names = ("revised MD17", "RevisedMD17") if other else ("MD17", "MD17")
    raise InputError(
        f"{path}: is a file of {names[0]}, another level of theory"
        f"{_said(text_in(path, 'theory'))}; read it as {names[1]} "
        f"(benchmarks.{'rmd17' if other else 'md17'})"
    )


def check_molecule(frames: StructureDataset, molecule: str) -> None:
    """Raise `InputError` unless all frames have the atoms of the molecule of this name."""
    check_composition(frames, molecule, COMPOSITIONS[re.split(r"[_\d]", molecule)[0]])


def check_composition(
    frames: StructureDataset, molecule: str, composition: Mapping[int, int]
) -> None:
    """Raise `InputError` unless all frames have these numbers of atoms by atomic number."""
    elements, counts = np.unique(frames[0].z.numpy(), return_counts=True)
    first = dict(zip(elements.tolist(), counts.tolist(), strict=True))
    z, sizes = frames.get_property("z"), frames.num_atoms
    same = bool((sizes == sizes[0]).all()) and bool(
        (z.reshape(len(frames), -1).sort(1).values == z[: sizes[0]].sort().values).all()
    )
    if first != composition or not same:
        raise InputError(
            f"{frames.name}: structure 0 is {formula(first)}, but {molecule} is "
            f"{formula(composition)}; it is the file of another molecule"
            if first != composition
            else f"{frames.name}: not all frames are {formula(composition)}, as {molecule} is"
        )


def check_frames(path: Path, parts: list[StructureDataset], frames: int, atoms: int) -> None:
    """Raise `InputError` unless there are as many frames and atoms as were published."""
    counts = sum(map(len, parts)), int(parts[0].num_atoms[0])
    if counts != (frames, atoms):
        raise InputError(
            f"{path}: has {counts[0]} frames of {counts[1]} atoms, but {frames} of {atoms} were "
            "published; delete it to download it again, or pass it as file= to use it as it is"
        )


def _said(theory: str) -> str:
    return f" ({theory[:40]})" if theory else ""

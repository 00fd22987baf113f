"""Revised MD17: the same molecules at one tight level of theory, with five published splits."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.archive import extract, unpacked
from schnetgeo.datasets.md17 import check_frames, read_frames
from schnetgeo.datasets.published import PublishedSplit, cached
from schnetgeo.datasets.published_dataset import PublishedDataset, ShellOption
from schnetgeo.datasets.source import File, Source, fetch
from schnetgeo.errors import InputError

FIGSHARE = "https://ndownloader.figshare.com/files/"
SPRINGER = "https://springernature.figshare.com/ndownloader/files/"
SPLITS = (1, 2, 3, 4, 5)
SPLIT_SIZE = 1000  # frames to train on, and as many to test on
THEORY = "PBE/def2-SVP"
_FRAMES = "rmd17/npz_data/"  # in the archive
_LISTS = "rmd17/splits/index_{}_0{}.csv"


class MoleculeEntry(NamedTuple):
    """What is published for one molecule."""

    file: str
    frames: int
    atoms: int
    figshare: int
    md5: str


MOLECULES = {
    "benzene": MoleculeEntry(
        "rmd17_benzene.npz", 100_000, 12, 62265739, "18c9242bc90fbf28215f6dd81e650f16"
    ),
    "uracil": MoleculeEntry(
        "rmd17_uracil.npz", 100_000, 12, 62265745, "992a4479c28a07e0cce6da964805be31"
    ),
    "naphthalene": MoleculeEntry(
        "rmd17_naphthalene.npz", 100_000, 18, 62265751, "0efba19c9907e3852318b1e6008b3b9e"
    ),
    "aspirin": MoleculeEntry(
        "rmd17_aspirin.npz", 100_000, 21, 62265757, "17fd6fb69066888613f7e16b358a7553"
    ),
    "salicylic_acid": MoleculeEntry(
        "rmd17_salicylic.npz", 100_000, 16, 62265748, "900fedf242da438400fa4293348d7dd1"
    ),
    "malonaldehyde": MoleculeEntry(
        "rmd17_malonaldehyde.npz", 100_000, 9, 62265736, "cdc1d70c0c34062ddde6e5071eb6fe21"
    ),
    "ethanol": MoleculeEntry(
        "rmd17_ethanol.npz", 100_000, 9, 62265733, "eb837fb8deb27d4e0d52f71a03aff776"
    ),
    "toluene": MoleculeEntry(
        "rmd17_toluene.npz", 100_000, 15, 62265742, "0f2913d51f8149c90ab28d697a076f64"
    ),
    "paracetamol": MoleculeEntry(
        "rmd17_paracetamol.npz", 100_000, 20, 62265760, "ba10784f7b67635427085f6d7ec2dd97"
    ),
    "azobenzene": MoleculeEntry(
        "rmd17_azobenzene.npz", 99_988, 24, 62265754, "be79df918468eb3579aa73a0becf7390"
    ),
}
ARCHIVE = File(
    "rmd17.tar.bz2",
    f"{FIGSHARE}23950376",
    (
        f"{SPRINGER}23950376",
        "https://archive.materialscloud.org/records/pfffs-fff86/files/rmd17.tar.bz2",
        "https://archive.materialscloud.org/record/file?filename=rmd17.tar.bz2&record_id=466",
    ),
    1_066_301_513,
    "sha256:cddeea2ec2c4b22a9de16a9a65a3eeedac5b29da9c99c20bbff0153912bf922b",
)
SOURCE = Source(
    name="RevisedMD17",
    files={
        name: File(
            entry.file,
            f"{FIGSHARE}{entry.figshare}",
            (f"{SPRINGER}{entry.figshare}",),
            checksum=f"md5:{entry.md5}",
        )
        for name, entry in MOLECULES.items()
    }
    | {"splits": ARCHIVE},
    license="CC0",
    citation="Christensen and von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020)",
    doi="10.6084/m9.figshare.12672038",
    url="https://figshare.com/articles/dataset/12672038",
)


class RevisedMD17(PublishedDataset):
    """Energies (eV) and forces (eV/Å) of 100,000 frames of a molecule of MD17, PBE/def2-SVP.

    The published files are in kcal/mol and kcal/mol/Å. They are another level of theory than MD17,
    so that labels of the two must not be mixed. `old_indices` says which frame of MD17 each one
    is. Frames resemble each other, and the authors ask not to train on more than 1,000:
    `sample_split` refuses that.

    Args:
        root: folder that keeps the downloaded files, and a store of the frames.
        molecule: one of `MOLECULES`.
        split: one of the five published ones, 1 to 5, as `pools` of 1,000 frames to train on and
            1,000 to test on; these come with an archive of 1 GB. `None` is no such split.
        file: a file of one molecule (.npz), or the archive of all (rmd17.tar.bz2), to read instead
            of downloading.
        max_train: `None` allows to train on more than 1,000 frames.

    Raises:
        InputError: for an unknown molecule or split, a file that cannot be had or read, or whose
            frames are not as many as published.

    Source: Christensen and von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020).
    """

    source = SOURCE
    options = (ShellOption("molecule", "molecule"),)
    splits = SPLITS

    def __init__(
        self,
        root: str | os.PathLike = "data",
        molecule: str = "ethanol",
        split: int | None = None,
        file: str | os.PathLike | None = None,
        max_train: int | None = SPLIT_SIZE,
    ):
        if molecule not in MOLECULES:
            raise InputError(f"unknown molecule {molecule!r}; known: {', '.join(MOLECULES)}")
        if split not in (None, *SPLITS):
            raise InputError(f"unknown split {split!r} of revised MD17; known: 1, 2, 3, 4, 5")
        folder = Path(root) / "RevisedMD17"
        lists = [] if split is None else [_LISTS.format(part, split) for part in ("train", "test")]
        if file is None:
            whole = split is not None
            stored = cached(folder, molecule, lambda: _downloaded(molecule, folder, whole))
            pools = _pools(_from_archive(lists, folder), len(stored))
        elif Path(file).suffix == ".npz":
            stored = read_frames(file, molecule, revised=True)
            pools = _pools(_from_archive(lists, folder), len(stored))
        else:
            with unpacked(file, [_FRAMES + MOLECULES[molecule].file, *lists]) as paths:
                stored = read_frames(paths[0], molecule, revised=True)
                pools = _pools(paths[1:], len(stored))
        super().__init__(stored, f"revised MD17 {molecule}")
        self.pools, self.max_train = pools, max_train

    @classmethod
    def published(cls) -> list[dict]:
        return [{"molecule": molecule} for molecule in SOURCE.files]

    @classmethod
    def default_split(cls, files: Sequence[str]) -> str:
        """The first published split; random for a single file, without their lists."""
        is_single = files and Path(files[0]).suffix == ".npz"
        return "random" if is_single else super().default_split(files)


def _downloaded(molecule: str, folder: Path, whole: bool) -> list[StructureDataset]:
    """The frames of one molecule, from the archive of all if that is needed anyway."""
    entry = MOLECULES[molecule]
    if whole:
        (path,) = _from_archive([_FRAMES + entry.file], folder)
    else:
        path = fetch(SOURCE.files[molecule], folder)
    parts = [read_frames(path, molecule, revised=True)]
    check_frames(path, parts, entry.frames, entry.atoms)
    return parts


def _from_archive(names: list[str], folder: Path) -> list[Path]:
    """Members of the archive, which is fetched unless they are there already."""
    paths = [folder / Path(name).name for name in names]
    if all(path.exists() for path in paths):
        return paths
    return extract(fetch(ARCHIVE, folder), names, folder)


def _pools(lists: list[Path], size: int) -> PublishedSplit | None:
    """Frames to train and to test on, of index files that count from 0."""
    if not lists:
        return None
    train, test = (_read_indices(path, size) for path in lists)
    both = np.intersect1d(train, test)
    if both.size:
        raise InputError(
            f"{lists[0]} and {lists[1].name}: frame {both[0]} is in both; delete them to unpack "
            "them again"
        )
    return PublishedSplit(torch.from_numpy(train), torch.from_numpy(test))


def _read_indices(path: Path, size: int) -> np.ndarray:
    try:
        indices = np.loadtxt(path).ravel().astype(np.int64)  # written as floats
    except ValueError as error:
        raise InputError(f"{path}: not one number a line ({error}); delete it") from None
    if indices.size != SPLIT_SIZE or np.unique(indices).size != indices.size:
        raise InputError(
            f"{path}: has {np.unique(indices).size} different numbers, but the published splits "
            f"have {SPLIT_SIZE}; delete it to unpack it again"
        )
    outside = indices[(indices < 0) | (indices >= size)]
    if outside.size:
        raise InputError(
            f"{path}: frame {outside[0]} does not exist, there are {size}, counted from 0; choose "
            "another split, or the whole file of this molecule"
        )
    return indices

"""3BPA: a flexible drug-like molecule, trained at one temperature and tested at others."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.archive import extract, unpacked
from schnetgeo.datasets.atoms_file import AtomsFile, concatenate
from schnetgeo.datasets.published import PublishedSplit, cached
from schnetgeo.datasets.published_dataset import PublishedDataset, ShellOption
from schnetgeo.datasets.source import File, Source, fetch
from schnetgeo.errors import InputError

TRAIN_SETS = {"300K": "dynamics at 300 K", "mixedT": "dynamics at 300, 600 and 1200 K"}
TEST_SETS = {
    "300K": "dynamics at 300 K",
    "600K": "dynamics at 600 K",
    "1200K": "dynamics at 1200 K",
    "dih_beta120": "scan of two dihedrals, the third fixed at 120°",
    "dih_beta150": "scan of two dihedrals, the third fixed at 150°",
    "dih_beta180": "scan of two dihedrals, the third fixed at 180°",
}
SOURCE = Source(
    name="ThreeBPA",
    files={
        "archive": File(
            "dataset_3BPA.tar.gz",
            "https://github.com/davkovacs/BOTNet-datasets/raw/refs/heads/main/dataset_3BPA.tar.gz",
        )
    },
    license="MIT",
    citation="Kovács et al., J. Chem. Theory Comput. 17, 7696 (2021)",
    doi="10.1021/acs.jctc.1c00647",
    url="https://github.com/davkovacs/BOTNet-datasets",
)


class ThreeBPA(PublishedDataset):
    """Energies (eV) and forces (eV/Å) of 3-(benzyloxy)pyridin-2-amine, 27 atoms, ωB97X/6-31G(d).

    `pools` are 500 structures to train on and those of all `TEST_SETS` to test on. Each structure
    says as `fold` which file it is of: 0 is the training set, 1 and up are `TEST_SETS` in order.

    Args:
        root: folder that keeps the downloaded archive, and a store that opens at once.
        train_set: one of `TRAIN_SETS`.
        file: the archive (dataset_3BPA.tar.gz) to read instead of downloading.

    Raises:
        InputError: for an unknown training set, or an archive that cannot be had or read.

    Source: Kovács et al., J. Chem. Theory Comput. 17, 7696 (2021).
    """

    source = SOURCE
    options = (ShellOption("train_set", "train_set", "300K or mixedT"),)

    def __init__(
        self,
        root: str | os.PathLike = "data",
        train_set: str = "300K",
        file: str | os.PathLike | None = None,
    ):
        if train_set not in TRAIN_SETS:
            raise InputError(f"unknown train_set {train_set!r}; known: {', '.join(TRAIN_SETS)}")
        folder = Path(root) / "ThreeBPA"
        names = [f"train_{train_set}", *(f"test_{name}" for name in TEST_SETS)]
        members = [f"dataset_3BPA/{name}.xyz" for name in names]
        if file is None:
            stored = cached(folder, train_set, lambda: _downloaded(members, folder))
        else:
            with unpacked(file, members) as paths:
                stored = StructureDataset(*concatenate(list(_read(paths))), validated=True)
        super().__init__(stored, f"3BPA {train_set}")
        self.train_set = train_set
        fold = self.get_property("fold")
        self.pools = PublishedSplit((fold == 0).nonzero().flatten(), fold.nonzero().flatten())

    @classmethod
    def published(cls) -> list[dict]:
        train = [{"file": f"train_{name}", "meaning": text} for name, text in TRAIN_SETS.items()]
        return train + [{"file": f"test_{name}", "meaning": m} for name, m in TEST_SETS.items()]

    def parts(self) -> list[dict]:
        names = [f"train_{self.train_set}", *(f"test_{name}" for name in TEST_SETS)]
        counts = self.get_property("fold").bincount(minlength=len(names)).tolist()
        return [{"file": n, "structures": k} for n, k in zip(names, counts, strict=True)]


def _downloaded(members: Sequence[str], folder: Path) -> Iterator[StructureDataset]:
    return _read(extract(fetch(SOURCE.files["archive"], folder), members, folder))


def _read(paths: Sequence[Path]) -> Iterator[StructureDataset]:
    """The structures of each file, in eV and Å, without the box that is none."""
    for number, path in enumerate(paths):
        frames = AtomsFile(path, drop=("dihedrals",))
        structures, sizes = frames.materialize()
        for label in ("energy", "forces"):
            if label not in structures:
                raise InputError(f"{path.name}: has no {label}; it is no file of 3BPA")
        for field in ("cell", "pbc"):
            structures.pop(field, None)
        structures.fold = torch.full((len(sizes),), number)
        yield StructureDataset(structures, sizes, path.name)

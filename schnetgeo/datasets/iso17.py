"""ISO17: dynamics of 129 isomers of C7O2H10, known and unknown ones apart."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.datasets.archive import extract, unpacked
from schnetgeo.datasets.ase_database import Row, rows
from schnetgeo.datasets.atoms_file import concatenate
from schnetgeo.datasets.published import PublishedSplit, cached
from schnetgeo.datasets.published_dataset import PublishedDataset, ShellOption
from schnetgeo.datasets.source import File, Source, fetch
from schnetgeo.errors import InputError

COMPOSITION = [1] * 10 + [6] * 7 + [8] * 2
ENERGY, FORCES = "total_energy", "atomic_forces"  # eV and eV/Å
VALIDATION = "validation_ids.txt"
_MEMBERS = "iso17/"  # in the archive
_BLOCK = 8192  # structures that are read at once


class Fold(NamedTuple):
    """What is published of one fold."""

    structures: int | None  # as counted by others; the authors state none
    meaning: str


FOLDS = {
    "reference": Fold(404_000, "80 % of the steps of 80 % of the trajectories"),
    "reference_eq": Fold(None, "the isomers of reference in equilibrium"),
    "test_within": Fold(101_000, "the other 20 % of the steps of these trajectories"),
    "test_other": Fold(130_000, "the other 20 % of the trajectories, all steps"),
    "test_eq": Fold(None, "the isomers of test_other in equilibrium"),
}
# kcal/mol and kcal/mol/Å, of the mean predictor, by the SchNet paper
PAPER_MEAN_PREDICTOR = {"test_within": (14.89, 19.56), "test_other": (15.54, 19.15)}
SOURCE = Source(
    name="ISO17",
    files={
        "archive": File(
            "iso17.tar.gz",
            "https://www.quantum-machine.org/datasets/iso17.tar.gz",
            (
                "https://paddle-org.bj.bcebos.com/paddlematerials/datasets/ISO17/iso17.tar.gz",
                "http://quantum-machine.org/datasets/iso17.tar.gz",
                "http://www.quantum-machine.org/datasets/iso17.tar.gz",
            ),
        )
    },
    license="none stated; a public benchmark, to be cited",
    citation="Schütt et al., Advances in Neural Information Processing Systems 30, 992 (2017); "
    "Schütt et al., Nat. Commun. 8, 13890 (2017)",
    doi="10.48550/arXiv.1706.08566",
    url="http://quantum-machine.org/datasets/",
)


class ISO17(PublishedDataset):
    """Energies (eV) and forces (eV/Å) of 19-atom isomers, PBE+vdW-TS.

    The files are in eV and eV/Å already; the errors of the papers are in kcal/mol. Each structure
    says as `fold` which of `FOLDS` it is of. With "reference" among the folds, `pools` are its
    structures to train on, those of `validation_ids.txt` to validate on, and the other folds to
    test on; without, there are none.

    Args:
        root: folder that keeps the downloaded files, and stores of folds that open at once.
        fold: one or several of `FOLDS`.
        file: the archive (iso17.tar.gz), or a folder with its files, to read instead of
            downloading.
        check_counts: refuse a fold with another number of structures than others have counted.

    Raises:
        InputError: for an unknown fold, a file that cannot be had or read, a structure of another
            composition or without labels, an unexpected number of structures, or ids to validate
            on that do not exist.

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566.
    """

    source = SOURCE
    options = (ShellOption("fold", "fold", "reference and test_within unless given", True),)
    all_parts = {"fold": tuple(FOLDS)}

    def __init__(
        self,
        root: str | os.PathLike = "data",
        fold: str | Sequence[str] = ("reference", "test_within"),
        file: str | os.PathLike | None = None,
        check_counts: bool = True,
    ):
        folds = [fold] if isinstance(fold, str) else list(fold)
        unknown = [name for name in folds if name not in FOLDS]
        if unknown or not folds or len(set(folds)) < len(folds):
            raise InputError(
                f"fold {fold!r} of ISO17 must name one or several of {', '.join(FOLDS)}, each once"
            )
        folder, names = Path(root) / "ISO17", _names(folds)
        if file is None:
            blocks = partial(_downloaded, folder, folds, check_counts)
            self._take_folds(cached(folder, "+".join(folds), blocks), folds, check_counts)
            ids = _from_archive([VALIDATION], folder) if VALIDATION in names else []
            self._hold_out(ids)
        elif Path(file).is_dir():
            self._read(folds, [Path(file, name) for name in names], check_counts)
        else:
            with unpacked(file, [_MEMBERS + name for name in names]) as paths:
                self._read(folds, paths, check_counts)

    def _read(self, folds: list[str], paths: list[Path], check_counts: bool) -> None:
        """Read files into memory."""
        structures, sizes = concatenate(list(_read_folds(paths, folds)))
        stored = StructureDataset(structures, sizes, validated=True)
        self._take_folds(stored, folds, check_counts)
        self._hold_out(paths[len(folds) :])

    def _take_folds(self, stored: StructureDataset, folds: list[str], check_counts: bool) -> None:
        super().__init__(stored, f"ISO17 {'+'.join(folds)}")
        fold_of = self.get_property("fold")
        number = fold_of.bincount(minlength=len(FOLDS)).tolist()
        self.counts = {name: number[list(FOLDS).index(name)] for name in folds}
        if check_counts:
            _check_counts(self.counts)

    def _hold_out(self, ids: list[Path]) -> None:
        if ids:
            validation = _read_ids(ids[0], self.counts["reference"])
            self.pools = _pools(self.get_property("fold"), validation)

    @classmethod
    def published(cls) -> list[dict]:
        return [{"fold": name, **fold._asdict()} for name, fold in FOLDS.items()]

    def parts(self) -> list[dict]:
        return [
            {"fold": name, "structures": count, "meaning": FOLDS[name].meaning}
            for name, count in self.counts.items()
        ]


class MeanErrors(NamedTuple):
    """Errors of a predictor of one energy and no forces; eV and eV/Å."""

    energy_mae: float
    energy_rmse: float
    force_mae: float
    force_rmse: float


def mean_predictor_errors(dataset: StructureDataset, energy: float) -> MeanErrors:
    """What predicting one `energy` (eV, such as the mean of "reference") and no forces costs.

    mean |E − energy|, its root mean square, and the same of the force components. The paper's
    values are in `PAPER_MEAN_PREDICTOR`: the cheapest test that units and folds are right.
    """
    off, forces = dataset.get_property("energy") - energy, dataset.get_property("forces").double()
    return MeanErrors(
        float(off.abs().mean()),
        float(off.square().mean().sqrt()),
        float(forces.abs().mean()),
        float(forces.square().mean().sqrt()),
    )


def _names(folds: list[str]) -> list[str]:
    return [f"{fold}.db" for fold in folds] + ([VALIDATION] if "reference" in folds else [])


def _downloaded(folder: Path, folds: list[str], check_counts: bool) -> Iterator[StructureDataset]:
    counts = dict.fromkeys(folds, 0)
    for block in _read_folds(_from_archive(_names(folds), folder), folds):
        counts[list(FOLDS)[int(block.packed.fold[0])]] += len(block)
        yield block
    if check_counts:  # before the store is there
        _check_counts(counts)


def _from_archive(names: list[str], folder: Path) -> list[Path]:
    """Members of the archive, which is fetched unless they are there already."""
    paths = [folder / name for name in names]
    if all(path.exists() for path in paths):
        return paths
    return extract(fetch(SOURCE.files["archive"], folder), [_MEMBERS + n for n in names], folder)


def _read_folds(paths: list[Path], folds: list[str]) -> Iterator[StructureDataset]:
    for path, fold in zip(paths[: len(folds)], folds, strict=True):
        all_rows = rows(path)
        while block := list(islice(all_rows, _BLOCK)):
            yield _packed(path, block, list(FOLDS).index(fold))


def _packed(path: Path, block: list[Row], fold: int) -> StructureDataset:
    energies, forces = zip(*(_labels(path, row) for row in block), strict=True)
    structures = Structure(
        z=torch.from_numpy(np.concatenate([row.numbers for row in block]).astype(np.int64)),
        pos=torch.from_numpy(np.concatenate([row.positions for row in block])),
        energy=torch.tensor(energies, dtype=torch.float64),
        forces=torch.from_numpy(np.concatenate(forces)),
        fold=torch.full((len(block),), fold),
    )
    return StructureDataset(structures, torch.full((len(block),), len(COMPOSITION)), path.name)


def _labels(path: Path, row: Row) -> tuple[float, np.ndarray]:
    if sorted(row.numbers.tolist()) != COMPOSITION:
        raise InputError(f"{path}, row {row.id}: is not an isomer of C7O2H10; it is another file")
    energy = _numbers(path, row, ENERGY, ())
    return float(energy), _numbers(path, row, FORCES, row.positions.shape)


def _numbers(path: Path, row: Row, name: str, shape: tuple[int, ...]) -> np.ndarray:
    value = row.get(name)
    if value is None:
        raise InputError(f"{path}, row {row.id}: has no {name!r}; get a fresh copy")
    try:
        numbers = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):  # text, or lists of different lengths
        raise InputError(
            f"{path}, row {row.id}: {name} must be numbers, got {value!r:.50}; get a fresh copy"
        ) from None
    if numbers.size == 1 and not shape:
        return numbers.reshape(())
    if numbers.shape != shape:
        raise InputError(
            f"{path}, row {row.id}: {name} must have shape {shape}, got {numbers.shape}"
        )
    return numbers


def _check_counts(counts: dict[str, int]) -> None:
    for name, count in counts.items():
        if FOLDS[name].structures not in (None, count):
            raise InputError(
                f"fold {name} of ISO17 has {count} structures, where {FOLDS[name].structures} are "
                "known; get a fresh copy, or pass check_counts=False to use it as it is"
            )


def _read_ids(path: Path, size: int) -> Tensor:
    """Rows of the reference fold, counted from 0; the file counts from 1."""
    try:
        ids = np.loadtxt(path).ravel().astype(np.int64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); get a fresh copy") from None
    outside = ids[(ids < 1) | (ids > size)]
    if outside.size:
        raise InputError(
            f"{path}: row {outside[0]} does not exist, fold reference has 1 to {size}; get a fresh "
            "copy"
        )
    return torch.from_numpy(np.unique(ids) - 1)


def _pools(fold: Tensor, validation: Tensor) -> PublishedSplit:
    reference = (fold == list(FOLDS).index("reference")).nonzero().flatten()
    held_out = torch.zeros(reference.numel(), dtype=torch.bool)
    held_out[validation] = True
    test = (fold != list(FOLDS).index("reference")).nonzero().flatten()
    return PublishedSplit(reference[~held_out], test, reference[held_out])

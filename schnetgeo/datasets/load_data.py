"""One call from the name of a data set to batches."""

from inspect import signature
from typing import NamedTuple

from torch.utils.data import DataLoader

from schnetgeo.data.loader import ordered_loader, shuffled_loader
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.atoms_file import AtomsFile
from schnetgeo.datasets.published import sample_split
from schnetgeo.datasets.sets import SETS, set_by_name
from schnetgeo.errors import InputError


class DataLoaders(NamedTuple):
    """Batches for the three purposes; only the first is shuffled."""

    train: DataLoader
    val: DataLoader
    test: DataLoader


def open_dataset(name: str, **options) -> StructureDataset:
    """The data set of this name; options are those of its class.

    Raises:
        InputError: for an unknown name or option; lists the known ones.
    """
    kind = set_by_name(name, (AtomsFile, *SETS))
    known = signature(kind).parameters
    unknown = sorted(options.keys() - known.keys())
    if unknown:
        raise InputError(f"{name} has no option {unknown[0]!r}; known: {', '.join(known)}")
    return kind(**options)


def load_data(
    name: str,
    *,
    num_train: int,
    num_val: int,
    num_test: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    **options,
) -> DataLoaders:
    """Training, validation and test batches of a data set.

        train, val, test = load_data("MD17", molecule="aspirin", num_train=1000, num_val=50)

    Structures are drawn at random, within the authors' own split where there is one: the folds and
    validation ids of ISO17, the test frames of coupled-cluster MD17, `split=1` … 5 of RevisedMD17.

    Args:
        name: of the class: "QM9", "MD17", "AtomsFile" and the others of docs/data_sets.md.
        num_train: structures to train on.
        num_val: structures to validate on.
        num_test: structures to test on; `None` is all the rest, or all that are meant for it.
        batch_size: structures per batch.
        seed: of the split and of the order of training batches.
        **options: of the data set's class, such as molecule="aspirin" or target="gap".

    Raises:
        InputError: for an unknown data set or option, fewer structures than asked for, or more to
            train on than the authors of revised MD17 allow.
    """
    dataset = open_dataset(name, **options)
    split = sample_split(dataset, num_train, num_val, num_test, seed)
    return DataLoaders(
        shuffled_loader(dataset[split.train], batch_size, seed),
        ordered_loader(dataset[split.val], batch_size),
        ordered_loader(dataset[split.test], batch_size),
    )

"""Options of the shell for structures: files with their units, data sets by name, splits."""

from collections.abc import Iterator
from pathlib import Path

import torch
from jsonargparse import Namespace

from schnetgeo.cli.parser import Parser
from schnetgeo.data.dataset_labels import with_labels
from schnetgeo.data.file_units import check_effect
from schnetgeo.data.further_labels import label_readers
from schnetgeo.data.labels import KINDS, Keys
from schnetgeo.data.make_split import make_split
from schnetgeo.data.merge import Remarks
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split
from schnetgeo.data.stated_units import Units
from schnetgeo.data.store import OnDiskDataset
from schnetgeo.datasets.atoms_file import AtomsFile, iter_structures
from schnetgeo.datasets.load_data import open_dataset
from schnetgeo.datasets.published import PublishedSplit, check_max_train, sample_split
from schnetgeo.datasets.rmd17 import SPLITS
from schnetgeo.errors import InputError

DEFAULT_ROOT = "data"
UNITS = (
    "format", "energy_key", "forces_key", "stress_key", "virial_key",
    "energy_unit", "force_unit", "stress_unit", "length_unit", "labels", "drop",
)  # fmt: skip
OPTION_NAMES = ("molecule", "target", "fold", "root")
# by data set, options and what its class calls them
DATASET_OPTIONS = {
    "QM9": {"target": "target", "root": "root"},
    "MD17": {"molecule": "molecule", "root": "root"},
    "RevisedMD17": {"molecule": "molecule", "root": "root"},
    "ISO17": {"fold": "fold", "root": "root"},
    "Demo": {"molecule": "part"},
}


def add_units(parser: Parser) -> None:
    """The options that say what a file does not."""
    parser.add_argument("--format", type=str | None, help="extxyz, npz, db, or one of ASE's")
    parser.add_argument("--energy_key", type=str | None, help="name of the energy in the file")
    parser.add_argument(
        "--forces_key", type=str | None, help="of the forces; --forces-key=-NAME: of the gradient"
    )
    parser.add_argument(
        "--stress_key", type=str | None, help="of the stress, tensile positive; =-NAME: the other"
    )
    parser.add_argument(
        "--virial_key", type=str | None, help="of the virial, -volume times the stress"
    )
    parser.add_argument("--energy_unit", type=str | None, help="such as eV, kcal/mol, Hartree")
    parser.add_argument("--force_unit", type=str | None, help="such as eV/Angstrom")
    parser.add_argument("--stress_unit", type=str | None, help="such as eV/Angstrom^3, GPa")
    parser.add_argument("--length_unit", type=str | None, help="Angstrom, Bohr or nm")
    parser.add_argument(
        "--labels", type=str, nargs="+", default=[],
        help="further labels as target, target=name, target:unit or target=name:unit, such as "
        "dipole=mu:Debye",
    )  # fmt: skip
    parser.add_argument("--drop", type=str, nargs="+", default=[], help="fields to leave out")


def read_files(files: list[str], options: Namespace) -> StructureDataset:
    """The structures of a store or of several files, with the keys and units that were given."""
    if len(files) == 1 and Path(files[0]).is_dir():
        return with_labels(_store(files[0], options), label_readers(options.labels))
    return AtomsFile(files, **_names(options))


def read_to_split(options: Namespace) -> tuple[StructureDataset, str]:
    """The structures of --data, --val-data and --test-data, and how to split them.

    Where a part has files of its own, its structures are drawn from these alone.
    """
    parts = options.data, options.val_data, options.test_data
    if not (options.val_data or options.test_data):
        return read_files(options.data, options), options.split or "random"
    if options.split:
        raise InputError("--split has no effect beside --val-data or --test-data; leave one out")
    dataset = AtomsFile([file for files in parts for file in files], **_names(options))
    counts, pools, first = list(dataset.counts), [], 0
    for files in parts:
        number = sum(counts[: len(files)])
        counts = counts[len(files) :]
        pools.append(torch.arange(first, first + number))
        first += number
    train, val, test = pools
    dataset.pools = PublishedSplit(train, test, val if options.val_data else None)
    return dataset, "files"


def read_blocks(
    files: list[str], options: Namespace, remarks: Remarks
) -> Iterator[StructureDataset]:
    """The same structures, as many at a time as there are in a block of their file."""
    (keys, units), used = _keys_and_units(options), set()
    for file in files:
        if Path(file).is_dir():
            for part in _store(file, options).iter_chunks():
                yield with_labels(part, keys.further)
        else:
            yield from iter_structures(
                file, options.format, keys, units, options.drop, remarks, used
            )
    check_effect(", ".join(files), units, used)


def _store(path: str, options: Namespace) -> OnDiskDataset:
    options_in_use = [name for name in UNITS if options[name] and name != "labels"]
    if options_in_use:
        option = "--" + options_in_use[0].replace("_", "-")
        raise InputError(f"{path}: a store is in eV and Å as it is; leave {option} away")
    return OnDiskDataset(path)


def _names(options: Namespace) -> dict:
    return {name: options[name] for name in UNITS} | {"drop": tuple(options.drop)}


def _keys_and_units(options: Namespace) -> tuple[Keys, Units]:
    return (
        Keys(*(options[f"{name}_key"] for name in KINDS), label_readers(options.labels)),
        Units(*(options[f"{name}_unit"] for name in Units._fields)),
    )


def add_dataset_options(parser: Parser) -> None:
    """The options that choose a part of a data set."""
    parser.add_argument(
        "--molecule", type=str | None, help="of MD17 and RevisedMD17; of Demo ethanol or molecules"
    )
    parser.add_argument("--target", type=str | None, help="of QM9, an energy; U0 unless given")
    parser.add_argument(
        "--fold", type=str, nargs="+", help="of ISO17; reference and test_within unless given"
    )
    parser.add_argument("--root", type=str, default=DEFAULT_ROOT, help="folder for downloads")


def open_dataset_from_options(options: Namespace, **more) -> StructureDataset:
    """The data set that the options name; `more` are further arguments of its class."""
    arguments = dataset_arguments(options)
    if options.data:
        more["file"] = _at_hand(options)
    return open_dataset(options.dataset, **arguments, **more)


def _at_hand(options: Namespace) -> str | list[str]:
    """The files of --data as the class of the data set takes them: one, of QM9 several."""
    if options.dataset == "Demo":
        raise InputError("--data has no effect on Demo, which ships with the package; leave it out")
    if options.dataset != "QM9" and len(options.data) > 1:
        raise InputError(
            f"--data names {len(options.data)} files, but {options.dataset} is read from one; name "
            "that"
        )
    return options.data if options.dataset == "QM9" else options.data[0]


def dataset_arguments(options: Namespace) -> dict[str, str | list[str]]:
    """What the class of the data set is given; an `InputError` for an option it does not take."""
    takes = DATASET_OPTIONS.get(options.dataset)
    if takes is None:
        raise InputError(
            f"unknown data set {options.dataset!r}; known: {', '.join(DATASET_OPTIONS)}"
        )
    values = dataset_options(options)
    unused = values.keys() - takes.keys()
    if unused:
        raise InputError(
            f"--{min(unused)} has no effect on {options.dataset}; leave it away, or choose another "
            "--dataset"
        )
    return {takes[name]: value for name, value in values.items()}


def dataset_options(options: Namespace) -> dict[str, str | list[str]]:
    """The options of `add_dataset_options` that differ from the default."""
    return {
        name: options[name] for name in OPTION_NAMES if options[name] not in (None, DEFAULT_ROOT)
    }


def open_to_split(options: Namespace) -> tuple[StructureDataset, str]:
    """The data set that the options name, and how to split it: as published where that exists.

    The published splits of revised MD17 are numbers, the first one unless `options.split` says
    another; others are called "published".
    """
    how = options.split
    if options.dataset != "RevisedMD17":
        dataset = open_dataset_from_options(options)
        return dataset, how or ("random" if _pools(dataset) is None else "published")
    single = options.data and Path(options.data[0]).suffix == ".npz"  # without the split lists
    how = how or ("random" if single else str(SPLITS[0]))
    number = int(how) if how in map(str, SPLITS) else None
    return open_dataset_from_options(options, split=number), how


def split_from_options(how: str, dataset: StructureDataset, *numbers: int | None) -> Split:
    """The split that a word from the shell asks for: those of `make_split`, and published ones.

    Args:
        how: "published", a number of revised MD17, or as for `make_split`.
        dataset: what to split.
        *numbers: structures to train on, to validate on and to test on, and the seed.

    Raises:
        InputError: for what is not published, and as `make_split` and `sample_split`.
    """
    if how not in ("published", "files") and not how.isdecimal():
        split = make_split(how, dataset, *numbers)
        check_max_train(dataset, len(split.train))
        return split
    if _pools(dataset) is None:
        raise InputError(
            f"{dataset.name}: has no published split {how!r}; give random, blocks, group:NAME or "
            "a file"
        )
    return sample_split(dataset, *numbers)


def _pools(dataset: StructureDataset):
    return getattr(dataset, "pools", None)

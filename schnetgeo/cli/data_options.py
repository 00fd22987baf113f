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
from schnetgeo.datasets.published_dataset import ShellOption
from schnetgeo.datasets.sets import SETS, set_by_name
from schnetgeo.errors import InputError

DEFAULT_ROOT = "data"
UNITS = (
    "format", "energy_key", "forces_key", "stress_key", "virial_key",
    "energy_unit", "force_unit", "stress_unit", "length_unit", "labels", "drop",
)  # fmt: skip
SET_NAMES = ", ".join(kind.__name__ for kind in SETS)
OPTION_NAMES = (*dict.fromkeys(option.name for kind in SETS for option in kind.options), "root")


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
    for name in OPTION_NAMES[:-1]:
        options = {k.__name__: o for k in SETS for o in k.options if o.name == name}
        several = any(option.several for option in options.values())
        form = {"type": str, "nargs": "+"} if several else {"type": str | None}
        parser.add_argument(f"--{name}", help=_help(options), **form)
    parser.add_argument("--root", type=str, default=DEFAULT_ROOT, help="folder for downloads")


def _help(options: dict[str, ShellOption]) -> str:
    """Which data sets take an option, and what it is for them."""
    sets: dict[str, list[str]] = {}
    for name, option in options.items():
        sets.setdefault(option.help, []).append(name)
    parts = [
        f"of {', '.join(names)}" + (f": {text}" if text else "") for text, names in sets.items()
    ]
    return "; ".join(parts)


def open_dataset_from_options(options: Namespace, **more) -> StructureDataset:
    """The data set that the options name; `more` are further arguments of its class."""
    arguments = dataset_arguments(options)
    if options.data:
        more["file"] = _at_hand(options)
    return open_dataset(options.dataset, **arguments, **more)


def _at_hand(options: Namespace) -> str | list[str]:
    """The files of --data as the class of the data set takes them: one, or several."""
    kind = set_by_name(options.dataset)
    if kind.source is None:
        raise InputError(
            f"--data has no effect on {options.dataset}, which ships with the package; leave it out"
        )
    if not kind.takes_several_files and len(options.data) > 1:
        raise InputError(
            f"--data names {len(options.data)} files, but {options.dataset} is read from one; name "
            "that"
        )
    return options.data if kind.takes_several_files else options.data[0]


def dataset_arguments(options: Namespace) -> dict[str, str | list[str]]:
    """What the class of the data set is given; an `InputError` for an option it does not take."""
    takes = set_by_name(options.dataset).arguments()
    values = dataset_options(options)
    unused = values.keys() - takes.keys()
    if unused:
        option = "--" + min(unused).replace("_", "-")
        raise InputError(
            f"{option} has no effect on {options.dataset}; leave it away, or choose another "
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

    Published splits of which there are several are numbers; others are called "published".
    """
    how, kind = options.split, set_by_name(options.dataset)
    if not kind.splits:
        dataset = open_dataset_from_options(options)
        return dataset, how or ("random" if dataset.pools is None else "published")
    how = how or kind.default_split(options.data or [])
    number = int(how) if how in map(str, kind.splits) else None
    return open_dataset_from_options(options, split=number), how


def split_from_options(how: str, dataset: StructureDataset, *numbers: int | None) -> Split:
    """The split that a word from the shell asks for: those of `make_split`, and published ones.

    Args:
        how: "published", the number of a published split, or as for `make_split`.
        dataset: what to split.
        *numbers: structures to train on, to validate on and to test on, and the seed.

    Raises:
        InputError: for what is not published, and as `make_split` and `sample_split`.
    """
    if how not in ("published", "files") and not how.isdecimal():
        split = make_split(how, dataset, *numbers)
        check_max_train(dataset, len(split.train))
        return split
    if dataset.pools is None:
        raise InputError(
            f"{dataset.name}: has no published split {how!r}; give random, blocks, group:NAME or "
            "a file"
        )
    return sample_split(dataset, *numbers)

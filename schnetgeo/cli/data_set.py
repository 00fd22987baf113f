"""The data set or the files that the commands of schnetgeo data are asked about."""

from inspect import signature
from pathlib import Path

from jsonargparse import Namespace

from schnetgeo.cli.data_options import (
    DEFAULT_ROOT,
    SET_NAMES,
    UNITS,
    add_dataset_options,
    add_units,
    dataset_arguments,
    dataset_options,
    open_dataset_from_options,
    read_files,
)
from schnetgeo.cli.parser import Parser
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.published_dataset import PublishedDataset
from schnetgeo.datasets.sets import SETS, set_by_name
from schnetgeo.datasets.source import Source
from schnetgeo.errors import InputError

DOWNLOADED = tuple(kind for kind in SETS if kind.source is not None)


def add_structures(parser: Parser) -> None:
    """The options that say which structures, and where to write what is printed of them."""
    parser.add_argument("files", type=str, nargs="*", help="stores, or anything ASE reads, .npz")
    parser.add_argument("--dataset", type=str | None, help=f"one of {SET_NAMES}")
    add_dataset_options(parser)
    parser.add_argument("--data", type=str, nargs="+", help="files of --dataset at hand")
    add_units(parser)
    parser.add_argument("--json", type=str | None, help="write the same there")


def open_structures(options: Namespace) -> StructureDataset | None:
    if bool(options.files) == bool(options.dataset):
        raise InputError("give either files or --dataset")
    names = [*dataset_options(options), "data"] if options.files else UNITS
    unused = [name for name in names if options[name]]
    if unused:
        option, beside = min(unused).replace("_", "-"), "files" if options.files else "--dataset"
        raise InputError(f"--{option} has no effect beside {beside}; leave one of them away")
    if options.files:
        return read_files(options.files, options)
    dataset_arguments(options)
    kind = set_by_name(options.dataset)
    if not options.data and kind.source is not None and not _is_downloaded(kind, options):
        return None
    arguments = dataset_arguments(options)
    everything = {k: list(v) for k, v in kind.all_parts.items() if k not in arguments}
    return open_dataset_from_options(options, **everything)


def open_at_hand(options: Namespace) -> StructureDataset:
    dataset = open_structures(options)
    if dataset is None:
        raise InputError(
            f"{options.dataset} is not in {options.root}; fetch it with {download_command(options)}"
        )
    return dataset


def _is_downloaded(kind: type[PublishedDataset], options: Namespace) -> bool:
    """Whether the files of the molecule or of the set, or what was made of them, are at hand."""
    source, parameters = kind.source, signature(kind).parameters
    usual = parameters["molecule"].default if "molecule" in parameters else None
    folder, molecule = Path(options.root) / source.name, options.molecule or usual
    if options.molecule and options.molecule not in source.files:
        raise unknown_molecule(source, options.molecule)
    if molecule in source.files:
        names = f"{molecule}.store", source.files[molecule].name
        return any((folder / name).exists() for name in names)
    return any(folder.glob("[!.]*"))


def unknown_molecule(source: Source, molecule: str) -> InputError:
    known = ", ".join(source.files)
    return InputError(f"{source.name} has no molecule {molecule!r:.50}; known: {known}")


def download_command(options: Namespace) -> str:
    molecule = f" --molecule {options.molecule}" if options.molecule else ""
    root = "" if options.root == DEFAULT_ROOT else f" --root {options.root}"
    return f"schnetgeo data download --dataset {options.dataset}{molecule}{root}"

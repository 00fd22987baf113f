"""The command schnetgeo data convert."""

from collections.abc import Iterable
from pathlib import Path

from jsonargparse import Namespace

from schnetgeo.cli.data_options import add_units, read_blocks
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.data.merge import Remarks
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.write import write_dataset


def make_parser() -> Parser:
    parser = Parser(description="Write structures to a file of another kind, or to a store.")
    parser.add_argument("files", type=str, nargs="+", help="stores, or anything ASE reads, .npz")
    add_units(parser)
    parser.add_argument("--out", type=str, required=True, help=".extxyz, .db, .npz or .store")
    flag(parser, "--append", "add to the store that is there")
    return parser


def run(options: Namespace) -> None:
    count, remarks = 0, Remarks()

    def parts() -> Iterable[StructureDataset]:
        nonlocal count
        for part in read_blocks(options.files, options, remarks):
            count += len(part)
            yield part

    write_dataset(options.out, parts(), options.append, remarks)
    remarks.say(", ".join(Path(file).name for file in options.files), count)
    print(f"{options.out}: {count:,} structures")

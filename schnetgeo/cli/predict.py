"""The command schnetgeo predict."""

import os
import re
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt
from tqdm import tqdm

from schnetgeo.cli.data_options import UNITS, add_units, read_blocks
from schnetgeo.cli.model_input import add_model_file, read_model
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.data.merge import Remarks
from schnetgeo.simulate.predict import files_digest, predict_to_file


def make_parser() -> Parser:
    parser = Parser(description="Predictions for all structures of files, as extended XYZ.")
    add_model_file(parser)
    parser.add_argument("files", type=str, nargs="+", help="stores, or anything ASE reads, .npz")
    add_units(parser)
    parser.add_argument(
        "-o", "--out", type=str, required=True,
        help="file to write; the same command goes on where one that was killed stopped",
    )  # fmt: skip
    flag(parser, "--no_forces", "energies alone, which is faster")
    flag(parser, "--stress", "stress too, for structures with a cell")
    flag(parser, "--energies", "energies of the atoms too")
    parser.add_argument(
        "--uncertainty", type=Literal["energy", "forces"] | None,
        help="standard deviations of energies, or of forces too, of a model that was calibrated",
    )  # fmt: skip
    parser.add_argument(
        "--shard", type=shard_of, default=(1, 1),
        help="as 2/8: the second of eight parts of the input, one for each machine",
    )  # fmt: skip
    parser.add_argument("--max_atoms", type=PositiveInt, default=4096, help="atoms in a batch")
    flag(parser, "--overwrite", "begin anew where --out is there")
    return parser


def run(options: Namespace) -> None:
    source = read_model(options)
    inputs = {name: options[name] for name in UNITS}
    job = {
        "model": files_digest([options.model, *options.members]),
        "files": files_digest(options.files),
        "options": repr((inputs, options.precision)),
    }
    wanted = {
        "forces": False if options.no_forces else None,
        "stress": options.stress,
        "energies": options.energies,
        **source.uncertainty(options.uncertainty),
    }
    remarks, count = Remarks(), 0
    counts = predict_to_file(
        source.potential, read_blocks(options.files, options, remarks), options.out, job=job,
        shard=options.shard, max_atoms=options.max_atoms, overwrite=options.overwrite, **wanted,
    )  # fmt: skip
    with tqdm(unit=" structures", disable=None) as bar:
        for number in counts:
            count += number
            bar.update(number)
    remarks.say(", ".join(Path(file).name for file in options.files), count)
    print(f"{options.out}: {count:,} structures, {os.path.getsize(options.out):,} bytes")


def shard_of(text: str | tuple[int, int]) -> tuple[int, int]:
    """(2, 8) of 2/8; jsonargparse asks again with what it got."""
    if isinstance(text, tuple):
        return text
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ArgumentTypeError(f"shard must be i/n with i from 1 to n, as 2/8, got {text!r:.50}")
    return int(match[1]), int(match[2])

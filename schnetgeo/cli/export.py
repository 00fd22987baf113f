"""The command schnetgeo export."""

from pathlib import Path
from typing import Literal

import torch
from jsonargparse import Namespace

from schnetgeo.cli.parser import Parser, flag
from schnetgeo.cli.run_options import class_of
from schnetgeo.errors import InputError
from schnetgeo.potential import load


def make_parser() -> Parser:
    parser = Parser(description="Write a model as a file for other programs.")
    parser.add_argument("model", type=str, help="model file")
    parser.add_argument(
        "--to", type=Literal["metatomic", "pt2"], required=True,
        help="metatomic, for ASE, i-PI, LAMMPS, GROMACS and more, or pt2, compiled for processors "
        "like this one and run without Python",
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=str, required=True, help="file to write, .pt or .pt2")
    parser.add_argument(
        "--tolerance", type=float, default=1e-5, help="largest relative error of tabulated filters"
    )
    parser.add_argument(
        "--precision", type=Literal["32", "64"] | None,
        help="32 or 64, of the numbers; that of the model file unless given",
    )  # fmt: skip
    parser.add_argument(
        "--classes", type=class_of, nargs="*", default=[], help="your own, of the model"
    )
    flag(parser, "--overwrite", "replace a file that is there")
    return parser


def run(options: Namespace) -> None:
    from schnetgeo.export import to_metatomic, to_pt2

    out = Path(options.out)
    if out.exists() and not options.overwrite:
        raise InputError(f"{out}: exists; choose another name, or give --overwrite")
    potential = load(options.model, tuple(options.classes))
    if options.precision:
        potential.to(torch.float64 if options.precision == "64" else torch.float32)
    write = {"metatomic": to_metatomic, "pt2": to_pt2}[options.to]
    facts = write(potential, out, options.tolerance)
    for name, text in facts.items():
        print(f"{name.replace('_', ' '):14}{text}")
    print(out)

"""The command schnetgeo scan."""

import numpy as np
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt

from schnetgeo.cli.atoms_input import add_structure, output_folder, read_one
from schnetgeo.cli.model_input import add_model_file, add_tolerance, make_calculator
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.simulate.scan import scan
from schnetgeo.simulate.structures import write_frames
from schnetgeo.viz.simulation import draw_curves


def make_parser() -> Parser:
    parser = Parser(description="Energies along a bond, an angle or a dihedral.")
    add_model_file(parser)
    add_structure(parser)
    add_tolerance(parser)
    parser.add_argument(
        "--atoms", type=int, nargs="+", required=True,
        help="two of a bond, three of an angle or four of a dihedral, the first atom is 0",
    )  # fmt: skip
    parser.add_argument("--first", type=float, required=True, help="first value, Å or °")
    parser.add_argument("--last", type=float, required=True, help="last value")
    parser.add_argument("--num", type=PositiveInt, default=25, help="values")
    flag(parser, "--relaxed", "relax all else at each value")
    parser.add_argument("--fmax", type=PositiveFloat, default=0.02, help="largest force, eV/Å")
    parser.add_argument("-o", "--out", type=str, default="runs/scan", help="folder for results")
    flag(parser, "--overwrite", "write over results that --out holds")
    return parser


def run(options: Namespace) -> None:
    names = "scan.extxyz", "scan.png"
    folder = output_folder(options.out, options.overwrite, *names)
    values = np.linspace(options.first, options.last, options.num)
    done = scan(
        read_one(options, "scan"), make_calculator(options), options.atoms, values,
        relaxed=options.relaxed, fmax=options.fmax,
    )  # fmt: skip
    for frame, value in zip(done.frames, values, strict=True):
        frame.info = {"value": float(value)}
    write_frames(folder / names[0], done.frames)
    lowest = done.energies - done.energies.min()
    draw_curves(folder / names[1], values, {"energy − lowest, eV": lowest}, done.label, "o")
    print(
        f"{done.label}: lowest at {values[lowest.argmin()]:.4g}, highest {lowest.max():.4f} eV "
        f"above it at {values[lowest.argmax()]:.4g}"
    )
    print(*(folder / name for name in names))

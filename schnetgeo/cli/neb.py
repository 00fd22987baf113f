"""The command schnetgeo neb."""

from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt

from schnetgeo.cli.atoms_input import output_folder, read_atoms
from schnetgeo.cli.data_options import add_units
from schnetgeo.cli.model_input import add_model_file, add_tolerance, make_calculator
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.errors import InputError
from schnetgeo.simulate.path import neb
from schnetgeo.simulate.relaxation import relax
from schnetgeo.simulate.structures import write_frames
from schnetgeo.viz.simulation import draw_curves


def make_parser() -> Parser:
    parser = Parser(description="Minimum energy path between the ends of a file.")
    add_model_file(parser)
    parser.add_argument("file", type=str, help="start and end: first and last structure")
    add_units(parser)
    add_tolerance(parser)
    parser.add_argument("--images", type=PositiveInt, default=7, help="between the two")
    parser.add_argument("--fmax", type=PositiveFloat, default=0.05, help="largest force, eV/Å")
    parser.add_argument("--max_steps", type=PositiveInt, default=500, help="of the optimizer")
    flag(parser, "--as_they_are", "do not relax the ends before")
    parser.add_argument("-o", "--out", type=str, default="runs/neb", help="folder for results")
    flag(parser, "--overwrite", "write over results that --out holds")
    return parser


def run(options: Namespace) -> None:
    names = "path.extxyz", "path.png"
    folder = output_folder(options.out, options.overwrite, *names)
    options.index = ":"
    atoms = read_atoms(options)
    if len(atoms) < 2:
        raise InputError(f"{options.file}: neb needs two structures, its start and its end")
    calculator, ends = make_calculator(options), [atoms[0], atoms[-1]]
    if not options.as_they_are:
        ends = [relax(end, calculator, fmax=options.fmax / 2).atoms for end in ends]
    done = neb(
        *ends, calculator, images=options.images, fmax=options.fmax, max_steps=options.max_steps
    )
    write_frames(folder / names[0], done.frames)
    curves = {"energy − first, eV": done.energies - done.energies[0]}
    draw_curves(folder / names[1], done.distance, curves, "distance along the path, Å", "o")
    state = "relaxed" if done.converged else f"not relaxed after {options.max_steps} steps"
    print(f"{state}: barrier {done.barrier:.4f} eV, end {done.energies[-1] - done.energies[0]:.4f}")
    print(*(folder / name for name in names))

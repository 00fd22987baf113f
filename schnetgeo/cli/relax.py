"""The command schnetgeo relax."""

from typing import Literal

import numpy as np
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt

from schnetgeo.cli.atoms_input import add_structure, output_folder, read_one
from schnetgeo.cli.model_input import add_model_file, add_tolerance, make_calculator
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.simulate.relaxation import relax
from schnetgeo.simulate.structures import write_frames
from schnetgeo.viz.simulation import draw_curves


def make_parser() -> Parser:
    parser = Parser(description="Relax a structure, with its cell if that is wanted.")
    add_model_file(parser)
    add_structure(parser)
    add_tolerance(parser)
    parser.add_argument("--fmax", type=PositiveFloat, default=0.01, help="largest force, eV/Å")
    parser.add_argument("--max_steps", type=PositiveInt, default=500, help="of the optimizer")
    flag(parser, "--cell", "the cell too")
    parser.add_argument("--optimizer", type=Literal["BFGS", "LBFGS", "FIRE"], default="BFGS")
    parser.add_argument("-o", "--out", type=str, default="runs/relax", help="folder for results")
    flag(parser, "--overwrite", "write over results that --out holds")
    return parser


def run(options: Namespace) -> None:
    names = "relaxed.extxyz", "path.extxyz", "path.png"
    folder = output_folder(options.out, options.overwrite, *names)
    atoms = read_one(options, "relax")
    done = relax(
        atoms, make_calculator(options), fmax=options.fmax, max_steps=options.max_steps,
        cell=options.cell, optimizer=options.optimizer,
    )  # fmt: skip
    write_frames(folder / names[0], [done.atoms])
    write_frames(folder / names[1], done.frames)
    energies, forces = done.energies, done.largest_forces
    curves = {"energy − last, eV": energies - energies[-1], "largest force, eV/Å": forces}
    draw_curves(folder / names[2], np.arange(len(energies)), curves, "step")
    state = "relaxed" if done.converged else f"not relaxed after {options.max_steps} steps"
    print(
        f"{state}: {energies[0]:.6f} to {energies[-1]:.6f} eV, largest force {forces[-1]:.4f} "
        f"eV/Å, {len(energies) - 1} steps"
    )
    print(*(folder / name for name in names))

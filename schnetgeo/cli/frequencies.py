"""The command schnetgeo frequencies."""

import json

import numpy as np
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat

from schnetgeo.cli.atoms_input import add_structure, output_folder, read_one
from schnetgeo.cli.model_input import add_model_file, read_model
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.cli.table import table
from schnetgeo.files import atomic_write
from schnetgeo.simulate.frequencies import exact_potential, frequencies
from schnetgeo.simulate.relaxation import relax
from schnetgeo.simulate.structures import write_frames
from schnetgeo.viz.simulation import draw_spectrum


def make_parser() -> Parser:
    parser = Parser(description="Harmonic frequencies, and the infrared spectrum of a dipole.")
    add_model_file(parser)
    add_structure(parser)
    parser.add_argument(
        "--fmax", type=PositiveFloat, default=1e-4, help="largest force of the relaxation, eV/Å"
    )
    flag(parser, "--as_it_is", "do not relax the structure before")
    parser.add_argument("-o", "--out", type=str, default="runs/frequencies", help="folder")
    flag(parser, "--overwrite", "write over results that --out holds")
    return parser


def run(options: Namespace) -> None:
    names = "frequencies.json", "modes.extxyz", "spectrum.png"
    folder = output_folder(options.out, options.overwrite, *names)
    atoms = read_one(options, "frequencies")
    potential = exact_potential(read_model(options).potential)
    if not options.as_it_is:
        atoms = relax(atoms, potential, fmax=options.fmax).atoms
    result = frequencies(atoms, potential)
    bright = result.intensities
    rows = [
        {"mode": k, "cm-1": float(x)} | ({} if bright is None else {"km/mol": float(bright[k])})
        for k, x in enumerate(result.wavenumbers)
    ]
    content = {"modes": rows, "zero_point_energy_eV": result.zero_point_energy,
               "largest_force": result.largest_force}  # fmt: skip
    atomic_write(folder / names[0], json.dumps(content, indent=1).encode())
    write_frames(folder / names[1], _displaced(atoms, result))
    draw_spectrum(folder / names[2], result.wavenumbers, bright)
    print("\n".join(table(rows)))
    print(
        f"zero-point energy {result.zero_point_energy:.4f} eV, largest force "
        f"{result.largest_force:.1e} eV/Å"
    )
    print(*(folder / name for name in names))


def _displaced(atoms, result):
    """The structure once for each mode, with the displacements as a column."""
    for wavenumber, mode in zip(result.wavenumbers, result.modes, strict=True):
        copy = atoms.copy()
        copy.info = {"wavenumber": float(wavenumber)}
        copy.set_array("mode", np.ascontiguousarray(mode))
        yield copy

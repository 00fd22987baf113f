"""The same model in every program that runs it: energies, forces, and time of a step.

`python -m benchmarks.programs --out DIR`, in an environment with `pip install schnetgeo[programs]`.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt

import schnetgeo as sg
from benchmarks.accuracy.runner import run_command
from benchmarks.machine import hardware, versions
from benchmarks.programs import engines, runs
from benchmarks.programs.structures import structures, untrained
from schnetgeo._version import __version__
from schnetgeo.cli.parser import Parser
from schnetgeo.errors import InputError
from schnetgeo.export import to_metatomic, to_pt2
from schnetgeo.export.metatomic import torch_functions
from schnetgeo.files import atomic_write
from schnetgeo.potential import Potential, load

PROGRAMS: dict[str, Callable] = {
    "Python, tabulated": runs.python,
    "ASE": runs.ase,
    "pt2": runs.pt2,
    "metatomic in ASE": runs.metatomic_in_ase,
    "metatomic in i-PI": engines.ipi_metatomic,
    "i-PI, our driver": engines.ipi,
    "i-PI, 32 beads, each": engines.ipi_beads,
    "LAMMPS": engines.lammps,
    "OpenMM": engines.openmm,
    "openmm-ml": engines.openmm_ml,
}
MODELS = {
    "SchNet": lambda: sg.SchNet(channels=64, num_layers=3, num_basis=50, cutoff=5.0),
    "PaiNN": lambda: sg.PaiNN(channels=64, num_layers=3, num_basis=20, cutoff=5.0),
}


def main(arguments: list[str] | None = None) -> None:
    """Run all programs; an `InputError` becomes one line and exit code 2."""
    run_command(_parser(), _run, arguments)


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.programs", description=__doc__)
    parser.add_argument("--version", action="version", version=f"schnetgeo {__version__}")
    parser.add_argument(
        "--models", type=str, nargs="+", default=["SchNet"],
        help=f"of {', '.join(MODELS)} with random weights, or model files of H, C, O and Si",
    )  # fmt: skip
    parser.add_argument(
        "--precision", type=Literal["32", "64"], nargs="+", default=["64", "32"], help="of models"
    )
    parser.add_argument(
        "--programs", type=str, nargs="+", default=list(PROGRAMS), help="those to run"
    )
    parser.add_argument("--steps", type=PositiveInt, default=200, help="that are timed")
    parser.add_argument(
        "--tolerance", type=PositiveFloat, default=1e-8, help="of tables; at least 1e-5 for 32 bits"
    )
    parser.add_argument("--out", type=str, default="runs/programs", help="folder for results.json")
    return parser


def _run(options: Namespace) -> None:
    unknown = [name for name in options.programs if name not in PROGRAMS]
    if unknown:
        raise InputError(f"--programs: unknown {unknown[0]!r}; known: {', '.join(PROGRAMS)}")
    torch.set_num_threads(1)
    rows = []
    for name in options.models:
        torch.manual_seed(0)
        potential = untrained(MODELS[name]()) if name in MODELS else load(name).double()
        for precision in options.precision:
            rows += _rows(name, potential, precision, options)
    out = Path(options.out, "results.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, json.dumps(rows, indent=1).encode())
    print(out)


def _rows(name: str, potential: Potential, precision: str, options: Namespace) -> list[dict]:
    """A row for each program and structure, printed as it comes."""
    exact = Potential(
        potential.model, potential.atomic_references.values, float(potential.scale), "exact"
    ).eval()
    atoms = structures()
    expected = {key: exact(sg.from_ase(each)) for key, each in atoms.items()}
    expected = {k: (float(p.energy), p.forces.numpy().copy()) for k, p in expected.items()}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files, missing = _files(potential, precision, options, Path(folder))
        print(f"{name}, {precision} bits, tables to {files.fast.error:.0e}; errors against exact "
              "filters in 64 bits, and time of a step")  # fmt: skip
        for program in options.programs:
            for key, each in atoms.items():
                row = {"model": name, "bits": int(precision), "program": program, "structure": key}
                row |= {"steps": options.steps, "hardware": hardware(), "versions": versions()}
                row |= _measured(program, each, files, missing, options.steps, *expected[key])
                rows.append(row)
                print(_line(row))
    potential.double()
    return rows


def _files(
    potential: Potential, precision: str, options: Namespace, folder: Path
) -> tuple[runs.Files, dict[str, str]]:
    """The model in all formats, and why some are not there."""
    potential = potential.float() if precision == "32" else potential.double()
    tolerance = max(options.tolerance, 1e-5) if precision == "32" else options.tolerance
    missing, paths = {}, {}
    potential.save(folder / "model.safetensors")
    for write, file in ((to_metatomic, "model.pt"), (to_pt2, "model.pt2")):
        used = {"model.pt": "metatomic", "model.pt2": "pt2"}[file]
        if not any(used in program for program in options.programs):
            continue
        try:
            with torch_functions():
                write(potential, folder / file, tolerance)
            paths[used] = folder / file
        except InputError as error:
            missing[used] = str(error)
    fast = potential.tabulate(tolerance)
    files = runs.Files(
        folder, folder / "model.safetensors", tolerance, fast,
        paths.get("metatomic"), paths.get("pt2"),
    )  # fmt: skip
    return files, missing


def _measured(program, atoms, files, missing, steps, energy, forces) -> dict:
    """Errors and time of one program, or why there are none."""
    for part, reason in missing.items():
        if part in program:
            return {"skipped": reason}
    try:
        run = PROGRAMS[program](atoms, files, steps)
    except (ImportError, InputError) as error:
        return {"skipped": str(error)}
    return {
        "energy_error_eV": run.energy - energy,
        "energy_error_per_atom_eV": (run.energy - energy) / len(atoms),
        "force_error_eV_A": float(np.abs(run.forces - forces).max()),
        "microseconds": 1e6 * run.seconds,
    }


def _line(row: dict) -> str:
    text = f"{row['program']:22}{row['structure']:20}"
    if "skipped" in row:
        return f"{text}skipped: {row['skipped']}"
    return (
        f"{text}{row['energy_error_eV']:9.1e} eV{row['force_error_eV_A']:8.1e} eV/Å"
        f"{row['microseconds']:7.0f} µs"
    )


if __name__ == "__main__":
    main()

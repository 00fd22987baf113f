"""The command schnetgeo md."""

from jsonargparse import Namespace

from schnetgeo.cli.atoms_input import add_structure, read_one
from schnetgeo.cli.model_input import add_model_file, add_tolerance, make_calculator
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.simulate.dynamics import DynamicsConfig, run_dynamics
from schnetgeo.viz.simulation import draw_curves


def make_parser() -> Parser:
    parser = Parser(description="Molecular dynamics, which can be interrupted.")
    add_model_file(parser)
    add_structure(parser)
    add_tolerance(parser)
    parser.add_class_arguments(DynamicsConfig, None, help="the dynamics")
    parser.add_argument("-o", "--out", type=str, default="runs/md", help="folder for results")
    flag(parser, "--resume", "go on with the run that --out holds")
    flag(parser, "--overwrite", "begin anew where --out holds a run")
    return parser


def run(options: Namespace) -> None:
    config = DynamicsConfig(**{name: options[name] for name in DynamicsConfig.__dataclass_fields__})
    done = run_dynamics(
        read_one(options, "md"), make_calculator(options), config, options.out,
        resume=options.resume, overwrite=options.overwrite,
    )  # fmt: skip
    log = done.log
    curves = {
        "total energy − first, eV": log["total_eV"] - log["total_eV"][0],
        "temperature, K": log["temperature_K"],
    }
    if config.ensemble == "npt":
        curves["volume, Å³"] = log["volume_A3"]
    picture = f"{options.out}/log.png"
    draw_curves(picture, log["time_ps"], curves, "time, ps")
    print(f"{options.out}: {log['time_ps'][-1]:g} ps, ended by {done.stopped_by}; {picture}")

"""Molecular dynamics that can be interrupted: constant energy, temperature or pressure."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet

from schnetgeo.errors import InputError
from schnetgeo.files import file_lock
from schnetgeo.simulate.dynamics_files import DynamicsFiles
from schnetgeo.simulate.structures import Model, frame, needs_cell, with_model


@dataclass(frozen=True)
class DynamicsConfig:
    """Options of `run_dynamics`.

    Args:
        ensemble: "nve", constant energy; "nvt", Langevin; "npt", Langevin with a cell whose volume
            changes and whose shape does not.
        steps: in all.
        timestep: fs.
        temperature: K, of the start and of the thermostat.
        pressure: GPa, of "npt".
        friction_time: fs, of the thermostat.
        pressure_time: fs, of the barostat.
        every: steps between two frames, lines of the log, and looks at the temperature.
        max_temperature: K above which the run ends; `None` is ten times the temperature, at least
            3,000 K.
        seed: of velocities and noise.
    """

    ensemble: Literal["nve", "nvt", "npt"] = "nve"
    steps: int = 10_000
    timestep: float = 0.5
    temperature: float = 300.0
    pressure: float = 0.0
    friction_time: float = 100.0
    pressure_time: float = 1000.0
    every: int = 10
    max_temperature: float | None = None
    seed: int = 0

    def __post_init__(self):
        if self.ensemble not in ("nve", "nvt", "npt"):
            raise InputError(f"ensemble: {self.ensemble!r:.40} is unknown; known: nve, nvt, npt")
        for name in ("steps", "timestep", "friction_time", "pressure_time", "every"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}")
        if not self.temperature >= 0:
            raise InputError(f"temperature must be 0 K or more, got {self.temperature}")

    @property
    def hottest(self) -> float:
        """The temperature above which a run ends, K."""
        if self.max_temperature is not None:
            return self.max_temperature
        return max(3000.0, 10 * self.temperature)


class Dynamics(NamedTuple):
    """What a run of dynamics gave."""

    atoms: Atoms  # the last good frame
    log: dict[str, np.ndarray]  # columns of log.csv
    stopped_by: str  # "steps", or why it ended before


def run_dynamics(
    atoms: Atoms,
    model: Model,
    config: DynamicsConfig,
    out: str | os.PathLike,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Dynamics:
    """Run dynamics into a folder: trajectory.extxyz, log.csv, state.npz.

    Positions, momenta, cell, noise and thermostat are written after each frame, so that a run that
    was killed goes on bit for bit, with no frame lost or written twice.

    Args:
        atoms: start; its momenta are those of the start where it has some.
        model: model file, potential or calculator.
        config: everything else.
        out: folder.
        resume: go on with the run that the folder holds.
        overwrite: begin anew where the folder holds a run.

    Raises:
        InputError: as `Calculator`, for a folder with another run, for "npt" without a cell, and
            where files cannot be written.
    """
    if config.ensemble == "npt":
        needs_cell(atoms, "constant pressure")
    moving = with_model(atoms, model)
    moving.set_constraint(atoms.constraints)
    Path(out).mkdir(parents=True, exist_ok=True)
    with file_lock(Path(out) / "run"):
        files = DynamicsFiles(Path(out), _job(atoms, config))
        state = files.begin(resume, overwrite)
        rng = np.random.default_rng(config.seed)
        if state is None:
            _start(moving, config, rng)
        else:
            moving.set_cell(state["cell"])
            moving.positions = state["positions"]
            moving.set_momenta(state["momenta"], apply_constraint=False)
            rng.bit_generator.state = files.rng_state(state)
        dynamics, first = _integrator(moving, config, rng), 0
        if state is not None:
            first = int(state["step"])
            for name in _internals(dynamics):
                setattr(dynamics, name, _scalar(state[name]))
        last, why = None, "steps"
        for step, reason in _looks(dynamics, moving, config, first, state is None):
            if reason is not None:
                why = reason
                break
            last = frame(moving)
            internals = {name: getattr(dynamics, name) for name in _internals(dynamics)}
            files.append(step, step * config.timestep / 1000, moving, last, rng, internals)
        return Dynamics(files.last_frame(last), files.log(), why)


def _job(atoms: Atoms, config: DynamicsConfig) -> dict:
    """What a run depends on; more steps are no other run."""
    options = {k: v for k, v in asdict(config).items() if k != "steps"}
    return {"options": options, "numbers": atoms.numbers.tolist()}


def _start(atoms: Atoms, config: DynamicsConfig, rng: np.random.Generator) -> None:
    if not atoms.has("momenta") and config.temperature > 0:
        MaxwellBoltzmannDistribution(atoms, temperature_K=config.temperature, rng=rng)
        Stationary(atoms)


def _integrator(
    atoms: Atoms, config: DynamicsConfig, rng: np.random.Generator
) -> MolecularDynamics:
    step = config.timestep * units.fs
    if config.ensemble == "nve":
        return VelocityVerlet(atoms, step)
    options = {"temperature_K": config.temperature, "T_tau": config.friction_time * units.fs}
    if config.ensemble == "npt":
        options |= {
            "externalstress": -config.pressure * units.GPa,
            "hydrostatic": True,
            "P_tau": config.pressure_time * units.fs,
        }
    with warnings.catch_warnings():  # of the mass of the barostat, which follows from its time
        warnings.simplefilter("ignore")
        return LangevinBAOAB(atoms, step, rng=rng, **options)


def _internals(dynamics: MolecularDynamics) -> list[str]:
    """Names of what an integrator remembers from one step to the next."""
    names = ("p_eps", "gamma_mod", "force_eps", "accel")
    return [name for name in names if name in vars(dynamics)]


def _scalar(value: np.ndarray) -> np.ndarray | float:
    return value if value.ndim else float(value)


def _looks(
    dynamics: MolecularDynamics, atoms: Atoms, config: DynamicsConfig, step: int, is_new: bool
) -> Iterator[tuple[int, str | None]]:
    """Steps after which to look, and why to stop there."""
    dynamics.nsteps = step
    if is_new:
        yield step, _failure(atoms, config)
    while step < config.steps:
        number = min(config.every, config.steps - step)
        try:
            dynamics.run(number)
        except InputError as error:  # no neighbors of atoms that are nowhere
            yield step, f"positions were lost: {error}"
            return
        step += number
        yield step, _failure(atoms, config)


def _failure(atoms: Atoms, config: DynamicsConfig) -> str | None:
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_momenta()).all()):
        return "positions or momenta are not finite"
    temperature = atoms.get_temperature()
    if temperature > config.hottest:
        return f"the temperature is {temperature:.0f} K, above {config.hottest:g} K"
    return None

"""The folder of a run of dynamics: trajectory, log, and the state to go on from."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
from ase import Atoms, units

from schnetgeo.datasets.ase_file import read_extxyz
from schnetgeo.datasets.write import frame_text
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write, write_error

COLUMNS = (
    "step", "time_ps", "potential_eV", "kinetic_eV", "total_eV", "temperature_K", "volume_A3",
    "pressure_GPa",
)  # fmt: skip


class DynamicsFiles:
    """Trajectory and log that grow together with the state.

    Args:
        folder: that is there.
        job: what the run depends on, as JSON.
    """

    def __init__(self, folder: Path, job: dict):
        self.trajectory, self._log = folder / "trajectory.extxyz", folder / "log.csv"
        self._state, self._job = folder / "state.npz", json.dumps(job, sort_keys=True)
        self._lengths = {}

    def begin(self, resume: bool, overwrite: bool) -> dict[str, np.ndarray] | None:
        """The state to go on from, or `None` for a new run, whose files are empty.

        Raises:
            InputError: for a run that is there without either, or another one.
        """
        is_there = self._state.exists()
        if resume and is_there:
            return self._read()
        if is_there and not overwrite:
            raise InputError(
                f"{self._state.parent}: holds a run already; pass --resume to go on with it, or "
                "--overwrite"
            )
        self._state.unlink(missing_ok=True)
        self._cut({self.trajectory: 0, self._log: 0})
        self._add(self._log, ",".join(COLUMNS) + "\n")
        return None

    def append(
        self,
        step: int,
        time: float,
        atoms: Atoms,
        frame: Atoms,
        rng: np.random.Generator,
        internals: dict[str, np.ndarray | float],
    ) -> None:
        """Write one frame, its line of the log, and the state after it."""
        frame.info = {"step": step, "time_ps": time}
        self._add(self.trajectory, frame_text(frame))
        row = io.StringIO()
        csv.writer(row, lineterminator="\n").writerow(_row(step, time, atoms))
        self._add(self._log, row.getvalue())
        state = {
            "step": step, "positions": atoms.positions, "momenta": atoms.get_momenta(),
            "cell": atoms.cell.array, "rng": np.array(json.dumps(rng.bit_generator.state)),
            "lengths": np.array([self._lengths[self.trajectory], self._lengths[self._log]]),
            "job": np.array(self._job), **internals,
        }  # fmt: skip
        buffer = io.BytesIO()
        np.savez(buffer, **state)
        atomic_write(self._state, buffer.getvalue())

    @staticmethod
    def rng_state(state: dict[str, np.ndarray]) -> dict:
        """Of the noise, as NumPy takes it."""
        return json.loads(str(state["rng"]))

    def log(self) -> dict[str, np.ndarray]:
        """Columns of log.csv, (n,) each."""
        rows = np.genfromtxt(self._log, delimiter=",", skip_header=1, ndmin=2)
        return dict(zip(COLUMNS, rows.reshape(-1, len(COLUMNS)).T, strict=True))

    def last_frame(self, frame: Atoms | None) -> Atoms:
        """The last frame of this run, or of the file where there was none."""
        if frame is not None:
            return frame
        frames = list(read_extxyz(self.trajectory)) if self._lengths[self.trajectory] else []
        if not frames:
            raise InputError("the start is hotter than max_temperature; start from another one")
        return frames[-1]

    def _read(self) -> dict[str, np.ndarray]:
        try:
            with np.load(self._state, allow_pickle=False) as file:
                state = {name: file[name] for name in file.files}
            job, (frames, log) = str(state["job"]), state["lengths"].tolist()
        except Exception as error:  # numpy fails in many ways on what is none
            raise InputError(
                f"{self._state}: cannot be read ({error}); pass --overwrite to begin anew"
            ) from None
        if job != self._job:
            raise InputError(
                f"{self._state}: is of a run with other options or atoms; name another folder, or "
                "pass --overwrite"
            )
        self._cut({self.trajectory: frames, self._log: log})
        return state

    def _cut(self, lengths: dict[Path, int]) -> None:
        self._lengths = lengths
        for path, length in lengths.items():
            try:
                path.touch()
                if path.stat().st_size < length:
                    raise InputError(f"{path}: is shorter than was written; pass --overwrite")
                os.truncate(path, length)
            except OSError as error:
                raise write_error(path, error) from None

    def _add(self, path: Path, text: str) -> None:
        content = text.encode()
        try:
            with path.open("r+b") as file:
                file.seek(self._lengths[path])
                file.write(content)
        except OSError as error:
            raise write_error(path, error) from None
        self._lengths[path] += len(content)


def _row(step: int, time: float, atoms: Atoms) -> list:
    potential, kinetic = atoms.get_potential_energy(), atoms.get_kinetic_energy()
    volume = pressure = float("nan")
    if atoms.cell.rank == 3:
        volume = atoms.get_volume()
    if "stress" in atoms.calc.results:
        stress = atoms.get_stress(include_ideal_gas=True)
        pressure = -float(stress[:3].mean()) / units.GPa
    return [step, time, potential, kinetic, potential + kinetic, atoms.get_temperature(), volume,
            pressure]  # fmt: skip

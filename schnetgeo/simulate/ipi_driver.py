"""A driver of i-PI, which imports this file by its path; needs the package ipi.

    <ffdirect name="schnetgeo">
      <pes>custom</pes> <pes_path>…/schnetgeo/simulate/ipi_driver.py</pes_path>
      <batch_size>32</batch_size>
      <parameters>{template: start.xyz, model: model.safetensors}</parameters>
    </ffdirect>

`python -m schnetgeo.simulate.ipi_driver` prints the path.
"""

import json

import ase.io
import numpy as np
import torch
from ipi.pes.dummy import Dummy_driver
from ipi.utils.units import unit_to_internal, unit_to_user

from schnetgeo.data.structure import Structure
from schnetgeo.potential import load
from schnetgeo.simulate.step import Result, Step, check_known

__DRIVER_NAME__ = "schnetgeo"
__DRIVER_CLASS__ = "Driver"


class Driver(Dummy_driver):
    """Energy, forces and virial of single structures, and of batches of beads in one call.

    Args:
        template: a structure with the elements in i-PI's order, and `pbc`; anything ASE reads.
        model: model file.
        tolerance: of the tables of its filters.
    """

    def __init__(self, template: str, model: str, tolerance: float = 1e-5, *args, **kwargs):
        self.template, self.model, self.tolerance = template, model, tolerance
        super().__init__(*args, **kwargs)

    def check_parameters(self) -> None:
        """Read both files; called by i-PI."""
        atoms = ase.io.read(self.template)
        self._potential = load(self.model).tabulate(float(self.tolerance))
        check_known(self._potential, atoms.numbers)
        self._numbers, self._pbc = torch.from_numpy(atoms.numbers).long(), atoms.pbc
        self._step = Step(self._potential, atoms.numbers, atoms.pbc)

    def compute_structure(self, cell: np.ndarray, pos: np.ndarray) -> tuple:
        """Results for a cell, columns, and positions (N, 3), all in atomic units."""
        cell, pos = (unit_to_user("length", "angstrom", x) for x in (cell, pos))
        return _in_atomic_units(self._step(pos, cell.T))

    def compute(self, cell, pos) -> tuple | list[tuple]:
        """Results of a structure, or of each of a list of them."""
        if not isinstance(cell, list):
            return self.compute_structure(cell, pos)
        cells, positions = (
            torch.from_numpy(unit_to_user("length", "angstrom", np.stack(x))) for x in (cell, pos)
        )
        batch = _batch(self._numbers, positions, cells.mT.contiguous(), self._pbc)
        prediction = self._potential(batch, stress=True)
        forces = prediction.forces.double().reshape(positions.shape).numpy()
        volume = torch.linalg.det(cells).abs()[:, None, None]
        virial = (-prediction.stress.double() * volume).numpy()
        results = zip(prediction.energy.tolist(), forces, virial, strict=True)
        return [_in_atomic_units(Result(*result)) for result in results]


def _batch(z: torch.Tensor, pos: torch.Tensor, cell: torch.Tensor, pbc: np.ndarray) -> Structure:
    """B structures of the same atoms, from positions (B, N, 3) and cells (B, 3, 3), Å."""
    count, size = len(pos), len(z)
    return Structure(
        z=z.repeat(count),
        pos=pos.reshape(-1, 3),
        cell=cell,
        pbc=torch.from_numpy(pbc.copy()).expand(count, 3).contiguous(),
        batch=torch.arange(count).repeat_interleave(size),
        ptr=torch.arange(count + 1) * size,
    )


def _in_atomic_units(result: Result) -> tuple:
    """As i-PI takes it: energy, forces, virial, and further values as JSON."""
    return (
        unit_to_internal("energy", "electronvolt", result.energy),
        unit_to_internal("force", "ev/ang", result.forces),
        unit_to_internal("energy", "electronvolt", result.virial.T),
        json.dumps({}),
    )


if __name__ == "__main__":
    print(__file__)

"""Checks of a model of partial charges."""

import torch
from torch_geometric.data import Batch

from schnetgeo.nn.readout import Readout, sum_atoms
from schnetgeo.testing.checks import assert_close, check
from schnetgeo.testing.structures import changed
from schnetgeo.testing.subject import PotentialSubject


class ChargeChecks(PotentialSubject):
    @check("Add (Q − Σ q) / n to each of them, as ChargeReadout does")
    def charges_add_up(self) -> None:
        number = len(self.molecules)
        charge = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64).repeat(number)
        repeated = [data for data in self.molecules for _ in range(3)]
        pairs = zip(repeated, charge.split(1), strict=True)
        batch = Batch.from_data_list([changed(data, charge=q) for data, q in pairs])
        prediction = self.module(batch)
        for target, readout in zip(self.targets, self.readouts, strict=True):
            if is_charge(readout):
                total = sum_atoms(prediction[target.name], batch.batch, batch.num_graphs)
                what = f"the {target.name} do not add up to the charge of the structure"
                assert_close(total, charge, what)


def is_charge(readout: Readout) -> bool:
    """Whether a readout gives charges of atoms."""
    return readout.per == "atom" and readout.unit == "e"

"""How much models of several seeds differ where none of them knows better."""

import numpy as np
import torch

from benchmarks.physics.findings import Checked, Finding
from schnetgeo.data.packed import StructureDataset
from schnetgeo.potential import Potential
from schnetgeo.train import predict
from schnetgeo.units import KCAL_MOL

_MOST = 200  # structures


def spread(potentials: list[Potential], data: StructureDataset) -> Checked:
    """Standard deviations over the models, of each energy and force component, on average."""
    some = data[np.unique(np.linspace(0, len(data) - 1, min(len(data), _MOST)).astype(int))]
    predicted = [predict(potential, some) for potential in potentials]
    energy = torch.stack([p.energy for p in predicted]).std(0).mean()
    forces = torch.stack([p.forces.double() for p in predicted]).std(0).mean()
    done = f"standard deviation over {len(potentials)} models, mean of {len(some)} structures"
    return Checked(
        [
            Finding("spread", "energy", float(energy) / KCAL_MOL, "kcal/mol", done),
            Finding("spread", "forces", float(forces) / KCAL_MOL, "kcal/mol/Å", done),
        ]
    )

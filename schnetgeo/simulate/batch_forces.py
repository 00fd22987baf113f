"""Energies and forces of many structures whose atoms move, with edges that are kept."""

import copy

from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo.data.graph import with_edges
from schnetgeo.data.packed import StructureDataset
from schnetgeo.potential import Potential
from schnetgeo.simulate.model_source import AnyPotential, ModelSource
from schnetgeo.simulate.verlet_list import check_skin


class BatchForces:
    """Energies (B,) and forces (N, 3) of structures in one batch, whose cells stay.

    Edges reach `skin` beyond the cutoff, and are built anew when an atom has moved by more than
    half of that.

    Args:
        potential: what predicts.
        dataset: the structures.
        indices: which of them.
        skin: Å.
    """

    def __init__(
        self, potential: AnyPotential, dataset: StructureDataset, indices: Tensor, skin: float
    ):
        source = ModelSource.of(potential)
        self.potential, self._cutoff = source.potential, source.cutoff
        self.skin, self.evaluations = check_skin(skin), 0
        device = potential.scale.device if isinstance(potential, Potential) else "cpu"
        batch = dataset.batch(indices).to(device)
        self._data = batch
        self.pos: Float[Tensor, "N 3"] = batch.pos.double().clone()
        self.index: Int[Tensor, N] = batch.batch
        self.number = len(indices)
        self._reference: Tensor | None = None

    def __call__(self, pos: Float[Tensor, "N 3"]) -> tuple[Tensor, Tensor]:
        """Energies, eV, and forces, eV/Å, in float64."""
        data = copy.copy(self._listed(pos))
        data.pos = pos
        self.evaluations += 1
        prediction = self.potential(data, forces=True)
        return prediction.energy, prediction.forces.double()

    def per_structure(self, values: Float[Tensor, "N ..."]) -> Float[Tensor, "B"]:
        """Σ over atoms and components of each structure."""
        rows = values.reshape(len(values), -1).sum(1)
        return rows.new_zeros(self.number).index_add(0, self.index, rows)

    def largest(self, values: Float[Tensor, "N 3"]) -> Float[Tensor, "B"]:
        """Length of the longest vector of each structure."""
        norms = values.norm(dim=1)
        return norms.new_zeros(self.number).scatter_reduce(0, self.index, norms, "amax")

    def _listed(self, pos: Tensor):
        if self._cutoff is None:
            return self._data
        if self._reference is None or self._moved(pos) > self.skin / 2:
            data = copy.copy(self._data)
            data.pos = pos
            self._list, self._reference = with_edges(data, self._cutoff + self.skin), pos.clone()
        return self._list

    def _moved(self, pos: Tensor) -> float:
        return float((pos - self._reference).norm(dim=1).max())

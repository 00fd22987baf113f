"""The integral of a gradient along a line of structures."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Batch, Data

from schnetgeo.errors import InputError
from schnetgeo.explain.energy import atoms_of, prepared
from schnetgeo.geometry import edge_vectors
from schnetgeo.potential import Potential

_NODES = 12  # of Gauss and Legendre, in each part of the path
_HALVINGS = 30
_MAX_EDGES = 20_000  # at once


@dataclass(frozen=True)
class Path:
    """A straight line of the positions of one molecule, from t = 0 to t = 1."""

    potential: Potential  # from `exact`
    data: Data
    start: Float[Tensor, "N 3"]
    end: Float[Tensor, "N 3"]

    def integrate(self, parts: np.ndarray, tolerance: float) -> tuple[Float[Tensor, "N N"], float]:
        """∫ ∂E/∂r⃗_e · dr⃗_e of each edge, target by source, and E(1) − E(0).

        A part is halved until its integral is the change of the energy.

        Args:
            parts: (P, 2), from where to where, of the whole line.
            tolerance: of each part, eV.
        """
        difference = float(np.subtract(*self._energies(np.array([1.0, 0.0]))))
        total = torch.zeros(len(self.end), len(self.end), dtype=torch.float64)
        for _ in range(_HALVINGS):
            values = self._values(parts)
            change = np.diff(self._energies(parts.ravel()).reshape(-1, 2), axis=1)[:, 0]
            is_right = np.abs(values.sum((1, 2)).numpy() - change) < tolerance
            total += values[torch.from_numpy(is_right)].sum(0)
            parts = parts[~is_right]
            if not len(parts):
                return total, difference
            middle = parts.mean(1)
            left, right = (np.stack(p, 1) for p in ((parts[:, 0], middle), (middle, parts[:, 1])))
            parts = np.concatenate([left, right])
        raise InputError(
            "integrated_gradients: the integral is not the change of the energy, which jumps at "
            f"{float(parts[0, 0]):.6f} of the path, as with StepCutoff; take a smooth cutoff_fn"
        )

    def _values(self, parts: np.ndarray) -> Float[Tensor, "P N N"]:
        """The integral over each part, by Gauss and Legendre."""
        x, w = np.polynomial.legendre.leggauss(_NODES)
        half, number = np.diff(parts, axis=1) / 2, len(self.end)
        times, weights = parts.mean(1, keepdims=True) + half * x, torch.from_numpy(half * w).ravel()
        part = torch.arange(len(parts)).repeat_interleave(_NODES)
        total, step = torch.zeros(len(parts) * number * number).double(), self.end - self.start
        for points, batch in self._batches(times.ravel()):
            gradient = gradient_of(self.potential, batch, edge_vectors(batch))
            source, target = batch.edge_index
            point = batch.batch[target] + points.start
            i, j = target % number, source % number
            along = weights[point] * (gradient * (step[j] - step[i])).sum(1)
            total.index_add_(0, (part[point] * number + i) * number + j, along)
        return total.view(len(parts), number, number)

    def _energies(self, times: np.ndarray) -> np.ndarray:
        """Learned energies without references at these times, eV."""
        batches = (batch for _, batch in self._batches(times))
        values = [atoms_of(self.potential, b, edge_vectors(b))[1] for b in batches]
        return torch.cat(values).numpy()

    def _batches(self, times: np.ndarray) -> Iterator[tuple[range, Data]]:
        """Structures at these times with their edges, as many as fit into one batch."""
        chunk = max(1, _MAX_EDGES // max(1, len(self.end) ** 2))
        for first in range(0, len(times), chunk):
            points = range(first, min(first + chunk, len(times)))
            positions = (self.start + times[k] * (self.end - self.start) for k in points)
            batch = Batch.from_data_list([structure_at(self.data, pos) for pos in positions])
            yield points, prepared(self.potential, batch)


def gradient_of(potential: Potential, data: Data, vectors: Tensor) -> Float[Tensor, "E 3"]:
    """∂E/∂r⃗_e of the edges with these vectors, eV/Å."""
    if not len(vectors):
        return vectors
    with torch.enable_grad():
        vectors = vectors.detach().requires_grad_()
        _, energy = atoms_of(potential, data, vectors)
        return torch.autograd.grad(energy.sum(), vectors)[0]


def structure_at(data: Data, pos: Tensor) -> Data:
    """The same atoms at other positions, without edges."""
    states = {name: data[name] for name in ("charge", "spin") if name in data}
    return type(data)(z=data.z, pos=pos, **states)

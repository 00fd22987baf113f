"""What pairs of atoms contribute, by gradients with respect to their distances."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.explain.energy import exact, prepared
from schnetgeo.explain.path import Path, gradient_of
from schnetgeo.geometry import distances, edge_vectors, num_structures
from schnetgeo.potential import Potential

_TOLERANCE = 5e-7  # eV, of the sum
_OF_PARTS = 3e-8, 1e-9, 1e-10  # of parts of the line, the next where the sum is not reached
_APART = 1.001  # times the cutoff is the shortest distance of atoms that are pulled apart


@dataclass(frozen=True)
class Pairs:
    """Values of pairs of atoms.

    Attributes:
        index: atoms i < j of each pair.
        distance: in Å.
        value: of the pair; see what returned it.
        difference: what the sum should be, where there is such a number.
    """

    index: Int[Tensor, "2 P"]
    distance: Float[Tensor, "P"]
    value: Float[Tensor, "P"]
    difference: float | None = None

    @property
    def total(self) -> float:
        """Sum of the values."""
        return float(self.value.sum())


def pair_gradients(potential: Potential, data: Data) -> Pairs:
    """∂E/∂r_ij in eV/Å: negative where a longer distance would lower the energy.

    For SchNet the energy is a function of distances. For models that see directions it is the part
    of ∂E/∂r⃗_ij along r⃗_ij. A pair is both edges between its atoms; of a periodic structure, all of
    their images within the cutoff.

    Args:
        potential: model whose first target is a sum or mean over atoms.
        data: one structure.
    """
    _check_one(data, "pair_gradients")
    potential = exact(potential)
    data = prepared(potential, data)
    vectors = edge_vectors(data)
    gradient = gradient_of(potential, data, vectors)
    distance = distances(vectors)
    radial = (gradient * vectors).sum(1) / distance
    matrix = torch.zeros(len(data.pos), len(data.pos), dtype=torch.float64)
    source, target = data.edge_index
    matrix.index_put_((target, source), radial, accumulate=True)
    return _as_pairs(matrix, data.pos, None)


def integrated_gradients(
    potential: Potential, data: Data, baseline: Float[Tensor, "N 3"] | None = None
) -> Pairs:
    """∫ ∂E/∂r⃗_ij · dr⃗_ij along a straight line of all positions, in eV, for each pair of atoms.

    The values add up to E(structure) − E(baseline), which is checked to 10⁻⁶ eV. With no baseline
    atoms are pulled apart, all by one factor, until none sees another: then the sum is the energy
    of binding, E − Σ_i E(atom i alone). A model was trained near the end of that path alone.

    Args:
        potential: model whose first target is a sum over atoms.
        data: one molecule.
        baseline: positions in Å where the line starts; `None` is atoms far apart.

    Raises:
        InputError: for a periodic structure, and where the energy jumps, as with StepCutoff.

    Source: Sundararajan, Taly, Yan, ICML 2017, arXiv:1703.01365.
    """
    _check_one(data, "integrated_gradients")
    pbc = data.get("pbc")
    if pbc is not None and bool(pbc.any()):
        raise InputError("integrated_gradients: data must be a molecule, got pbc; set pbc to False")
    potential = exact(potential)
    end = data.pos.detach().double()
    start = _apart(end, potential.model.cutoff) if baseline is None else baseline.detach().double()
    if start.shape != end.shape:
        raise InputError(
            f"baseline must have shape {tuple(end.shape)}, that of the positions, got "
            f"{tuple(start.shape)}"
        )
    path = Path(potential, data, start, end)
    parts = _breakpoints(start, end, potential.model.cutoff)
    for tolerance in _OF_PARTS:
        matrix, difference = path.integrate(np.stack([parts[:-1], parts[1:]], 1), tolerance)
        pairs = _as_pairs(matrix, end, difference)
        if abs(pairs.total - difference) < _TOLERANCE:
            break
    return pairs


def _apart(pos: Float[Tensor, "N 3"], cutoff: float) -> Float[Tensor, "N 3"]:
    if len(pos) < 2:
        return pos
    return pos * max(1.0, _APART * cutoff / float(torch.pdist(pos).min()))


def _breakpoints(start: Tensor, end: Tensor, cutoff: float) -> np.ndarray:
    """Times 0 … 1 at which a pair crosses the cutoff, where derivatives of the energy jump."""
    i, j = torch.triu_indices(len(start), len(start), 1)
    a, d = (start[i] - start[j]).numpy(), ((end - start)[i] - (end - start)[j]).numpy()
    square, half, constant = (d * d).sum(1), (a * d).sum(1), (a * a).sum(1) - cutoff**2
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(half**2 - square * constant)
        times = np.concatenate([(-half - root) / square, (-half + root) / square])
    times = times[np.isfinite(times) & (times > 0) & (times < 1)]
    return np.unique(np.concatenate([[0.0], times, [1.0]]))


def _as_pairs(matrix: Float[Tensor, "N N"], pos: Tensor, difference: float | None) -> Pairs:
    """Both edges of a pair added up, without pairs that no edge joins."""
    i, j = torch.triu_indices(len(pos), len(pos), 1)
    value, distance = matrix[i, j] + matrix[j, i], (pos[i] - pos[j]).norm(dim=1)
    keep = (value != 0).nonzero().flatten()
    return Pairs(torch.stack([i, j])[:, keep], distance[keep], value[keep], difference)


def _check_one(data: Data, name: str) -> None:
    if num_structures(data) != 1:
        raise InputError(f"{name}: data must be one structure, such as batch[0]; take one")

"""Optimizers of many structures at once, each of which goes its own way."""

from collections import deque

import torch
from jaxtyping import Float
from torch import Tensor

from schnetgeo.simulate.batch_forces import BatchForces

MAX_STEP = 0.2  # Å that an atom moves at most


class BatchFIRE:
    """Fast inertial relaxation with a time step, mixing and waiting time for each structure.

    Args:
        forces: of the structures.

    Source: Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), with the parameters of ASE.
    """

    def __init__(self, forces: BatchForces):
        self._of, self._velocity = forces, torch.zeros_like(forces.pos)
        self._step = forces.pos.new_full((forces.number,), 0.1)
        self._mixing = torch.full_like(self._step, 0.1)
        self._uphill = torch.zeros_like(self._step)

    def displacement(
        self, pos: Float[Tensor, "N 3"], force: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N 3"]:
        """What to add to the positions."""
        of, v, index = self._of, self._velocity, self._of.index
        power = of.per_structure(force * v)
        downhill = power > 0
        norms = of.per_structure(v.square()).sqrt() / of.per_structure(force.square()).sqrt()
        mixed = (1 - self._mixing)[index, None] * v
        mixed += (self._mixing * norms.nan_to_num(0.0, 0.0, 0.0))[index, None] * force
        v = torch.where(downhill[index, None], mixed, 0.0)
        faster = downhill & (self._uphill > 5)
        self._step = torch.where(faster, (self._step * 1.1).clamp(max=1.0), self._step)
        self._mixing = torch.where(faster, self._mixing * 0.99, self._mixing)
        self._step = torch.where(downhill, self._step, self._step * 0.5)
        self._mixing = torch.where(downhill, self._mixing, 0.1)
        self._uphill = torch.where(downhill, self._uphill + 1, 0.0)
        self._velocity = v + self._step[index, None] * force
        return limited(of, self._step[index, None] * self._velocity)


class BatchLBFGS:
    """Limited-memory BFGS, with a history of each structure.

    A structure whose last step has no positive curvature forgets it.

    Args:
        forces: of the structures.
        memory: steps that are remembered.

    Source: Nocedal, Math. Comp. 35, 773 (1980), with the first curvature of ASE, 70 eV/Å².
    """

    def __init__(self, forces: BatchForces, memory: int = 30):
        self._of, self._last = forces, None
        self._history: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=memory)

    def displacement(
        self, pos: Float[Tensor, "N 3"], force: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N 3"]:
        """What to add to the positions."""
        of, index = self._of, self._of.index
        if self._last is not None:
            step, change = pos - self._last[0], self._last[1] - force
            curvature = of.per_structure(step * change)
            useful = curvature > 1e-10 * of.per_structure(step.square())
            inverse = torch.where(useful, 1 / torch.where(useful, curvature, 1.0), 0.0)
            self._history.append((step, change, inverse))
        self._last = pos.clone(), force.clone()
        q, weights = force.clone(), []
        for step, change, inverse in reversed(self._history):
            weight = inverse * of.per_structure(step * q)
            q -= weight[index, None] * change
            weights.append(weight)
        q /= 70.0
        for (step, change, inverse), weight in zip(self._history, reversed(weights), strict=True):
            q += (weight - inverse * of.per_structure(change * q))[index, None] * step
        uphill = of.per_structure(q * force) <= 0
        q = torch.where(uphill[index, None], force / 70.0, q)
        return limited(of, q)


def limited(forces: BatchForces, displacement: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """The displacement of each structure, shortened so that no atom moves further than 0.2 Å."""
    longest = forces.largest(displacement).clamp(min=MAX_STEP)
    return displacement * (MAX_STEP / longest)[forces.index, None]

"""Relaxation of many structures in batches."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.simulate.batch_forces import BatchForces
from schnetgeo.simulate.batch_optimizers import BatchFIRE, BatchLBFGS
from schnetgeo.simulate.model_source import AnyPotential
from schnetgeo.simulate.predict import batches_by_atoms

_OPTIMIZERS = {"LBFGS": BatchLBFGS, "FIRE": BatchFIRE}
_PATIENCE = 10  # steps between two looks at how many structures have not ended


class BatchRelaxation(NamedTuple):
    """What a relaxation of B structures of N atoms in all gave, in their order."""

    pos: Float[Tensor, "N 3"]  # Å
    energy: Float[Tensor, "B"]  # eV
    forces: Float[Tensor, "N 3"]  # eV/Å
    converged: Bool[Tensor, "B"]
    steps: Int[Tensor, "B"]


def relax_batch(
    dataset: StructureDataset,
    potential: AnyPotential,
    *,
    fmax: float = 0.01,
    max_steps: int = 500,
    max_atoms: int = 4096,
    skin: float = 0.5,
    optimizer: Literal["FIRE", "LBFGS"] = "FIRE",
) -> BatchRelaxation:
    """Relax many structures, of about as many atoms each in a batch; cells stay.

    Each structure has an optimizer of its own; those that have ended leave the batch once they are
    half of it.

    Args:
        dataset: starts.
        potential: a potential, tabulated or not.
        fmax: largest force at the end, eV/Å.
        max_steps: of each structure.
        max_atoms: in a batch.
        skin: of the edges, Å.
        optimizer: L-BFGS converges less often far from a minimum.

    Raises:
        InputError: as the potential, and for forces that are not finite.
    """
    if optimizer not in _OPTIMIZERS:
        raise InputError(f"optimizer: {optimizer!r:.40} is unknown; known: LBFGS, FIRE")
    sizes = dataset.num_atoms
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    total, number = int(ptr[-1]), len(dataset)
    out = BatchRelaxation(
        torch.zeros(total, 3, dtype=torch.float64), torch.zeros(number, dtype=torch.float64),
        torch.zeros(total, 3, dtype=torch.float64), torch.zeros(number, dtype=torch.bool),
        torch.zeros(number, dtype=torch.long),
    )  # fmt: skip
    for indices in batches_by_atoms(sizes.numpy(), max_atoms):
        active, steps = torch.from_numpy(indices), 0
        pos = None
        while len(active):
            forces = BatchForces(potential, dataset, active, skin)
            if pos is not None:
                forces.pos = pos
            for result in _run(forces, _OPTIMIZERS[optimizer](forces), fmax, max_steps - steps):
                last = result
            _store(out, ptr, active, last, steps)
            steps += last.steps
            stay = ~last.converged if steps < max_steps else torch.zeros_like(last.converged)
            pos = last.pos[stay[forces.index]]
            active = active[stay.cpu()]
    return out


class _State(NamedTuple):
    """Where the structures of a batch are."""

    pos: Tensor
    energy: Tensor
    force: Tensor
    converged: Tensor
    steps: int
    ended: Tensor  # step at which each structure ended


def _run(forces: BatchForces, optimizer, fmax: float, max_steps: int) -> Iterator[_State]:
    """States until half of the structures, or all, have ended."""
    pos, ended = forces.pos.clone(), forces.pos.new_full((forces.number,), -1.0)
    energy, force = forces(pos)
    for step in range(max_steps + 1):
        if not bool(force.isfinite().all()):
            raise InputError("forces are not finite; leave out structures with absurd distances")
        converged = forces.largest(force) < fmax
        ended = torch.where(converged & (ended < 0), float(step), ended)
        yield _State(pos, energy, force, ended >= 0, step, ended)
        over = int((ended < 0).sum())
        if over == 0 or step == max_steps or (step % _PATIENCE == 0 and 2 * over < forces.number):
            return
        moving = (ended < 0)[forces.index, None]
        pos = pos + torch.where(moving, optimizer.displacement(pos, force), 0.0)
        energy, force = forces(pos)


def _store(
    out: BatchRelaxation,
    ptr: Tensor,
    active: Tensor,
    state: _State,
    steps: int,
) -> None:
    """Results of a batch in the order of the data set."""
    sizes = ptr[active + 1] - ptr[active]
    starts = ptr[active] - (sizes.cumsum(0) - sizes)
    rows = torch.arange(int(sizes.sum())) + starts.repeat_interleave(sizes)
    out.pos[rows], out.forces[rows] = state.pos.cpu(), state.force.cpu()
    out.energy[active], out.converged[active] = state.energy.cpu(), state.converged.cpu()
    taken = torch.where(state.ended >= 0, state.ended, float(state.steps)).long().cpu()
    out.steps[active] = steps + taken

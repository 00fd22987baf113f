"""The losses of the papers, by the names of what they train."""

from typing import Literal

from schnetgeo.errors import InputError
from schnetgeo.train.loss import Loss, mae, mse

Task = Literal["energy", "forces", "energy_and_forces"]
TASKS = ("energy", "forces", "energy_and_forces")


def task_losses(
    task: Task, rho: float = 0.01, kind: Literal["mse", "mae"] = "mse"
) -> tuple[Loss, ...]:
    """The losses of the paper: ρ (E − Ê)² + (1/n) Σ_i |F_i − F̂_i|², in eV² (and eV²/Å²).

    The task "energy" has the first term alone with ρ = 1, "forces" the second alone. With
    `kind="mae"` a single task is the mean absolute error instead.

    Args:
        task: one of `TASKS`.
        rho: ρ, Å⁻² by its place in the sum; the paper has 0.01.
        kind: "mse" or "mae".

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566.
    """
    if task not in TASKS:
        raise InputError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
    if kind not in ("mse", "mae"):
        raise InputError(f"unknown loss {kind!r}; known: mse, mae")
    if task == "energy_and_forces":
        if kind == "mae":
            raise InputError("loss 'mae' is for one kind of label; use mse for energy_and_forces")
        return Loss("energy", weight=rho), Loss("forces")
    return (Loss(task, mse if kind == "mse" else mae),)

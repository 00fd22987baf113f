"""The loss of the paper, written out with loops."""

import pytest
import torch
from torch_geometric.data import Batch

from schnetgeo.data import Structure
from schnetgeo.errors import InputError
from schnetgeo.potential import Prediction
from schnetgeo.train import Loss, Objective, mae, task_losses

SIZES = (2, 5, 1)


def batch_and_prediction():
    torch.manual_seed(0)
    batch = Batch.from_data_list(
        [
            Structure(
                z=torch.ones(n, dtype=torch.long),
                pos=torch.randn(n, 3),
                energy=torch.randn(1, dtype=torch.float64),
                forces=torch.randn(n, 3),
            )
            for n in SIZES
        ]
    )
    total = sum(SIZES)
    return batch, Prediction(torch.randn(3, dtype=torch.float64), torch.randn(total, 3), None)


def written_out(batch, prediction, energy_weight, force_weight):
    """ρ (E − Ê)² + (1/n) Σ_i |F_i − F̂_i|², structure by structure and atom by atom."""
    total, first = 0.0, 0
    for b, n in enumerate(SIZES):
        forces = 0.0
        for i in range(first, first + n):
            for k in range(3):
                forces += (float(batch.forces[i, k]) - float(prediction.forces[i, k])) ** 2
        energy = (float(batch.energy[b]) - float(prediction.energy[b])) ** 2
        total += energy_weight * energy + force_weight * forces / n
        first += n
    return total / len(SIZES)


@pytest.mark.parametrize(
    ("task", "rho", "weights"),
    [
        ("energy", 0.3, (1, 0)),
        ("forces", 0.3, (0, 1)),
        ("energy_and_forces", 0.01, (0.01, 1)),
        ("energy_and_forces", 0.3, (0.3, 1)),
    ],
)
def test_loss_is_the_papers(task, rho, weights):
    batch, prediction = batch_and_prediction()
    value = float(Objective(task_losses(task, rho))(prediction, batch))
    assert value == pytest.approx(written_out(batch, prediction, *weights), rel=1e-6)


def test_mae_of_energies_is_per_structure():
    batch, prediction = batch_and_prediction()
    expected = (batch.energy - prediction.energy).abs().mean()
    loss = Objective([Loss("energy", mae)])(prediction, batch)
    assert float(loss) == pytest.approx(float(expected))


def test_mae_of_forces_is_per_component_of_each_structure():
    batch, prediction = batch_and_prediction()
    error = (batch.forces - prediction.forces).abs()
    expected = torch.stack([part.mean() for part in error.split(SIZES)]).mean()
    loss = Objective([Loss("forces", mae)])(prediction, batch)
    assert float(loss) == pytest.approx(float(expected))


def test_loss_does_not_depend_on_how_molecules_are_batched():
    batch, prediction = batch_and_prediction()
    loss = Objective(task_losses("energy_and_forces"))
    singles, first = [], 0
    for b, n in enumerate(SIZES):
        part = Prediction(prediction.energy[b : b + 1], prediction.forces[first : first + n], None)
        singles.append(loss(part, Batch.from_data_list([batch[b]])))
        first += n
    assert float(loss(prediction, batch)) == pytest.approx(float(torch.stack(singles).mean()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("energies",), "unknown task 'energies'; known: energy, forces, energy_and_forces"),
        (("energy", 0.01, "l1"), "unknown loss 'l1'"),
        (("energy_and_forces", 0.01, "mae"), "use mse"),
    ],
)
def test_unknown_losses_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        task_losses(*arguments)

"""Losses of a user's choice: written out with loops, as text, and what is refused."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Batch

from schnetgeo.data import Structure
from schnetgeo.errors import InputError
from schnetgeo.potential import Prediction
from schnetgeo.train import FunctionLoss, Loss, Objective, TrainingConfig, huber, mae, mse
from schnetgeo.train.loss_text import as_loss
from schnetgeo.train.sums import add_sums

SIZES = (2, 5, 1)
NAMES = ("energy", "forces", "stress")
WRITTEN = {
    "mse": (mse, lambda d: np.sum(d**2)),
    "mae": (mae, lambda d: np.mean(np.abs(d))),
    "huber": (huber(0.7), lambda d: sum(x * x if abs(x) < 0.7 else 1.4 * abs(x) - 0.49 for x in d)),
}


def labeled_batch(masks=()):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    structures = [
        Structure(z=torch.ones(n, dtype=torch.long), pos=normal(n, 3), energy=normal(1),
                  forces=normal(n, 3), stress=normal(1, 3, 3),
                  **{f"{name}_mask": torch.tensor([n != 5]) for name in masks})
        for n in SIZES
    ]  # fmt: skip
    for name in masks:
        structures[1][name].fill_(torch.nan)
    batch = Batch.from_data_list(structures)
    return batch, Prediction(normal(3), normal(8, 3), normal(3, 3, 3))


def written_out(batch, prediction, name, error, per):
    """The mean error of one target, structure by structure and atom by atom."""
    values, count, first = 0.0, 0, 0
    for b, n in enumerate(SIZES):
        atoms, first = slice(first, first + n), first + n
        if f"{name}_mask" in batch and not batch[f"{name}_mask"][b]:
            continue
        rows = [b] if name != "forces" else range(atoms.start, atoms.stop)
        for row in rows:
            d = (getattr(prediction, name)[row] - batch[name][row]).numpy().ravel()
            if name == "energy" and per == "atom":
                d = d / n
            values += error(d) / (n if name == "forces" and per == "structure" else 1)
        count += len(rows) if per == "atom" else 1
    return values / count


@pytest.mark.parametrize("masks", [(), NAMES])
@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize(
    ("name", "per"),
    [("energy", "structure"), ("energy", "atom"), ("forces", "structure"), ("forces", "atom"),
     ("stress", "structure")],
)  # fmt: skip
def test_a_loss_is_its_formula(name, per, kind, masks):
    batch, prediction = labeled_batch(masks)
    error, written = WRITTEN[kind]
    value = Objective([Loss(name, error, 0.3, per)])(prediction, batch)
    assert float(value) == pytest.approx(0.3 * written_out(batch, prediction, name, written, per))


def test_an_objective_is_the_weighted_sum_of_its_losses():
    batch, prediction = labeled_batch(NAMES)
    losses = [Loss("energy", mae, 0.2), Loss("forces", huber(0.1), 3.0), Loss("stress", mse, 10.0)]
    each = [Objective([loss])(prediction, batch) for loss in losses]
    torch.testing.assert_close(Objective(losses)(prediction, batch), sum(each))


@pytest.mark.parametrize("per", ["structure", "atom"])
def test_losses_of_batches_are_those_of_their_union(per):
    batch, prediction = labeled_batch(NAMES)
    objective = Objective([Loss("energy", per=per), Loss("forces", mae, per=per), mean_error])
    sums, first = [], 0
    for b, n in enumerate(SIZES):
        rows = slice(first, first + n)
        part = Prediction(prediction.energy[[b]], prediction.forces[rows], prediction.stress[[b]])
        sums.append(objective.sums(part, Batch.from_data_list([batch[b]])))
        first += n
    torch.testing.assert_close(
        objective.mean(add_sums(sums)), objective(prediction, batch), equal_nan=False
    )


def mean_error(prediction, batch):
    """An own loss, of each structure."""
    error = (prediction.energy - batch.energy).abs()
    return torch.where(batch.get("energy_mask", torch.ones_like(error) > 0), error, 0.0)


def test_a_missing_label_has_no_gradient():
    batch, prediction = labeled_batch(NAMES)
    leaves = Prediction(*(value.requires_grad_() for value in prediction))
    losses = [Loss(name, WRITTEN["huber"][0]) for name in NAMES]
    Objective(losses)(leaves, batch).backward()
    assert all(value.grad.isfinite().all() for value in leaves)
    assert leaves.energy.grad[1] == 0
    assert not leaves.stress.grad[1].any()
    assert not leaves.forces.grad[2:7].any()
    assert leaves.forces.grad[[0, 1, 7]].all()


def test_own_functions_may_give_one_number_or_one_for_each_structure():
    batch, prediction = labeled_batch()
    expected = (prediction.energy - batch.energy).abs().mean()
    for function in (mean_error, lambda p, b: (p.energy - b.energy).abs().mean()):
        value = Objective([FunctionLoss(function, 2.0)])(prediction, batch)
        torch.testing.assert_close(value, 2 * expected)


weights = st.floats(0, 1e6)
errors = st.sampled_from([mse, mae]) | st.floats(1e-6, 1e6).map(huber)


@given(
    st.sampled_from(["energy", "forces", "mu"]),
    errors,
    weights,
    st.sampled_from(["structure", "atom"]),
)
def test_text_of_a_loss_reads_back(name, error, weight, per):
    loss = Loss(name, error, weight, per)
    assert as_loss(str(loss)) == loss


def test_short_forms_have_the_defaults():
    assert as_loss("forces") == Loss("forces")
    assert as_loss("energy/atom:2") == Loss("energy", weight=2.0, per="atom")
    assert as_loss("forces:1:huber=0.05") == Loss("forces", huber(0.05))
    assert as_loss(f"{__name__}.mean_error:3") == FunctionLoss(mean_error, 3.0)
    assert as_loss(f"forces:1:{__name__}.cubed") == Loss("forces", cubed)


def cubed(difference):
    return difference.abs().pow(3).sum(1)


def test_functions_are_known_by_name_in_every_process():
    names = [str(FunctionLoss(mean_error)), str(Loss("forces", functools.partial(mse_times, 2)))]
    assert names == [f"{__name__}.mean_error:1", f"forces:1:{__name__}.mse_times(2)"]
    assert " at 0x" not in str(Loss("forces", torch.nn.Flatten()))


def mse_times(factor, difference):
    return factor * mse(difference)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([], "losses must not be empty"),
        (["energy:0", "forces:0"], "losses energy:0 forces:0 all have the weight 0, so that noth"),
        (["mu"], "a loss is on mu, which the model does not predict; it predicts energy, forces"),
        (["stress/atom"], "per atom, which does not grow with the number of atoms"),
        (["energy:0.1:l2"], "unknown error 'l2'; known: mse, mae, huber=DELTA"),
        (["energy:much"], "'much' is no number; give TARGET"),
        (["energy:1:mse:3"], "is no loss: give TARGET"),
        (["energy/site"], "is no loss: give TARGET"),
        (["energy:-1"], "weight of the loss on energy must be a number, 0 or larger, got -1"),
        (["energy:nan"], "weight of the loss on energy must"),
        (["forces:1:huber=0"], "delta of huber must be a number, positive, got 0"),
        (["forces:1:huber"], "'' is no number"),
        (["nowhere.penalty"], "there is no function nowhere.penalty"),
        (["math.pi"], "math.pi is no function"),
        (["2"], "target of a loss must be a name, got '2'"),
        ([3], "a loss must be a Loss, a function or text, got 3"),
    ],
)
def test_bad_losses_are_refused(losses, message):
    with pytest.raises(InputError, match=message):
        Objective(losses)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("energy", "mse"), "energy: error must be a function, such as mse"),
        (("energy", mse, "1"), "weight of the loss on energy must be a number"),
        (("energy", mse, 1.0, "molecule"), "per must be 'structure' or 'atom', got 'molecule'"),
    ],
)
def test_bad_arguments_of_a_loss_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Loss(*arguments)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Loss("forces", torch.abs), r"error of forces must give one number for each of 8 rows"),
        (Loss("forces", lambda d: 3.0), r"rows of differences, got float"),
        (lambda p, b: p.forces, r"must give one number, or one for each of 3 structures, got sha"),
        (lambda p, b: None, r"3 structures, got NoneType"),
    ],
)
def test_functions_of_another_shape_are_refused(loss, message):
    batch, prediction = labeled_batch()
    with pytest.raises(InputError, match=message):
        Objective([loss])(prediction, batch)


def test_losses_take_the_place_of_the_task():
    training = TrainingConfig(max_steps=1, losses=["energy:0.01", Loss("stress", weight=10.0)])
    assert training.losses == (Loss("energy", weight=0.01), Loss("stress", weight=10.0))
    assert list(training.objective().targets) == ["energy", "stress"]
    assert training.as_json()["losses"] == training.loss_names == "energy:0.01 stress:10"
    preset = TrainingConfig(max_steps=1)
    assert "losses" not in preset.as_json()
    assert preset.loss_names == "energy_and_forces"
    for options in ({"task": "energy"}, {"rho": 0.1}, {"task": "energy", "loss": "mae"}):
        with pytest.raises(InputError, match="has no effect beside losses"):
            TrainingConfig(max_steps=1, losses=["energy"], **options)
    with pytest.raises(InputError, match="losses must be a list, got 'energy'"):
        TrainingConfig(max_steps=1, losses="energy")

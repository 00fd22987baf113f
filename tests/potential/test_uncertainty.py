"""Standard deviations of energies and forces: of the last layer, and of ensembles."""

import copy
from functools import partial

import numpy as np
import pytest
import torch

import schnetgeo as sg
from schnetgeo.data.coverage import Coverage
from schnetgeo.datasets import Demo
from schnetgeo.errors import InputError
from schnetgeo.nn import DipoleReadout, Heads, MeanReadout, SumReadout
from schnetgeo.notes import DataNote
from schnetgeo.potential.ensemble import Ensemble
from schnetgeo.potential.features import with_features
from schnetgeo.potential.uncertainty import Uncertainty, select
from schnetgeo.train import TrainingConfig, calibrate, evaluate, fit

SIZES = dict(channels=8, num_layers=1, num_basis=8, cutoff=4.0)


def frames(first: int, last: int):
    return Demo("ethanol")[first:last]


def calibrated(seed: int = 0, model=sg.SchNet, **options) -> sg.Potential:
    torch.manual_seed(seed)
    potential = sg.Potential(model(**SIZES, **options)).double().eval()
    calibrate(potential, frames(0, 60), frames(60, 90))
    return potential


@pytest.fixture(scope="module")
def batch():
    return frames(100, 110).batch(range(10))


@pytest.mark.parametrize("readout", [SumReadout, MeanReadout])
def test_the_energy_is_linear_in_the_features(batch, readout):
    torch.manual_seed(1)
    potential = sg.Potential(sg.SchNet(**SIZES, readout=readout), scale=2.0).double().eval()
    prediction = with_features(potential)(batch, forces=False)
    last = potential.model.readout.lin2
    weights = torch.cat([last.weight[0], last.bias])
    energy = 2.0 * prediction["last_layer"] @ weights
    torch.testing.assert_close(prediction.energy, energy.detach())


def test_predictions_are_those_without_uncertainty(batch):
    potential = calibrated()
    plain, sure = potential(batch), potential(batch, uncertainty="forces")
    assert dict(sure.items()).keys() == {"energy", "forces"}
    torch.testing.assert_close(sure.energy, plain.energy, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sure.forces, plain.forces, rtol=1e-4, atol=1e-5)
    assert plain.uncertainty is None
    assert sure.uncertainty.energy.shape == (10,)
    assert sure.uncertainty.forces.shape == batch.pos.shape
    assert bool((sure.uncertainty.energy > 0).all())


@pytest.mark.parametrize("model", [sg.SchNet, sg.PaiNN])
def test_forces_are_as_uncertain_as_weights_of_the_posterior_say(batch, model):
    """Forces of models with weights drawn from the posterior of the last layer."""
    potential = calibrated(model=model) if model is sg.SchNet else _calibrated_painn()
    layer, generator = potential.last_layer, torch.Generator().manual_seed(0)
    drawn, last = [], copy.deepcopy(potential)
    last.last_layer = None
    for _ in range(400):
        normal = torch.randn(len(layer.factor), generator=generator, dtype=torch.float64)
        with torch.no_grad():
            last.model.readout.lin2.weight.copy_((layer.factor @ normal)[None, :-1])
        drawn.append(last(batch).forces)
    spread = torch.stack(drawn).std(0) * layer.force_scale
    said = potential(batch, uncertainty="forces").uncertainty.forces
    torch.testing.assert_close(spread, said, rtol=0.25, atol=1e-3 * float(said.max()))


def _calibrated_painn() -> sg.Potential:
    torch.manual_seed(0)
    potential = sg.Potential(sg.PaiNN(channels=8, num_layers=1, cutoff=4.0)).double().eval()
    calibrate(potential, frames(0, 60), frames(60, 90))
    return potential


def test_turned_and_renumbered_structures_are_as_uncertain():
    potential, structure = calibrated(), frames(100, 101)[0]
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    order = torch.randperm(structure.num_nodes)
    turned = copy.copy(structure)
    turned.z, turned.pos = structure.z[order], (structure.pos.double() @ rotation)[order]
    turned.edge_index = None
    one, two = (potential(s, uncertainty="energy").uncertainty.energy for s in (structure, turned))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=0)


def test_the_model_file_keeps_it(tmp_path, batch):
    potential = calibrated()
    potential.save(tmp_path / "m.safetensors")
    loaded = sg.load(tmp_path / "m.safetensors")
    before, after = (
        p(batch, uncertainty="forces").uncertainty for p in (potential, loaded)
    )  # fmt: skip
    assert torch.equal(before.energy, after.energy)
    assert torch.equal(before.forces, after.forces)


def test_other_heads_are_predicted_too(batch):
    torch.manual_seed(0)
    heads = partial(Heads, energy=SumReadout, dipole=DipoleReadout)
    potential = sg.Potential(sg.SchNet(**SIZES, readout=heads)).eval()
    calibrate(potential, frames(0, 60), frames(60, 90))
    prediction = potential(batch, uncertainty="energy")
    dipole = potential(batch)["dipole"]
    torch.testing.assert_close(prediction["dipole"], dipole, rtol=1e-4, atol=1e-5)
    assert set(dict(prediction.items())) == {"energy", "forces", "dipole"}


def test_further_training_forgets_it(tmp_path):
    potential = calibrated()
    training = TrainingConfig(max_steps=2, progress=False, device="cpu", precision="64")
    result = fit(potential, frames(0, 20), frames(60, 70), training, tmp_path)
    assert result.potential.last_layer is None
    assert "last_layer.factor" not in result.potential.state_dict()


def test_weights_of_another_training_are_seen(batch):
    """The parts are shared, so that new weights or units need no new calibration object."""
    potential = calibrated()
    potential(batch, uncertainty="energy")
    with torch.no_grad():
        potential.model.readout.lin1.weight.mul_(1.5)
    sure = potential(batch, uncertainty="energy")
    torch.testing.assert_close(sure.energy, potential(batch).energy, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.train(), "uncertainty needs evaluation mode"),
        (lambda p: setattr(p, "last_layer", None), "was not calibrated"),
        (lambda p: p.last_layer.force_scale.zero_(), "no uncertainty of forces"),
    ],
)
def test_what_cannot_be_said_is_refused(batch, change, message):
    potential = calibrated()
    change(potential)
    with pytest.raises(InputError, match=message):
        potential(batch, uncertainty="forces")


def test_unknown_words_and_other_readouts_are_refused(batch):
    with pytest.raises(InputError, match="unknown uncertainty 'stress'; known: energy, forces"):
        calibrated()(batch, uncertainty="stress")
    potential = sg.Potential(sg.SchNet(**SIZES, readout=DipoleReadout), targets=[_dipole()])
    with pytest.raises(InputError, match="predicts dipole .*take a model of energies"):
        calibrate(potential, frames(0, 60), frames(60, 90))
    with pytest.raises(InputError, match="val has 5 labeled structures, too few"):
        calibrate(sg.Potential(sg.SchNet(**SIZES)), frames(0, 60), frames(60, 65))


def test_what_it_is_calibrated_with_is_looked_at():
    potential = sg.Potential(sg.SchNet(**SIZES)).eval()
    with pytest.raises(InputError, match="train has no structure; give some"):
        calibrate(potential, frames(0, 0), frames(60, 90))
    with pytest.warns(DataNote, match="10 of 30 structures in val are copies of trained ones"):
        calibrate(potential, frames(0, 60), frames(50, 80))


def _dipole() -> sg.Target:
    return sg.Target("dipole", "e·Å", shape=(3,))


def test_an_ensemble_is_mean_and_standard_deviation(batch):
    members = [sg.Potential(sg.SchNet(**SIZES)).double().eval() for _ in range(3)]
    prediction = Ensemble(members)(batch)
    energies = np.stack([m(batch).energy.numpy() for m in members])
    forces = np.stack([m(batch).forces.numpy() for m in members])
    spread = prediction.uncertainty
    np.testing.assert_allclose(prediction.energy, energies.mean(0))
    np.testing.assert_allclose(spread.energy, energies.std(0, ddof=1))
    np.testing.assert_allclose(prediction.forces, forces.mean(0), atol=1e-12)
    np.testing.assert_allclose(spread.forces, forces.std(0, ddof=1), atol=1e-12)
    difference = (energies[:, 0] - energies[:, 1]).std(ddof=1)
    distance = float((spread.points[0] - spread.points[1]).norm())
    assert distance == pytest.approx(difference)


def test_an_ensemble_is_evaluated_as_its_members_are():
    dataset = frames(90, 100)
    ensemble = Ensemble([calibrated(seed) for seed in (0, 1)])
    assert ensemble.targets == ensemble.potentials[0].targets
    errors = evaluate(ensemble, dataset)
    prediction = ensemble(dataset.batch(range(10)))
    mae = (prediction.energy - dataset.get_property("energy")).abs().mean()
    assert errors["energy"].mae == pytest.approx(float(mae))
    assert errors["forces"].mae < max(
        evaluate(member, dataset)["forces"].mae for member in ensemble.potentials
    )
    ensemble.potentials[0].trained_on = Coverage.of(frames(0, 1)[[]])
    with pytest.raises(InputError, match="of which this model was trained on no structure"):
        evaluate(ensemble, dataset)


def test_ensembles_of_different_things_are_refused():
    energy = sg.Potential(sg.SchNet(**SIZES))
    dipole = sg.Potential(sg.SchNet(**SIZES, readout=DipoleReadout), targets=[_dipole()])
    with pytest.raises(InputError, match="needs two models or more, got 1"):
        Ensemble([energy])
    with pytest.raises(InputError, match="model 2 of the ensemble has other targets .* dipole"):
        Ensemble([energy, dipole])


def test_selection_takes_the_most_uncertain_and_no_copies():
    points = torch.tensor([[3.0, 0.0], [2.99, 0.01], [0.0, 2.0], [0.0, -2.0], [0.5, 0.5]])
    assert select(points, 3).tolist() == [0, 2, 3]
    assert select(points, 10).tolist() == [0, 2, 3, 4]
    assert select(points, 2, min_distance=0.0).tolist() == [0, 1]
    copies = points[[0, 0, 0]]
    assert select(copies, 3).tolist() == [0]
    assert Uncertainty(points).energy[0] == 3
    with pytest.raises(InputError, match="num must be 1 or more, got 0"):
        select(points, 0)
    with pytest.raises(InputError, match="min_distance must be 0 or larger, got -1"):
        select(points, 1, -1.0)

"""Training on stress: its gradient, cells beside molecules, and one command for all labels."""

import json
from pathlib import Path

import pytest
import torch
from ase.build import bulk, molecule

import schnetgeo as sg
from schnetgeo.cli import main
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.train import Loss, Objective, TrainingConfig, fit, huber, new_potential
from tests.shared_data import shared

LOSSES = (Loss("energy", weight=0.01), Loss("forces", huber(0.05)), Loss("stress", weight=10.0))


def silicon(seed=0, label=True):
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=seed)
    data = sg.from_ase(atoms)
    generator = torch.Generator().manual_seed(seed)
    data.energy = torch.randn(1, generator=generator, dtype=torch.float64)
    data.forces = torch.randn(8, 3, generator=generator)
    stress = torch.randn(1, 3, 3, generator=generator) / 10
    if label:
        data.stress = stress + stress.mT
    return data


def water():
    data = sg.from_ase(molecule("H2O"))
    data.energy, data.forces = torch.zeros(1, dtype=torch.float64), torch.zeros(3, 3)
    return data


@pytest.mark.parametrize("model", [sg.SchNet, sg.PaiNN])
@pytest.mark.parametrize("filters", ["spline", "exact"])
def test_gradient_of_a_stress_loss_is_that_of_differences(model, filters):
    torch.manual_seed(0)
    model = model(channels=8, num_layers=2, num_basis=6, cutoff=4.0)
    potential = sg.Potential(model, filters=filters).double().train()
    batch = StructureDataset.from_list([silicon(0), silicon(1)]).batch([0, 1])
    objective = Objective([Loss("stress", weight=10.0)])

    def value():
        return objective(objective.predict(potential, batch), batch)

    value().backward()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.grad is None:  # the last bias
            continue
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        slope = float((parameter.grad * direction).sum())
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.add_(step * direction)
            ends.append(float(value()))
            with torch.no_grad():
                parameter.sub_(step * direction)
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-7)


def test_molecules_beside_crystals_have_no_stress_to_learn(tmp_path):
    structures = [silicon(0), water(), silicon(1), water(), silicon(2), silicon(3, label=False)]
    dataset = StructureDataset.from_list(structures)
    potential = new_potential(sg.SchNet(channels=8, num_layers=1, num_basis=8), dataset)
    objective = Objective(LOSSES)
    for chosen in ([0, 1, 2], [1, 3], [0, 5]):  # [1, 3] has no cell at all
        batch = dataset.batch(chosen)
        objective(objective.predict(potential.train(), batch), batch).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in potential.parameters())
        potential.zero_grad()
    training = TrainingConfig(
        losses=LOSSES, max_steps=6, batch_size=2, validate_every=3, device="cpu", progress=False
    )
    result = fit(potential, dataset, dataset, training, tmp_path)
    assert result.potential.notes["task"] == "energy:0.01 forces:1:huber=0.05 stress:10"
    assert result.potential.notes["validation"]["val_loss"] > 0


def test_a_training_goes_on_with_its_losses_only(tmp_path):
    dataset = StructureDataset.from_list([silicon(k) for k in range(4)])
    options = {"validate_every": 2, "schedule": "constant", "device": "cpu", "progress": False}

    def train(steps, losses, resume):
        torch.manual_seed(0)
        potential = new_potential(sg.SchNet(channels=8, num_layers=1, num_basis=8), dataset)
        training = TrainingConfig(max_steps=steps, **options)
        return fit(potential, dataset, dataset, training, tmp_path, resume, losses=losses)

    train(2, LOSSES, resume=False)
    with pytest.raises(InputError, match=r"begun with losses = 'energy.*', not 'stress"):
        train(4, [Loss("stress")], resume=True)
    assert train(4, LOSSES, resume=True).steps == 4


def test_losses_need_their_labels(tmp_path):
    dataset = StructureDataset.from_list([silicon(k, label=False) for k in range(4)])
    potential = new_potential(sg.SchNet(channels=8, num_layers=1), dataset)
    training = TrainingConfig(max_steps=1, progress=False)
    with pytest.raises(InputError, match="structures have no stress, which the losses"):
        fit(potential, dataset, dataset, training, tmp_path, losses=[Loss("stress")])


@pytest.mark.parametrize("config", [False, True])
def test_one_command_trains_on_energies_forces_and_stress(tmp_path, monkeypatch, capsys, config):
    monkeypatch.chdir(tmp_path)
    Path("own_losses.py").write_text(
        "def net_force(prediction, batch):\n    return prediction.forces.sum().square()\n"
    )
    command = f"train --data {shared('si_crystal.npz')} --num-train 40 --num-val 5 --num-test 5 "
    command += "--max-steps 3 --validate-every 2 --device cpu --progress false --out run "
    command += "--model.channels 8 --model.num-layers 1 --model.num-basis 8"
    losses = [
        "energy/atom:0.01:mae",
        "forces:1:huber=0.05",
        "stress:10",
        "own_losses.net_force:0.1",
    ]
    if config:
        Path("losses.yaml").write_text(f"losses: [{', '.join(losses)}]\n")
    chosen = ["--config", "losses.yaml"] if config else ["--losses", *losses]
    main([*command.split(), *chosen])
    notes = sg.load("run/model.safetensors").notes
    assert notes["task"] == (
        "energy/atom:0.01:mae forces:1:huber=0.05 stress:10 own_losses.net_force:0.1"
    )
    assert json.loads(Path("run/errors.json").read_text())["structures"] == 5
    with pytest.raises(SystemExit):
        main([*command.split(), "--overwrite", "--losses", "stress:10:huge"])
    assert "unknown error 'huge'" in capsys.readouterr().err

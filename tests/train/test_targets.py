"""One command trains a model of any targets, of a user's own file, and tests it."""

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch

import schnetgeo as sg
from schnetgeo.cli import main
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import Demo
from schnetgeo.errors import InputError
from schnetgeo.nn import readout_for
from schnetgeo.targets import known_target
from schnetgeo.train import Loss, TrainingConfig, evaluate, fit, new_potential
from schnetgeo.train.default_losses import with_default_losses

SMALL = (
    "--num-train 30 --num-val 5 --num-test 5 --max-steps 4 --validate-every 2 --device cpu "
    "--progress false --model.channels 8 --model.num-layers 1 --model.num-basis 8"
)
DEBYE = 0.20819433270935594


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Ethanols with point charges, their dipole in Debye, and energies."""
    monkeypatch.chdir(tmp_path)
    frames = [sg.to_ase(data) for data in Demo("ethanol")[:40]]
    for atoms in frames:
        charges = np.where(atoms.numbers == 1, 0.1, -0.2)
        charges -= charges.mean()
        atoms.arrays["charges"] = charges
        atoms.info["mu_ref"] = charges @ atoms.positions / DEBYE
    ase.io.write("own.extxyz", frames)
    return tmp_path


LABELS = "--labels dipole=mu_ref:Debye charges:e"


def run(command: str) -> None:
    main(command.split())


def refused(command: str, capsys) -> str:
    with pytest.raises(SystemExit) as end:
        run(command)
    assert end.value.code == 2
    error = capsys.readouterr().err.splitlines()
    return error[-1]


def test_energy_dipole_and_charges_of_a_file_are_trained_at_once(files, capsys):
    run(f"train --data own.extxyz {LABELS} --targets energy dipole charges --out run {SMALL}")
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("losses "))
    assert [word.split(":")[0] for word in line.split()[1:]] == [
        "energy", "forces", "dipole", "charges",
    ]  # fmt: skip
    potential = sg.load("run/model.safetensors")
    assert [str(t) for t in potential.targets] == ["energy (eV)", "dipole (e·Å)", "charges (e)"]
    run("evaluate run/model.safetensors own.extxyz --json errors.json")
    table = capsys.readouterr().out
    for name in ("energy", "energy/atom", "forces", "dipole", "charges"):
        assert f"\n  {name} " in table
    errors = json.loads(Path("errors.json").read_text())
    assert errors["charges_unit"] == "e"
    prediction = potential(sg.from_ase(ase.io.read("own.extxyz")))
    dipole = ase.io.read("own.extxyz").info["mu_ref"]
    assert prediction["dipole"].shape == (1, 3)
    assert errors["dipole_mae_Debye"] < 10 * np.abs(dipole).mean()


def test_a_dipole_alone_has_no_energy(files, capsys):
    run(f"train --data own.extxyz {LABELS} --targets dipole --out run {SMALL}")
    out = capsys.readouterr().out
    assert "losses dipole:1\n" in out
    assert "eV" not in out
    assert "energy" not in json.loads(Path("run/errors.json").read_text())


def test_what_cannot_be_trained_is_refused_in_one_line(files, capsys):
    start = f"train --data own.extxyz --out run {SMALL}"
    line = refused(f"{start} --targets polarizability", capsys)
    assert "has no polarizability named 'polarizability'; it has charges, mu_ref; name one" in line
    line = refused(f"{start} {LABELS} --targets dipol", capsys)
    assert line.endswith("mu_ref; name one of these, as in --labels dipol=COLUMN:UNIT")
    line = refused(f"{start} --labels dipole=mu_ref:eV --targets dipole", capsys)
    assert "dipole ('mu_ref'): 'eV' cannot be converted to 'e·Å'" in line
    line = refused(f"{start} {LABELS} --targets energy forces", capsys)
    assert "forces is a derivative of the energy, which needs no readout; leave it out of" in line
    line = refused(f"{start} --labels charges=mu_ref:e --targets charges", capsys)
    assert "charges ('mu_ref') must be one number for each atom, got shape (3,)" in line
    line = refused(f"{start} {LABELS} --targets dipole --losses energy", capsys)
    assert "a loss is on energy, which the model does not predict; it predicts dipole" in line
    line = refused(f"{start} --losses dipole", capsys)
    assert "a loss is on dipole, which the model does not predict; it predicts energy, for" in line
    line = refused("train --data own.extxyz --targets dipole --initial-model x", capsys)
    assert "--targets has no effect beside --initial-model" in line
    assert not Path("run").exists()


def with_dipoles(known):
    dataset = Demo("ethanol")[: len(known)]
    packed, sizes = dataset.materialize()
    packed.dipole = torch.randn(len(known), 3, generator=torch.Generator().manual_seed(0))
    packed.dipole[~known] = torch.nan
    packed.dipole_mask = known
    return StructureDataset(packed, sizes)


def dipole_potential(train):
    target = known_target("dipole")
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, readout=readout_for(target))
    return new_potential(model, train, targets=[target])


def test_labels_that_some_structures_lack_are_left_out(tmp_path):
    known = torch.arange(20) % 3 > 0
    train = with_dipoles(known)
    potential = dipole_potential(train)
    training = TrainingConfig(max_steps=3, validate_every=3, device="cpu", progress=False)
    result = fit(potential, train, train, training, tmp_path)
    assert result.potential.notes["validation"]["val_dipole_mae_Debye"] > 0
    assert evaluate(result.potential, train)["dipole"].count == int(known.sum())


def test_a_mask_that_leaves_nothing_is_refused(tmp_path):
    train = with_dipoles(torch.zeros(20, dtype=torch.bool))
    training = TrainingConfig(max_steps=3, progress=False)
    with pytest.raises(InputError, match="the training structures have no dipole, which the los"):
        fit(dipole_potential(train), train, train, training, tmp_path)


def test_default_losses_begin_alike():
    train = with_dipoles(torch.ones(20, dtype=torch.bool))
    targets = known_target("energy"), known_target("dipole")
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, readout=readout_for(*targets))
    potential = new_potential(model, train, targets=targets)
    training = with_default_losses(TrainingConfig(max_steps=1, rho=0.1), potential, train)
    energy, forces, dipole = training.losses
    assert (energy, forces) == (Loss("energy", weight=0.1), Loss("forces"))
    forces = train.get_property("forces").double().square().sum(1).mean()
    dipoles = train.get_property("dipole").double().square().sum(1).mean()
    assert dipole.weight == pytest.approx(float(forces / dipoles), rel=0.05)
    named = TrainingConfig(max_steps=1, losses=["dipole"])
    assert with_default_losses(named, potential, train) is named


GAP = known_target("gap")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.ones(20, 1), r"gap must have shape \(\) for each structure, got \(1,\) for each st"),
        (torch.ones(180), r"gap must have shape \(\) for each structure, got \(\) for each atom; "),
        (torch.ones(20, dtype=torch.bool), "gap must be numbers, got torch.bool; convert it"),
        (torch.full((20,), torch.nan), "structure 0: its gap is not finite; correct it, or set ga"),
    ],
)
def test_labels_of_another_shape_or_kind(values, message, tmp_path):
    packed, sizes = Demo("ethanol")[:20].materialize()
    packed.gap = values
    dataset = StructureDataset(packed, sizes)
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, readout=readout_for(GAP))
    training = TrainingConfig(max_steps=1, device="cpu", progress=False)
    with pytest.raises(InputError, match=message):
        fit(new_potential(model, dataset, targets=[GAP]), dataset, dataset, training, tmp_path)
    with pytest.raises(InputError, match=message):
        fit(sg.Potential(model, targets=[GAP]), dataset, dataset, training, tmp_path)
    with pytest.raises(InputError, match=message):
        evaluate(sg.Potential(model, targets=[GAP]).eval(), dataset)


def test_heads_are_named_after_their_targets():
    names = known_target("homo"), GAP
    model = sg.SchNet(channels=8, num_layers=1, readout=readout_for(*names))
    for targets in (names[::-1], (GAP, known_target("lumo"))):
        with pytest.raises(InputError, match="those of the model's heads, homo, gap, in this ord"):
            sg.Potential(model, targets=targets)
    assert sg.Potential(model).targets == names


@pytest.mark.parametrize("targets", [GAP, "gap"])
def test_targets_are_a_list(targets):
    model = sg.SchNet(channels=8, num_layers=1, readout=readout_for(GAP))
    with pytest.raises(InputError, match=r"targets must be a list of targets, got gap.*\[target\]"):
        sg.Potential(model, targets=targets)


def test_heads_without_a_loss_are_named(files, capsys):
    start = f"train --data own.extxyz {LABELS} --targets energy dipole charges {SMALL}"
    cases = (
        ("dipole", "energy, charges"),
        ("forces dipole", "charges"),
        ("energy dipole charges:0", "charges"),
        ("energy dipole charges", None),
    )
    for number, (losses, names) in enumerate(cases):
        run(f"{start} --losses {losses} --out run{number}")
        said = capsys.readouterr().err
        assert ("no loss is on" in said) == (names is not None)
        assert f"no loss is on {names}, of which the model stays as it is" in said or not names

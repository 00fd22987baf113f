"""schnetgeo calibrate and schnetgeo select."""

import ase.io
import numpy as np
import pytest
import torch

import schnetgeo as sg
from schnetgeo.cli import main
from schnetgeo.datasets import Demo
from schnetgeo.nn import DipoleReadout
from schnetgeo.targets import known_target
from schnetgeo.train import calibrate
from schnetgeo.units import KCAL_MOL
from schnetgeo.viz.reliability import reliability_curve


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Model, structures to train and to validate on, and a pool with each structure twice."""
    folder = tmp_path_factory.mktemp("uncertainty")
    data = Demo("ethanol")
    for name, part in (("train", data[:50]), ("val", data[50:80]), ("pool", data[80:100])):
        frames = [sg.to_ase(frame) for frame in part]
        ase.io.write(folder / f"{name}.extxyz", frames * (2 if name == "pool" else 1))
    for seed in (0, 1):
        torch.manual_seed(seed)
        potential = sg.Potential(sg.SchNet(channels=8, num_layers=1, num_basis=8, cutoff=4.0))
        potential.save(folder / f"model{seed}.safetensors")
    model = sg.SchNet(channels=8, num_layers=1, readout=DipoleReadout)
    potential = sg.Potential(model, targets=[known_target("dipole")])
    potential.save(folder / "dipole.safetensors")
    return folder


def run(command: str, folder) -> None:
    main([str(folder / w) if "." in w else w for w in command.split()])


def test_calibrated_models_select_each_structure_once(files, capsys):
    run(
        "calibrate model0.safetensors train.extxyz --val-data val.extxyz --test-data pool.extxyz "
        "--plot plot.png",
        files,
    )
    said = capsys.readouterr().out
    assert "calibrated with 50 and 30 structures" in said
    assert "energy, eV: errors are " in said
    assert "forces, eV/Å: errors are " in said
    assert (files / "plot.png").stat().st_size > 1000
    run("select pool.extxyz --model model0.safetensors --num 5 --out chosen.extxyz", files)
    chosen = ase.io.read(files / "chosen.extxyz", ":")
    assert len(chosen) == 5
    assert len({frame.get_potential_energy() for frame in chosen}) == 5
    run(
        "select pool.extxyz --model model0.safetensors --num 40 --min-distance 1e-3 "
        "--out all.extxyz",
        files,
    )
    assert len(ase.io.read(files / "all.extxyz", ":")) == 20
    assert "the other 20 are copies" in capsys.readouterr().out


def test_files_are_read_as_those_of_the_training(files, capsys):
    """Energies in kcal/mol, which nothing in an extended XYZ tells, and a dipole of one's own."""
    potential = sg.load(files / "model0.safetensors")
    units = {"energy_unit": "kcal/mol", "force_unit": "eV/Angstrom"}
    potential.notes["data_options"] = {**units, "labels": ["dipole=mu:Debye"]}
    potential.save(files / "units.safetensors")
    frames = [sg.to_ase(data) for data in Demo("ethanol")[:100]]
    for atoms in frames:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        atoms.info.update(energy=energy / KCAL_MOL, mu=[0.0, 1.0, 2.0])
        atoms.arrays["forces"] = forces
    for name, part in (("train_k", frames[:50]), ("val_k", frames[50:80]), ("pool_k", frames[80:])):
        ase.io.write(files / f"{name}.extxyz", part)
    run("calibrate units.safetensors train_k.extxyz --val-data val_k.extxyz", files)
    assert "_k.extxyz: read with --energy-unit kcal/mol --force-unit" in capsys.readouterr().err
    potentials = [sg.load(files / f"{name}.safetensors") for name in ("units", "model0")]
    calibrate(potentials[1], Demo("ethanol")[:50], Demo("ethanol")[50:80])
    batch = Demo("ethanol")[80:].batch(range(5))
    one, two = (p(batch, uncertainty="energy").uncertainty.energy for p in potentials)
    torch.testing.assert_close(one, two, rtol=1e-3, atol=0)
    run("select pool_k.extxyz --model units.safetensors --num 2 --out chosen_k.extxyz", files)
    chosen = ase.io.read(files / "chosen_k.extxyz")
    assert chosen.get_dipole_moment() == pytest.approx(np.array([0, 1, 2]) * 0.2081943427)
    assert chosen.get_potential_energy() == pytest.approx(frames[80].info["energy"] * KCAL_MOL, 0.1)


def test_ensembles_select_too(files, capsys):
    models = "model0.safetensors model1.safetensors"
    run(f"select pool.extxyz --model {models} --num 3 --out three.extxyz", files)
    assert "3 of 40 structures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("select pool.extxyz --model model1.safetensors", "was not calibrated"),
        ("select pool.extxyz --model dipole.safetensors dipole.safetensors",
         "is that of energies, but this model predicts dipole (e·Å); take a model of energies"),
        ("select pool.extxyz --model model0.safetensors model1.safetensors --out val.extxyz",
         "val.extxyz: exists already"),
        ("select pool.extxyz --model model1.safetensors model0.safetensors --num 0",
         "num must be 1 or more, got 0"),
        ("calibrate model1.safetensors train.extxyz --val-data val.extxyz --plot a.png",
         "--plot has no effect without --test-data"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(files, capsys, command, message):
    with pytest.raises(SystemExit) as end:
        run(command, files)
    assert end.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_errors_as_large_as_said_lie_on_the_diagonal():
    generator = np.random.default_rng(0)
    std = generator.uniform(0.1, 2, 20_000)
    predicted, actual = reliability_curve(std * generator.normal(size=20_000), std)
    np.testing.assert_allclose(actual, predicted, rtol=0.1)
    assert (np.diff(predicted) > 0).all()

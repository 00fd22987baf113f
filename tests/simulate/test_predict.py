"""Predictions for files: the potential's numbers, in order, whole after any interruption."""

import os
import signal
import subprocess
import sys
import time

import ase.build
import ase.io
import numpy as np
import pytest
import torch

import schnetgeo as sg
from schnetgeo.cli import main
from schnetgeo.datasets import AtomsFile, Demo
from schnetgeo.simulate import predict
from tests.simulate.models import potential


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    potential().save("model.safetensors")
    sg.datasets.write.write_dataset("in.extxyz", [Demo("molecules")[::7]])
    return tmp_path


def run(text):
    main(text.split())


def refused(text, capsys):
    with pytest.raises(SystemExit) as end:
        run(text)
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("max_atoms", [1, 50, 10**6])
def test_batches_by_atoms_change_nothing(max_atoms):
    dataset, of = Demo("molecules")[::40], potential()
    values = predict.predict_batches(of, dataset, max_atoms, energies=True)
    first = 0
    for k, data in enumerate(dataset):
        single, rows = of(data, energies=True), slice(first, first + data.num_nodes)
        torch.testing.assert_close(values["energy"][k : k + 1], single.energy, rtol=0, atol=1e-10)
        for name in ("forces", "atomic_energies"):
            torch.testing.assert_close(values[name][rows], single[name], rtol=0, atol=1e-10)
        first += data.num_nodes


def test_a_file_holds_what_the_potential_says(here):
    run("predict model.safetensors in.extxyz -o out.extxyz --energies")
    of, dataset = potential(), AtomsFile("in.extxyz")
    frames = ase.io.read("out.extxyz", ":")
    assert len(frames) == len(dataset)
    for k, (atoms, data) in enumerate(zip(frames, dataset, strict=True)):
        np.testing.assert_array_equal(atoms.positions, data.pos)
        np.testing.assert_array_equal(atoms.numbers, data.z)
        assert atoms.info["input_index"] == k
        prediction = of(data)
        assert atoms.get_potential_energy() == pytest.approx(prediction.energy.item(), abs=1e-10)
        np.testing.assert_allclose(atoms.get_forces(), prediction.forces, atol=1e-10)
        assert atoms.arrays["atomic_energies"].sum() == pytest.approx(prediction.energy.item())
    again = AtomsFile("out.extxyz")
    assert again.has_label("energy")
    assert again.has_label("forces")


def test_crystals_and_stress(here):
    crystals = [ase.build.bulk("Si", cubic=True), ase.build.molecule("H2O")]
    for atoms in crystals:
        atoms.rattle(0.05, seed=1)
    ase.io.write("c.extxyz", crystals)
    run("predict model.safetensors c.extxyz -o out.extxyz --stress")
    crystal, water = ase.io.read("out.extxyz", ":")
    expected = potential()(sg.from_ase(crystals[0], drop=("results",)), stress=True)
    np.testing.assert_allclose(crystal.get_stress(voigt=False), expected.stress[0], atol=1e-7)
    assert crystal.pbc.all()
    assert not water.pbc.any()


def test_shards_are_the_whole_in_parts(here, monkeypatch):
    monkeypatch.setattr(predict, "BLOCK", 16)
    run("predict model.safetensors in.extxyz -o all.extxyz")
    for k in (1, 2, 3):
        run(f"predict model.safetensors in.extxyz -o {k}.extxyz --shard {k}/3")
    parts = [a for k in (1, 2, 3) for a in ase.io.read(f"{k}.extxyz", ":")]
    parts.sort(key=lambda a: a.info["input_index"])
    for one, two in zip(ase.io.read("all.extxyz", ":"), parts, strict=True):
        assert one.info["input_index"] == two.info["input_index"]
        np.testing.assert_array_equal(one.get_forces(), two.get_forces())


@pytest.mark.parametrize("cut", range(0, 12))
def test_interrupted_anywhere_it_goes_on_to_the_same_file(here, monkeypatch, cut):
    """Whatever call the process dies in, and whatever of a piece has reached the disk."""
    monkeypatch.setattr(predict, "BLOCK", 40)
    run("predict model.safetensors in.extxyz -o whole.extxyz")
    calls = []

    def dying(function):
        def die(*args, **kwargs):
            calls.append(function)
            if len(calls) > cut:
                if function is os.fsync:
                    with open("out.extxyz.part", "a") as part:
                        part.write("half of a piece")
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return die

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying(os.fsync))
        patch.setattr(os, "replace", dying(os.replace))
        with pytest.raises(SystemExit):
            run("predict model.safetensors in.extxyz -o out.extxyz")
    assert not (here / "out.extxyz").exists()
    run("predict model.safetensors in.extxyz -o out.extxyz")
    assert (here / "out.extxyz").read_bytes() == (here / "whole.extxyz").read_bytes()
    assert not list(here.glob("out.extxyz.part*"))


def test_killed_processes_lose_nothing(here):
    arguments = ["predict", "model.safetensors", "in.extxyz", "-o", "out.extxyz", "--threads", "1"]
    script = "import sys; from schnetgeo.simulate import predict; predict.BLOCK = 4; " + (
        "from schnetgeo.cli import main; main(sys.argv[1:])"
    )
    path = os.pathsep.join([os.path.dirname(os.path.dirname(sg.__file__))])
    environment = {**os.environ, "PYTHONPATH": path}

    def start():
        return subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment)

    process, state = start(), here / "out.extxyz.part.json"
    while not state.exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start().wait() == 0
    indices = [atoms.info["input_index"] for atoms in ase.io.read("out.extxyz", ":")]
    assert indices == list(range(len(AtomsFile("in.extxyz"))))


def test_another_job_does_not_go_on(here, capsys, monkeypatch):
    def die(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        with pytest.raises(SystemExit):
            run("predict model.safetensors in.extxyz -o out.extxyz")
    capsys.readouterr()
    potential(channels=12).save("model.safetensors")
    text = refused("predict model.safetensors in.extxyz -o out.extxyz", capsys)
    assert "was begun with other model; pass --overwrite to begin anew" in text
    run("predict model.safetensors in.extxyz -o out.extxyz --overwrite")
    assert "exists already; pass --overwrite" in refused(
        "predict model.safetensors in.extxyz -o out.extxyz", capsys
    )


def test_what_is_refused(here, capsys):
    command = "predict model.safetensors in.extxyz -o out.extxyz"
    assert "shard must be i/n with i from 1 to n" in refused(f"{command} --shard 4/3", capsys)
    (here / "growing.extxyz").write_text((here / "in.extxyz").read_text()[:-40])
    text = refused("predict model.safetensors growing.extxyz -o out.extxyz", capsys)
    assert "growing.extxyz, structure" in text
    ase.io.write("flat.extxyz", ase.build.molecule("H2O"))
    text = refused("predict model.safetensors flat.extxyz -o flat_out.extxyz --stress", capsys)
    assert "stress=True needs a cell with a volume" in text
    assert "this model was not calibrated" in refused(f"{command} --uncertainty energy", capsys)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_one_line(here, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    text = refused("predict model.safetensors in.extxyz -o out.extxyz", capsys)
    assert "out.extxyz: cannot be written: No space left on device; free some space" in text
    assert text.count("\n") == 1

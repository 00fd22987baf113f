"""The commands relax, md, frequencies, scan and neb: files, pictures, and one-line errors."""

import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule

from schnetgeo.cli import main
from tests.simulate.models import potential


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    potential(scale=0.1).save("model.safetensors")
    ase.io.write("ethanol.xyz", molecule("CH3CH2OH"))
    crystal = bulk("Si", cubic=True)
    crystal.rattle(0.1, seed=0)
    ase.io.write("si.extxyz", crystal)
    return tmp_path


def run(text):
    main(text.split())


def refused(text, capsys):
    with pytest.raises(SystemExit) as end:
        run(text)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_relax(here, capsys):
    run("relax model.safetensors si.extxyz --cell --max-steps 3 --fmax 1e-6 -o out")
    assert "3 steps" in capsys.readouterr().out
    assert {p.name for p in (here / "out").iterdir()} >= {
        "relaxed.extxyz", "path.extxyz", "path.png"
    }  # fmt: skip
    frames = ase.io.read("out/path.extxyz", ":")
    np.testing.assert_array_equal(frames[-1].positions, ase.io.read("out/relaxed.extxyz").positions)
    assert "exists already; pass --overwrite" in refused(
        "relax model.safetensors si.extxyz -o out", capsys
    )


def test_md_goes_on(here, capsys):
    command = "md model.safetensors ethanol.xyz --ensemble nvt --every 2 -o"
    run(f"{command} a --steps 8")
    assert "filters tabulated to" in capsys.readouterr().out
    run(f"{command} b --steps 4")
    run(f"{command} b --steps 8 --resume")
    for name in ("trajectory.extxyz", "log.csv"):
        assert (here / "a" / name).read_bytes() == (here / "b" / name).read_bytes()
    assert (here / "a" / "log.png").exists()
    assert "pass --resume to go on" in refused(f"{command} b", capsys)


def test_frequencies(here, capsys):
    run("frequencies model.safetensors ethanol.xyz --as-it-is -o out")
    content = json.loads((here / "out" / "frequencies.json").read_text())
    assert len(content["modes"]) == 21
    assert "cm-1" in capsys.readouterr().out
    frames = ase.io.read("out/modes.extxyz", ":")
    assert len(frames) == 21
    assert frames[0].arrays["mode"].shape == (9, 3)


def test_scan_and_neb(here, capsys):
    run("scan model.safetensors ethanol.xyz --atoms 0 1 --first 1.3 --last 1.8 --num 4 -o s")
    assert len(ase.io.read("s/scan.extxyz", ":")) == 4
    assert "bond, Å: lowest at" in capsys.readouterr().out
    start, end = molecule("CH3CH2OH"), molecule("CH3CH2OH")
    end.rotate(30, "z")
    ase.io.write("ends.xyz", [start, end])
    run("neb model.safetensors ends.xyz --images 3 --max-steps 3 --as-they-are -o n")
    assert len(ase.io.read("n/path.extxyz", ":")) == 5


def test_what_is_refused(here, capsys):
    ase.io.write("two.xyz", [molecule("H2O")] * 2)
    assert "index '7' selects none of the 2 structures" in refused(
        "relax model.safetensors two.xyz --index 7", capsys
    )
    assert "scan takes one structure" in refused(
        "scan model.safetensors two.xyz --index : --atoms 0 1 --first 1 --last 2", capsys
    )
    assert "neb needs two structures" in refused("neb model.safetensors ethanol.xyz", capsys)
    assert "needs a cell with a volume" in refused(
        "md model.safetensors ethanol.xyz --ensemble npt", capsys
    )

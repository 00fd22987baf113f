"""schnetgeo data, as people use it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from schnetgeo.data.split import Split
from schnetgeo.data.store import OnDiskDataset
from schnetgeo.datasets import AtomsFile, Demo
from schnetgeo.datasets.write import write_dataset
from tests.cli.test_cli import refused, run


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_dataset("frames.extxyz", [Demo("ethanol")[:30]])
    write_dataset("mixed.npz", [Demo("molecules")[::40]])


def test_info_of_a_file(capsys):
    run("data info frames.extxyz --json info.json")
    out = capsys.readouterr().out
    assert "frames.extxyz: 30 structures of 9 atoms, 270 in all: H 180, C 60, O 30" in out
    assert "successive structures are alike, as in a trajectory" in out
    assert "C2H6O        30\n" in out
    content = json.loads(Path("info.json").read_text())
    assert content["compositions"] == {"C2H6O": 30}
    assert {"name": "forces", "per": "atom", "shape": [3], "type": "float64", "unit": "eV/Å",
            "meaning": "forces on the atoms, the label"} in content["fields"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("QM9", r"mu +Debye +dipole moment\n"),
        ("MD17", r"aspirin +211,762 +21 +PBE\+vdW-TS\n"),
        ("ISO17", r"reference +404,000 +80 % of the steps of 80 % of the trajectories\n"),
    ],
)
def test_info_without_the_data(capsys, name, line):
    run(f"data info --dataset {name} --json info.json")
    out = capsys.readouterr().out
    assert re.search(line, out)
    assert "nothing in data yet; fetch it with schnetgeo data download" in out
    assert json.loads(Path("info.json").read_text())["published"]


def test_info_of_what_was_downloaded(capsys, monkeypatch):
    Path("data/MD17").mkdir(parents=True)
    Path("data/MD17/md17_ethanol.npz").write_bytes(b"")
    monkeypatch.setattr(
        "schnetgeo.cli.data_options.open_dataset", lambda name, **o: Demo(o["molecule"])
    )
    run("data info --dataset MD17 --molecule ethanol")
    assert "Demo ethanol: 1,200 structures of 9 atoms" in capsys.readouterr().out
    run("data info --dataset MD17 --molecule aspirin")
    assert "nothing in data yet" in capsys.readouterr().out
    assert "MD17 is not in data" in refused(capsys, "data stats --dataset MD17 --molecule aspirin")


def test_stats(capsys):
    run("data stats mixed.npz --json stats.json --picture stats.png")
    out = capsys.readouterr().out
    assert "energy less that of the elements (eV)" in out
    assert "groups of turned, permuted or mirrored copies: " in out
    assert Image.open("stats.png").format == "PNG"
    content = json.loads(Path("stats.json").read_text())
    forces = AtomsFile("mixed.npz").get_property("forces")
    assert content["forces"]["normal"]["std"] == pytest.approx(float(forces.std(correction=0)))
    assert sum(content["forces"]["counts"]) == forces.numel()
    run("data stats frames.extxyz --picture stats.svg")
    assert "energy less that of the elements" not in capsys.readouterr().out
    assert Path("stats.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("out", ["a.extxyz", "a.db", "a.npz", "a.store"])
def test_convert(capsys, out):
    run(f"data convert mixed.npz --out {out}")
    expected = AtomsFile("mixed.npz")
    assert capsys.readouterr().out == f"{out}: {len(expected)} structures\n"
    found = OnDiskDataset(out) if out == "a.store" else AtomsFile(out)
    for key in ("z", "energy", "forces"):
        assert torch.equal(
            found.get_property(key).to(expected.get_property(key).dtype), expected.get_property(key)
        )


def test_convert_several_and_append(capsys):
    run("data convert frames.extxyz frames.extxyz --out a.store")
    run("data convert frames.extxyz --out a.store --append")
    assert len(OnDiskDataset("a.store")) == 90
    run("data info a.store")
    assert "a.store: 90 structures" in capsys.readouterr().out


def test_a_store_has_its_units(capsys):
    run("data convert frames.extxyz --out a.store")
    error = refused(capsys, "data info a.store --energy-unit Hartree")
    assert "a.store: a store is in eV and Å as it is; leave --energy-unit away" in error


def test_train_on_a_store_by_time(capsys):
    small = "--model.channels 4 --model.num-layers 1 --model.num-basis 4 --progress false"
    run("data convert frames.extxyz --out a.store")
    counts = "--num-train 20 --num-val 3"
    run(f"train --data a.store {counts} --max-steps 2 --out out {small}")
    digest = Split.load("out/split.npz").digest
    out = capsys.readouterr().out
    assert f"split random, {digest}: frames of a trajectory were split at random" in out
    with np.load("out/split.npz") as file:
        assert str(file["how"]) == "random"
        assert "interpolation" in str(file["note"])
    run(f"train --data a.store {counts} --max-steps 2 --out time --split blocks {small}")
    assert f"split blocks, {Split.load('time/split.npz').digest}\n" in capsys.readouterr().out
    run(f"train --data a.store --max-steps 2 --out again --split out/split.npz {small}")
    assert Split.load("again/split.npz").digest == digest


def test_download_from_a_file(capsys):
    Path("brought.npz").write_bytes(b"frames")
    run("data download --dataset MD17 --molecule ethanol --data brought.npz")
    assert Path("data/MD17/md17_ethanol.npz").read_bytes() == b"frames"
    out = capsys.readouterr().out
    assert out.startswith("data/MD17/md17_ethanol.npz\ncite Chmiela")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("info", "give either files or --dataset"),
        ("info frames.extxyz --dataset QM9", "give either files or --dataset"),
        ("info frames.extxyz --molecule ethanol", "--molecule has no effect beside files; leave"),
        ("stats --dataset MD17 --energy-unit eV", "--energy-unit has no effect beside --dataset"),
        ("info --dataset QM9 --molecule ethanol", "--molecule has no effect on QM9; leave it aw"),
        ("info --dataset QM8", "unknown data set 'QM8'; known: QM9, MD17, "),
        ("info none.npz", "none.npz: no such file"),
        ("stats --dataset MD17", "MD17 is not in data; fetch it with schnetgeo data download"),
        ("stats frames.extxyz --picture a.txt", "a.txt: cannot be written: Format 'txt' is not"),
        ("download --dataset MD17 --molecule gold", "MD17 has no molecule 'gold'; known: benzene"),
        ("download --dataset MD17 --data a.npz", "--data is one file: say with --molec"),
        ("convert frames.extxyz --out a.cif", "a.cif: cannot write .cif; known: .extxyz, .xyz"),
        ("convert frames.extxyz --out mixed.npz", "mixed.npz: exists already; remove it or choo"),
        ("convert frames.extxyz --out a.store --append", "a.store: is no data store"),
    ],
)
def test_refuses(capsys, command, message):
    before = sorted(Path().rglob("*"))
    if "--picture" in command:
        with pytest.raises(SystemExit):
            run(f"data {command}")
        assert message in capsys.readouterr().err
    else:
        assert message in refused(capsys, f"data {command}")
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("end", ["store", "npz"])
def test_convert_of_a_label_and_a_type_that_come_late(capsys, end):
    """In text files fields are found some thousands of structures at a time."""
    lines = []
    for k in range(4200):
        forces = ":forces:R:3" if k > 4150 else ""
        number = f"{k}.5" if k == 4180 else str(k)
        row = "H 0 0 0" + (" 1 2 3" if forces else "")
        lines.append(f"1\nProperties=species:S:1:pos:R:3{forces} k={number} energy=-13.0\n{row}\n")
    Path("late.xyz").write_text("".join(lines))
    run(f"data convert late.xyz --out late.{end}")
    said = capsys.readouterr().err
    assert "late.xyz: of 4,200 structures 4,151 have no forces; they are kept" in said
    dataset = OnDiskDataset("late.store") if end == "store" else AtomsFile("late.npz")
    assert dataset.get_property("forces_mask").tolist() == [k > 4150 for k in range(4200)]
    assert dataset.get_property("forces")[-1].tolist() == [1, 2, 3]
    numbers = dataset.get_property("k").tolist()
    assert (numbers[7], numbers[4180], numbers[4199]) == (7, 4180.5, 4199)


def test_info_of_the_data_that_ship_with_the_package(capsys):
    run("data info --dataset Demo --molecule molecules")
    assert "Demo molecules: " in capsys.readouterr().out
    assert "unknown part 'water' of Demo" in refused(
        capsys, "data info --dataset Demo --molecule water"
    )


def test_a_molecule_that_is_not_published(capsys):
    line = refused(capsys, "data info --dataset MD17 --molecule unobtainium")
    assert "MD17 has no molecule 'unobtainium'; known: " in line
    run("data info --dataset MD17 --molecule aspirin")
    line = capsys.readouterr().out
    assert "fetch it with schnetgeo data download --dataset MD17 --molecule aspirin" in line

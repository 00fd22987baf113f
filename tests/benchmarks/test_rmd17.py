"""The benchmark of revised MD17, on real frames in the format of the published files."""

import json
from pathlib import Path

import pytest

from benchmarks.rmd17 import main
from schnetgeo.data.split import Split
from schnetgeo.datasets import rmd17 as module
from tests.datasets.published import index_csv, rmd17_npz, write_tar
from tests.shared_data import shared

FEW = (
    "--models mean SchNet --num-train 8 --num-val 2 --max-steps 5 --model.channels 8 "
    "--model.num-layers 1 --model.num-basis 8 --progress false"
)


def run(command: str, folder: Path) -> list[dict]:
    main([*FEW.split(), *command.split(), "--root", str(folder), "--out", str(folder / "out")])
    return json.loads((folder / "out/results.json").read_text())


def test_published_split(tmp_path, monkeypatch):
    train, test = range(0, 20, 2), range(1, 21, 2)
    monkeypatch.setattr(module, "SPLIT_SIZE", 10)  # instead of 1,000
    files = {
        "rmd17/npz_data/rmd17_ethanol.npz": rmd17_npz(),
        "rmd17/splits/index_train_02.csv": index_csv(train),
        "rmd17/splits/index_test_02.csv": index_csv(test),
    }
    archive = write_tar(tmp_path / "rmd17.tar.bz2", files)
    rows = run(f"--molecules ethanol --split 2 --data {archive}", tmp_path)
    split = Split.load(tmp_path / "out/split.npz")
    assert sorted([*split.train.tolist(), *split.val.tolist()]) == list(train)
    assert sorted(split.test.tolist()) == list(test)
    assert [(r["dataset"], r["molecule"], r["num_test"]) for r in rows] == [
        ("RevisedMD17", "ethanol", 10)
    ] * 2
    assert rows[0]["note"] == "labels are PBE/def2-SVP; published split 2"
    assert rows[0]["published"] == []
    published = {(n["model"], n["value"], n["unit"]) for n in rows[1]["published"]}
    assert ("MACE", 32.6, "meV/Å") in published  # of 50 frames, the nearest size


def test_files_of_single_molecules_are_split_at_random(tmp_path):
    files = " ".join(str(shared(f"rmd17_{name}.npz")) for name in ("ethanol", "aspirin"))
    command = f"--molecules ethanol aspirin --data {files} --num-test 20 --seed 0 1"
    rows = run(f"{command} --models mean", tmp_path)
    assert [(r["molecule"], r["seed"]) for r in rows] == [
        ("ethanol", 0), ("ethanol", 1), ("aspirin", 0), ("aspirin", 1),
    ]  # fmt: skip
    assert {r["note"] for r in rows} == {"labels are PBE/def2-SVP (rMD17); split at random"}
    assert len({r["split"] for r in rows}) == 2  # of the two seeds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--molecules tea", "unknown molecule 'tea'; known: benzene, uracil"),
        ("--split 6", "unknown split 6 of revised MD17; known: 1, 2, 3, 4, 5"),
        ("--split 0", "unknown split 0"),
        ("--molecules ethanol uracil --data a.npz", "data names 1 files for 2 molecules"),
        ("--data lost.npz", "lost.npz: no such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as exit:
        run(options, tmp_path)
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_more_frames_than_the_authors_allow(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(f"--data {shared('rmd17_ethanol.npz')} --num-train 1200", tmp_path)
    assert "not to train on more than 1000 frames" in capsys.readouterr().err

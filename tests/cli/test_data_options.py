"""schnetgeo train on the published sets, from files as they are published."""

import re
from pathlib import Path

import numpy as np
import pytest

import schnetgeo as sg
from schnetgeo.data.split import Split
from schnetgeo.datasets import iso17, md17, qm9, rmd17
from tests.cli.test_cli import SMALL, refused, run
from tests.datasets.published import (
    index_csv,
    iso17_database,
    md17_npz,
    qm9_files,
    rmd17_npz,
    uncharacterized_txt,
    write_tar,
    write_zip,
)

COUNTS = "--num-train 6 --num-val 2"
STEPS = f"--max-steps 2 {SMALL}"
TRAIN, TEST = range(0, 20, 2), range(1, 21, 2)
FOLDS = {"reference": slice(0, 12), "test_within": slice(12, 17), "test_other": slice(17, 20)}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("QM9", "MD17", "RevisedMD17", "ISO17"):
        Path("data", name).mkdir(parents=True)


@pytest.fixture
def molecules(monkeypatch):
    """QM9 of thirty molecules, three of them uncharacterized."""
    monkeypatch.setattr(qm9, "SIZE", 30)
    monkeypatch.setattr(qm9, "UNCHARACTERIZED", 3)
    for key, file in qm9.SOURCE.files.items():
        monkeypatch.setitem(qm9.SOURCE.files, key, file._replace(size=None, checksum=None))
    Path("data/QM9/uncharacterized.txt").write_bytes(uncharacterized_txt([2, 3, 30]))
    write_tar(Path("data/QM9/dsgdb9nsd.xyz.tar.bz2"), qm9_files(30))


@pytest.fixture
def coupled_cluster(monkeypatch):
    """Ethanol of ten frames to train on and four to test on."""
    facts = md17.MOLECULES["ethanol_ccsd_t"]._replace(frames=14, num_test=4)
    monkeypatch.setitem(md17.MOLECULES, "ethanol_ccsd_t", facts)
    files = {"train": md17_npz(slice(10)), "test": md17_npz(slice(10, 14))}
    files = {f"ethanol_ccsd_t-{part}.npz": content for part, content in files.items()}
    write_zip(Path("data/MD17/ethanol_ccsd_t.zip"), files)


@pytest.fixture
def revised(monkeypatch):
    """Ethanol of forty frames, ten in each part of the splits 1 and 2."""
    facts = rmd17.MOLECULES["ethanol"]._replace(frames=40)
    monkeypatch.setitem(rmd17.MOLECULES, "ethanol", facts)
    monkeypatch.setattr(rmd17, "SPLIT_SIZE", 10)
    monkeypatch.setattr(rmd17, "ARCHIVE", rmd17.ARCHIVE._replace(size=None, checksum=None))
    lists = {"train_01": TRAIN, "test_01": TEST, "train_02": TEST, "test_02": TRAIN}
    files = {f"rmd17/splits/index_{name}.csv": index_csv(v) for name, v in lists.items()}
    files["rmd17/npz_data/rmd17_ethanol.npz"] = rmd17_npz()
    write_tar(Path("data/RevisedMD17/rmd17.tar.bz2"), files)


@pytest.fixture
def isomers(monkeypatch):
    """ISO17 of three folds."""
    files = {"iso17/validation_ids.txt": b"2\n3\n"}
    for fold, rows in FOLDS.items():
        monkeypatch.setitem(iso17.FOLDS, fold, iso17.Fold(rows.stop - rows.start, ""))
        path = iso17_database(Path(f"{fold}.db"), rows)
        files[f"iso17/{path.name}"] = path.read_bytes()
    write_tar(Path("data/ISO17/iso17.tar.gz"), files)


def parts(out="out"):
    return [part.tolist() for part in Split.load(f"{out}/split.npz")]


@pytest.mark.usefixtures("molecules")
def test_qm9(capsys):
    run(f"train --dataset QM9 --target gap --task energy --out out {COUNTS} {STEPS}")
    out = capsys.readouterr().out
    assert "errors on 19 structures" in out
    assert "split random, " in out
    assert [str(target) for target in sg.load("out/model.safetensors").targets] == ["gap (eV)"]
    run(f"train --dataset QM9 --target mu --out mu {COUNTS} {STEPS}")
    out = capsys.readouterr().out
    assert re.search(r"^  mu +[\d.]+ Debye", out, re.M)
    assert "eV" not in out
    line = refused(
        capsys, f"train --dataset QM9 --target mu --targets energy --out m {COUNTS} {STEPS}"
    )
    assert "QM9: target mu is in Debye, but the model predicts energies; take another" in line


@pytest.mark.usefixtures("coupled_cluster")
def test_coupled_cluster_is_tested_on_its_own_frames(capsys):
    md17 = "--dataset MD17 --molecule ethanol_ccsd_t"
    run(f"train {md17} --out out {COUNTS} {STEPS}")
    assert "split published, " in capsys.readouterr().out
    train, val, test = parts()
    assert set(train + val) <= set(range(10))
    assert sorted(test) == [10, 11, 12, 13]
    run(f"train {md17} --split random --num-test 5 --out random {COUNTS} {STEPS}")
    assert "split random, " in capsys.readouterr().out
    assert len(parts("random")[2]) == 5


@pytest.mark.usefixtures("revised")
def test_splits_of_revised_md17(capsys):
    for options, number, pool in (("", 1, TRAIN), ("--split 2", 2, TEST)):
        run(f"train --dataset RevisedMD17 --out out{number} {COUNTS} {STEPS} {options}")
        assert f"split {number}, " in capsys.readouterr().out
        train, val, test = parts(f"out{number}")
        assert set(train + val) <= set(pool)
        assert not set(test) & set(pool)
    line = refused(capsys, f"train --dataset RevisedMD17 --split 3 --out out {STEPS}")
    assert "rmd17.tar.bz2: has no member 'rmd17/splits/index_test_03.csv'" in line


@pytest.mark.usefixtures("revised")
@pytest.mark.parametrize("how", ["random", "own.npz"])
def test_no_more_frames_than_the_authors_ask_for(capsys, monkeypatch, how):
    monkeypatch.setattr(
        rmd17.RevisedMD17.__init__, "__defaults__", ("data", "ethanol", None, None, 5)
    )
    file = rmd17.SOURCE.files["ethanol"]._replace(checksum=None)
    monkeypatch.setitem(rmd17.SOURCE.files, "ethanol", file)
    Path("data/RevisedMD17", file.name).write_bytes(rmd17_npz())
    np.savez("own.npz", train=np.arange(6), val=[6], test=[7])
    train = f"train --dataset RevisedMD17 --num-val 2 {STEPS}"
    run(f"{train} --split random --num-train 5 --out five")
    line = refused(capsys, f"{train} --split {how} --num-train 6 --out out")
    assert "its authors ask not to train on more than 5 frames" in line


@pytest.mark.usefixtures("isomers")
def test_folds_of_iso17(capsys):
    run(f"train --dataset ISO17 --fold reference test_other --out out {COUNTS} {STEPS}")
    out = capsys.readouterr().out
    assert "errors on 3 structures" in out
    assert "split published, " in out
    assert set(parts()[1]) == {1, 2}  # rows 2 and 3 of validation_ids.txt


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--dataset QM7", "unknown data set 'QM7'; known: QM9, MD17, RevisedMD17, ISO17, Demo"),
        ("--dataset QM9 --molecule ethanol", "--molecule has no effect on QM9; leave it away"),
        ("--dataset MD17 --target U0", "--target has no effect on MD17; leave it away"),
        ("--dataset RevisedMD17 --fold reference", "--fold has no effect on RevisedMD17"),
        ("--dataset ISO17 --molecule ethanol", "--molecule has no effect on ISO17"),
        ("--root there", "--root has no effect on Demo; leave it away"),
        ("--dataset QM9 --target U5", "unknown target 'U5' of QM9; known: A, B"),
        ("--dataset ISO17 --fold train", "fold ['train'] of ISO17 must name"),
        ("--split published", "Demo ethanol: has no published split 'published'; give random"),
        ("--split 2", "Demo ethanol: has no published split '2'; give random, blocks"),
        ("--data own.npz --root there", "--root has no effect beside --data"),
        ("--data own.npz --fold reference", "--fold has no effect beside --data"),
        ("--drop smiles", "--drop has no effect without --data"),
    ],
)
def test_options_without_effect(capsys, options, message):
    assert message in refused(capsys, f"train --out out {STEPS} {options}")


def test_files_at_hand_beside_a_data_set(molecules, revised, coupled_cluster, isomers):
    """`--data` is what `file=` is in Python, and the data set reads it as it is published."""
    Path("data").rename("elsewhere")
    for command, copy in (
        ("--dataset QM9 --task energy", "QM9/dsgdb9nsd.xyz.tar.bz2"),
        ("--dataset MD17 --molecule ethanol_ccsd_t", "MD17/ethanol_ccsd_t.zip"),
        ("--dataset RevisedMD17", "RevisedMD17/rmd17.tar.bz2"),
        ("--dataset ISO17", "ISO17/iso17.tar.gz"),
    ):
        Path("data/QM9").mkdir(parents=True, exist_ok=True)
        Path("data/QM9/uncharacterized.txt").write_bytes(uncharacterized_txt([2, 3, 30]))
        out = command.split()[1]
        run(f"train {command} --data elsewhere/{copy} {COUNTS} {STEPS} --out {out}")
        assert len(Split.load(f"{out}/split.npz").train) == 6
        if "ISO17" not in command:  # of which it asks for all folds
            run(f"data info {command.replace(' --task energy', '')} --data elsewhere/{copy}")

import sqlite3

import numpy as np
import pytest
import torch

from schnetgeo.datasets import ISO17, load_data
from schnetgeo.datasets.iso17 import FOLDS, SOURCE, Fold, mean_predictor_errors
from schnetgeo.errors import InputError
from tests.datasets.published import iso17_database, row_forces, write_tar
from tests.datasets.server import serve

FIRST = -11505.647279852  # eV, as stored
ROWS = {
    "reference": slice(0, 20),
    "reference_eq": slice(0, 2),
    "test_within": slice(20, 25),
    "test_other": slice(25, 32),
    "test_eq": slice(32, 34),
}
VALIDATION = [2, 3, 20]  # rows of reference, counted from 1


@pytest.fixture
def folder(tmp_path):
    """The files of the archive, with a few structures in each fold."""
    (tmp_path / "iso17").mkdir()
    for fold, rows in ROWS.items():
        iso17_database(tmp_path / "iso17" / f"{fold}.db", rows)
    (tmp_path / "iso17" / "validation_ids.txt").write_text("2\n3\n20\n")
    return tmp_path / "iso17"


@pytest.fixture
def archive(folder):
    files = {f"iso17/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    return write_tar(folder.parent / "iso17.tar.gz", files)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for fold, rows in ROWS.items():
        monkeypatch.setitem(FOLDS, fold, Fold(rows.stop - rows.start, ""))


@pytest.mark.parametrize("fold", FOLDS)
def test_energies_and_forces_of_each_fold(folder, fold):
    dataset = ISO17(file=folder, fold=fold)
    assert dataset.counts == {fold: len(dataset)} == {fold: FOLDS[fold].structures}
    if fold.startswith("reference"):
        assert float(dataset[0].energy) == FIRST
        assert dataset[0].pos[0].tolist() == pytest.approx([0.20960939, -0.23634153, -0.85658607])
    assert dataset[1].forces.tolist() == row_forces(1)
    assert float(dataset[1].forces[0, 2]) == 0.102
    assert dataset.get_property("energy").dtype == torch.float64
    assert dataset.get_property("fold").unique().tolist() == [list(FOLDS).index(fold)]


def test_databases_of_older_versions_of_ase(tmp_path):
    iso17_database(tmp_path / "test_eq.db", slice(0, 2), as_text=True)
    assert ISO17(file=tmp_path, fold="test_eq")[1].forces.tolist() == row_forces(1)


def test_pools(folder):
    dataset = ISO17(file=folder, fold=["test_other", "reference", "test_within"])
    pools = {name: pool.tolist() for name, pool in dataset.pools._asdict().items()}
    assert pools["val"] == [7 + 1, 7 + 2, 7 + 19]
    assert pools["train"] == [7 + k for k in range(20) if k + 1 not in VALIDATION]
    assert pools["test"] == [*range(7), *range(27, 32)]
    assert ISO17(file=folder, fold="test_other").pools is None


def test_load_data_keeps_to_the_folds(folder):
    train, val, test = load_data("ISO17", file=folder, num_train=10, num_val=2)
    assert [len(part.dataset) for part in (train, val, test)] == [10, 2, 5]
    held_out = set(ISO17(file=folder).get_property("energy")[[1, 2, 19]].tolist())
    energies, folds = (
        [{v for batch in loader for v in batch[key].tolist()} for loader in (train, val, test)]
        for key in ("energy", "fold")
    )
    assert energies[1] <= held_out
    assert not energies[0] & held_out
    assert folds == [{0}, {0}, {2}]


@pytest.mark.parametrize(
    "numbers", [dict(num_train=18, num_val=1), dict(num_train=1, num_val=4), dict(num_train=0,
    num_val=1), dict(num_train=1, num_val=1, num_test=6)]
)  # fmt: skip
def test_more_than_a_pool_holds(folder, numbers):
    with pytest.raises(
        InputError, match=r"test_within: \d+ structures asked for where \d+ are pub"
    ):
        load_data("ISO17", file=folder, **numbers)


def test_archive_is_fetched_and_unpacked_once(tmp_path, archive, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve({"/iso17.tar.gz": archive.read_bytes()}) as server:
        file = SOURCE.files["archive"]._replace(url=server.url + "iso17.tar.gz", mirrors=())
        monkeypatch.setitem(SOURCE.files, "archive", file)
        for fold in ("test_eq", "test_eq", "reference"):
            dataset = ISO17(tmp_path / "data", fold)
    assert server.asked == ["/iso17.tar.gz"]
    assert dataset.pools.val.tolist() == [1, 2, 19]
    assert len(ISO17(tmp_path / "other", "test_eq", file=archive)) == 2


def test_mean_predictor(folder):
    mean = float(ISO17(file=folder, fold="reference").get_property("energy").mean())
    dataset = ISO17(file=folder, fold="test_other")
    errors = mean_predictor_errors(dataset, mean)
    off = dataset.get_property("energy").numpy() - mean
    forces = dataset.get_property("forces").numpy()
    expected = [np.abs(off).mean(), np.sqrt((off**2).mean())]
    expected += [np.abs(forces).mean(), np.sqrt((forces**2).mean())]
    assert list(errors) == pytest.approx(expected)
    assert errors.energy_mae <= errors.energy_rmse


@pytest.mark.parametrize("fold", ["train", [], ["test_eq", "test_eq"], ["test_eq", "other"]])
def test_unknown_fold(folder, fold):
    with pytest.raises(InputError, match="of ISO17 must name one or several of reference, ref"):
        ISO17(file=folder, fold=fold)


def test_unexpected_count(folder, monkeypatch):
    monkeypatch.setitem(FOLDS, "test_other", Fold(130_000, ""))
    with pytest.raises(
        InputError, match="fold test_other of ISO17 has 7 structures, where 130000 are known; get"
    ):
        ISO17(file=folder, fold="test_other")
    assert len(ISO17(file=folder, fold="test_other", check_counts=False)) == 7


def test_unexpected_count_leaves_no_store(tmp_path, archive, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setitem(FOLDS, "test_within", Fold(101_000, ""))
    with serve({"/iso17.tar.gz": archive.read_bytes()}) as server:
        file = SOURCE.files["archive"]._replace(url=server.url + "iso17.tar.gz", mirrors=())
        monkeypatch.setitem(SOURCE.files, "archive", file)
        for _ in range(2):
            with pytest.raises(InputError, match="fold test_within of ISO17 has 5 structures, wh"):
                ISO17(tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.store"))
    assert len(ISO17(tmp_path / "data", check_counts=False)) == 25


@pytest.mark.parametrize("text", ["0\n", "2\n21\n", "-1\n"])
def test_ids_out_of_range(folder, text):
    (folder / "validation_ids.txt").write_text(text)
    with pytest.raises(InputError, match=r"validation_ids.txt: row -?\d+ does not exist, fold ref"):
        ISO17(file=folder)


def test_ids_that_cannot_be_read(folder):
    (folder / "validation_ids.txt").write_text("one\n")
    with pytest.raises(InputError, match="validation_ids.txt: cannot be read"):
        ISO17(file=folder)
    (folder / "validation_ids.txt").unlink()
    with pytest.raises(InputError, match="validation_ids.txt: cannot be read"):
        ISO17(file=folder)


BROKEN = {
    "is not an isomer of C7O2H10": "UPDATE systems SET numbers=zeroblob(76) WHERE id=3",
    "has no 'total_energy'": "UPDATE systems SET key_value_pairs='{}' WHERE id=3",
    "has no 'atomic_forces'": "UPDATE systems SET data=NULL WHERE id=3",
    r"atomic_forces must have shape \(19, 3\), got \(1, 3\)": "UPDATE systems SET "
    """data='{"atomic_forces": [[1, 2, 3]]}' WHERE id=3""",
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_row_is_named(folder, message):
    with sqlite3.connect(folder / "test_other.db") as database:
        database.execute(BROKEN[message])
    with pytest.raises(InputError, match=f"test_other.db, row 3: {message}"):
        ISO17(file=folder, fold="test_other")


def test_missing_files(tmp_path, folder):
    (folder / "test_eq.db").unlink()
    with pytest.raises(InputError, match="test_eq.db: no such file"):
        ISO17(file=folder, fold="test_eq")
    archive = write_tar(tmp_path / "short.tar.gz", {"iso17/reference.db": b""})
    with pytest.raises(InputError, match="short.tar.gz: has no member 'iso17/test_within.db'"):
        ISO17(tmp_path / "data", file=archive)


def test_edges_of_what_was_read_from_a_file(folder):
    dataset = ISO17(file=folder, fold="test_within").with_edges(5.0)
    assert dataset.batch([0, 3]).edge_index.size(1) > 0

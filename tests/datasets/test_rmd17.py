import pytest
import torch
from torch_geometric.datasets import MD17 as PyGMD17

from schnetgeo.datasets import RevisedMD17, load_data
from schnetgeo.datasets import rmd17 as module
from schnetgeo.datasets.published import sample_split
from schnetgeo.datasets.rmd17 import ARCHIVE, MOLECULES, SOURCE
from schnetgeo.errors import InputError
from tests.datasets.published import index_csv, rmd17_npz, write_tar
from tests.datasets.server import serve

KCAL_MOL = 0.0433641042418  # eV
FIRST = -4209.559815650846  # eV: -97074.75547467025 kcal/mol of the first frame
FORCE = -1.3837085  # eV/Å: -31.90907598 kcal/mol/Å of its first atom along x
FRAMES = 40
TRAIN, TEST = range(0, 20, 2), range(1, 21, 2)


def archive(tmp_path, **changes):
    files = {
        "rmd17/npz_data/rmd17_ethanol.npz": rmd17_npz(),
        "rmd17/splits/index_train_02.csv": index_csv(TRAIN),
        "rmd17/splits/index_test_02.csv": index_csv(TEST),
    }
    files |= {f"rmd17/splits/index_{name}_02.csv": index_csv(v) for name, v in changes.items()}
    return write_tar(tmp_path / "rmd17.tar.bz2", files)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Forty frames and splits of ten instead of 100,000 and 1,000."""
    facts = MOLECULES["ethanol"]._replace(frames=FRAMES)
    monkeypatch.setitem(MOLECULES, "ethanol", facts)
    monkeypatch.setattr(module, "SPLIT_SIZE", 10)


def test_units_and_old_indices(tmp_path):
    (tmp_path / "rmd17_ethanol.npz").write_bytes(rmd17_npz())
    dataset = RevisedMD17(file=tmp_path / "rmd17_ethanol.npz")
    assert len(dataset) == FRAMES
    assert float(dataset[0].energy) == pytest.approx(FIRST, abs=1e-9)
    assert float(dataset[0].forces[0, 0]) == pytest.approx(FORCE, abs=1e-8)
    assert dataset.get_property("old_indices")[:3].tolist() == [0, 7, 14]
    assert dataset.pools is None


def test_published_split_from_the_archive(tmp_path):
    dataset = RevisedMD17(tmp_path, split=2, file=archive(tmp_path))
    assert [pool.tolist() for pool in dataset.pools[:2]] == [list(TRAIN), list(TEST)]
    split = sample_split(dataset, num_train=8, num_val=2)
    assert sorted([*split.train.tolist(), *split.val.tolist()]) == list(TRAIN)
    assert sorted(split.test.tolist()) == list(TEST)


def test_load_data_keeps_to_the_split(tmp_path):
    options = dict(root=tmp_path, split=2, file=archive(tmp_path), num_train=8, num_val=2)
    train, val, test = load_data("RevisedMD17", **options)
    assert [len(part.dataset) for part in (train, val, test)] == [8, 2, 10]
    with pytest.raises(InputError, match="ethanol: 11 structures asked for where 10 are publ"):
        load_data("RevisedMD17", **options | dict(num_train=9))


def test_archive_is_fetched_once(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    content = archive(tmp_path).read_bytes()
    with serve({"/rmd17.tar.bz2": content}) as server:
        monkeypatch.setattr(module, "ARCHIVE", ARCHIVE._replace(
            url=server.url + "rmd17.tar.bz2", size=len(content), checksum=None
        ))  # fmt: skip
        for _ in range(2):
            assert len(RevisedMD17(tmp_path / "data", split=2).pools.train) == 10
    assert server.asked == ["/rmd17.tar.bz2"]


def test_single_molecule_is_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve({"/ethanol": rmd17_npz()}) as server:
        file = SOURCE.files["ethanol"]._replace(url=server.url + "ethanol", mirrors=())
        monkeypatch.setitem(SOURCE.files, "ethanol", file)
        with pytest.raises(InputError, match="md5 checksum .* but rmd17_ethanol.npz has eb837fb8"):
            RevisedMD17(tmp_path)
        monkeypatch.setitem(SOURCE.files, "ethanol", file._replace(checksum=None))
        small = MOLECULES["ethanol"]
        monkeypatch.setitem(MOLECULES, "ethanol", small._replace(frames=100_000))
        with pytest.raises(InputError, match="has 40 frames of 9 atoms, but 100000 of 9 were publ"):
            RevisedMD17(tmp_path)
        monkeypatch.setitem(MOLECULES, "ethanol", small)
        for _ in range(2):
            assert len(RevisedMD17(tmp_path)) == FRAMES
    assert server.asked == ["/ethanol"] * 2


def test_refuses_many_frames_unless_told_otherwise(tmp_path):
    (tmp_path / "own.npz").write_bytes(rmd17_npz())
    options = dict(file=tmp_path / "own.npz", num_train=30, num_val=5)
    with pytest.raises(InputError, match="not to train on more than 20 frames.*num_train=30; give"):
        load_data("RevisedMD17", max_train=20, **options)
    train, _, _ = load_data("RevisedMD17", max_train=None, **options)
    assert len(train.dataset) == 30
    assert RevisedMD17(file=tmp_path / "own.npz").max_train == 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(train=range(31, 41)), "train_02.csv: frame 40 does not exist, there are 40, counted"),
        (dict(test=[-1, *range(9)]), "test_02.csv: frame -1 does not exist"),
        (dict(train=range(9)), "train_02.csv: has 9 different numbers, but .* have 10; delete it"),
        (dict(train=[3] * 10), "train_02.csv: has 1 different numbers"),
        (dict(train=range(10)), "index_test_02.csv: frame 1 is in both; delete them"),
    ],
)
def test_splits_that_cannot_be(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        RevisedMD17(tmp_path, split=2, file=archive(tmp_path, **changes))


def test_archive_without_the_split(tmp_path):
    with pytest.raises(InputError, match="has no member 'rmd17/splits/index_test_03.csv'; it is"):
        RevisedMD17(tmp_path, split=3, file=archive(tmp_path))


def test_unknown_names():
    with pytest.raises(InputError, match="unknown molecule 'methanol'; known: benzene, uracil"):
        RevisedMD17(molecule="methanol")
    with pytest.raises(InputError, match="unknown split 0 of revised MD17; known: 1, 2, 3, 4, 5"):
        RevisedMD17(split=0)


def test_part_of_a_set_has_no_published_split(tmp_path):
    dataset = RevisedMD17(tmp_path, split=2, file=archive(tmp_path))
    with pytest.raises(InputError, match="ethanol: split the whole data set, not a part of it"):
        sample_split(dataset[:20], 5, 1)


def test_same_as_pyg_but_for_its_rounding(tmp_path):
    raw = tmp_path / "raw" / "rmd17" / "npz_data"
    raw.mkdir(parents=True)
    (raw / "rmd17_ethanol.npz").write_bytes(rmd17_npz())
    theirs = PyGMD17(str(tmp_path), "revised ethanol")
    ours = RevisedMD17(file=raw / "rmd17_ethanol.npz")
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.z, b.z)
        torch.testing.assert_close(a.pos.float(), b.pos)
        torch.testing.assert_close((a.forces / KCAL_MOL).float(), b.force)
        assert float(a.energy) / KCAL_MOL == pytest.approx(float(b.energy), abs=0.004)

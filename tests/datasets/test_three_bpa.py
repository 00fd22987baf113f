"""3BPA, with two records of its training set at mixed temperatures."""

import pytest

from schnetgeo.datasets import ThreeBPA, load_data, three_bpa
from schnetgeo.datasets.three_bpa import SOURCE, TEST_SETS
from schnetgeo.errors import InputError
from tests.datasets.published import write_tar
from tests.datasets.server import serve

RECORDS = """\
27
Lattice="50.0 0.0 0.0 0.0 50.0 0.0 0.0 0.0 50.0" Properties=species:S:1:pos:R:3:forces:R:3 energy=-17660.321436367645 dihedrals="_JSON [160.34, 73.35, 28.36]" pbc="F F F"
C       -1.69765400      -0.02933130       2.02962510       1.71437450       0.13863573      -2.46470871
C       -0.76398902       0.59132778       1.20651098      -0.17199300       2.33624752       1.17667100
C       -1.96631370       0.51460038       3.24825774      -2.66047792      -1.68716481       2.51609114
H       -2.21806086      -0.87472376       1.70795622      -0.75835814      -1.49474067      -0.53719410
C       -0.23122570       1.84410039       1.73423519       1.12356587       0.01975031      -2.39964084
O       -0.39594170       0.41701043      -0.09452635      -0.24654507      -1.26019338      -0.16840075
N        0.64954340       2.58039387       0.90291895      -1.89472450      -0.10882950       1.36328265
N       -0.58022464       2.39358919       2.85155415      -0.61734235      -0.17051479       1.91094039
H        1.17193001       2.06416301       0.26727246       0.88743043      -1.14226810      -1.36630893
H        1.16564545       3.32119513       1.32874686       0.02785206       0.31830961       0.58846314
C       -1.44125098       1.67886973       3.63186498       1.40125928       1.53133181      -0.53998390
H       -1.69147454       2.04004757       4.59839449      -0.06978038       0.84443810       0.77956510
H       -2.72717625       0.02306586       3.94350978       1.15609927       0.52200739      -1.07075691
C       -0.46609670      -0.92802820      -0.59571794       0.01589253      -0.27541261       1.39444070
C       -1.90800636      -1.41280476      -0.83706774       1.41965977       0.42207091       0.81932359
H       -0.01857087      -1.58105151       0.21457283      -0.26631227       0.32867640      -0.95463148
H        0.21093378      -0.91908306      -1.46036116      -0.44169656      -0.20030004      -0.07250409
C       -2.29036922      -2.67535523      -0.48022462      -2.18719999      -1.43351063      -0.55492033
C       -2.91744169      -0.54937050      -1.14723647      -3.00628343       1.68250452      -1.00420362
C       -3.66520507      -3.11910743      -0.64343866       2.89798334       0.20221970       0.44927003
H       -1.56273560      -3.35564346      -0.07401208       0.24773408      -0.45485066       0.09515269
C       -4.65134852      -2.28647791      -1.11661985       0.65506993       1.33437572       0.68303177
H       -3.83164087      -4.14090311      -0.34908635      -0.44836168      -0.37017332      -0.00496676
C       -4.27602477      -0.92044274      -1.29778880       1.35619170      -1.92521425      -0.12228984
H       -5.65821755      -2.68046032      -1.12272488      -0.32188192       0.30994543      -0.43251484
H       -4.94959123      -0.18274624      -1.67149053      -0.67068869       0.48151767       0.05694716
H       -2.81377065       0.52574782      -1.25353491       0.85853314       0.05114196      -0.14015428
"""  # noqa: E501
ENERGY = -17660.321436367645  # eV


def archive(path, content=RECORDS, **changes):
    """The record twice to train on, and once in each file to test on, with other energies."""
    files = {"train_300K": content * 2, "train_mixedT": content * 3}
    for number, name in enumerate(TEST_SETS):
        files[f"test_{name}"] = content.replace("energy=-17660", f"energy=-1766{number}")
    files = {f"dataset_3BPA/{k}.xyz": v.encode() for k, v in (files | changes).items()}
    return write_tar(path / "dataset_3BPA.tar.gz", files)


def test_units_and_pools(tmp_path):
    dataset = ThreeBPA(tmp_path / "data", file=archive(tmp_path))
    first = dataset[0]
    assert float(first.energy) == ENERGY
    assert first.forces[0].tolist() == pytest.approx([1.71437450, 0.13863573, -2.46470871])
    assert first.pos[0].tolist() == pytest.approx([-1.69765400, -0.02933130, 2.02962510])
    assert "cell" not in first
    train, test, _ = dataset.pools
    assert (train.tolist(), test.tolist()) == ([0, 1], [2, 3, 4, 5, 6, 7])
    assert dataset.get_property("fold").tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    rows = dataset.parts()
    assert rows[0] == {"file": "train_300K", "structures": 2}
    assert rows[6] == {"file": "test_dih_beta180", "structures": 1}
    assert float(dataset[7].energy) == pytest.approx(ENERGY - 5)


def test_downloads_once(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve({"/archive": archive(tmp_path).read_bytes()}) as server:
        file = SOURCE.files["archive"]._replace(url=server.url + "archive")
        monkeypatch.setitem(three_bpa.SOURCE.files, "archive", file)
        for train_set, number in (("300K", 1), ("mixedT", 2), ("300K", 1)):
            train, val, test = load_data(
                "ThreeBPA", root=tmp_path, train_set=train_set, num_train=number, num_val=1
            )
            assert [len(part.dataset) for part in (train, val, test)] == [number, 1, 6]
    assert server.asked == ["/archive"]


def test_refuses(tmp_path):
    with pytest.raises(InputError, match="unknown train_set '600K'; known: 300K, mixedT"):
        ThreeBPA(tmp_path, "600K")
    bare = RECORDS.replace("energy=", "other=")
    with pytest.raises(InputError, match="test_600K.xyz: has no energy; it is no file of 3BPA"):
        ThreeBPA(tmp_path, file=archive(tmp_path, test_600K=bare))

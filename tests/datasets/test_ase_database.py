import sqlite3

import numpy as np
import pytest
from ase import Atoms
from ase.db import connect

from schnetgeo.datasets.ase_database import metadata, rows
from schnetgeo.errors import InputError


@pytest.fixture
def path(tmp_path):
    """A crystal and a molecule, with everything that a row can hold."""
    with connect(tmp_path / "own.db") as database:
        database.metadata = {"unit": "eV"}
        crystal = Atoms([26, 8], [[0, 0, 0], [0.1, 1 / 3, 2.0]], cell=[3, 4, 5], pbc=[1, 0, 1])
        arrays = {"forces": np.arange(6.0).reshape(2, 3), "nested": [[1, 2], [3, 4.5]]}
        database.write(crystal, name="rust", total=-1.5, data=arrays)
        database.write(Atoms([1]))
    return tmp_path / "own.db"


def test_rows(path):
    crystal, atom = rows(path)
    assert crystal.id == 1
    assert crystal.numbers.tolist() == [26, 8]
    assert crystal.positions.tolist() == [[0, 0, 0], [0.1, 1 / 3, 2.0]]
    assert crystal.cell.tolist() == np.diag([3, 4, 5]).tolist()
    assert crystal.pbc.tolist() == [True, False, True]
    assert crystal.get("name") == "rust"
    assert crystal.get("total") == -1.5
    assert crystal.get("forces").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert crystal.get("nested") == [[1, 2], [3, 4.5]]
    assert crystal.get("other") is None
    assert (atom.numbers.tolist(), atom.key_value_pairs, atom.data) == ([1], {}, {})


@pytest.mark.parametrize(
    "text", ['{"f": [1, 2]}', '{"f": {"__ndarray__": [[2], "int64", [1, 2]]}}']
)
def test_data_as_older_versions_wrote_them(path, text):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE systems SET data=?", (text,))
    assert np.asarray(next(rows(path)).data["f"]).tolist() == [1, 2]


def test_ids_with_gaps(path):
    with connect(path) as database:
        database.write(Atoms([2]))
        del database[2]
    assert [row.id for row in rows(path)] == [1, 3]


def test_metadata(path):
    assert metadata(path) == {"unit": "eV"}
    with connect(path.with_name("bare.db")) as database:
        database.write(Atoms([1]))
    assert metadata(path.with_name("bare.db")) == {}


def test_reading_leaves_no_trace(path):
    before = {p.name for p in path.parent.iterdir()}
    path.chmod(0o444)
    assert len(list(rows(path))) == 2
    assert {p.name for p in path.parent.iterdir()} == before


def test_other_files(tmp_path, path):
    (tmp_path / "text.db").write_text("nothing of the kind" * 100)
    (tmp_path / "half.db").write_bytes(path.read_bytes()[:5000])
    sqlite3.connect(tmp_path / "empty.db").close()
    for name in ("text.db", "half.db", "empty.db"):
        for read in (lambda p: list(rows(p)), metadata):
            with pytest.raises(InputError, match=f"{name}: not an ASE database, or not a whole on"):
                read(tmp_path / name)
    with pytest.raises(InputError, match="absent.db: no such file"):
        list(rows(tmp_path / "absent.db"))

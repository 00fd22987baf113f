"""Databases that compute what they hold, or hold what ASE does not write."""

import sqlite3

import ase.db
import pytest
from ase.build import molecule

from schnetgeo.datasets import AtomsFile
from schnetgeo.datasets.ase_database import metadata, rows
from schnetgeo.errors import InputError

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"
COLUMNS = (
    "i AS id, NULL AS numbers, NULL AS positions, NULL AS cell, 0 AS pbc, '' AS key_value_pairs"
)


@pytest.fixture
def path(tmp_path):
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(molecule("H2O"), data={"note": "x"})
    return tmp_path / "a.db"


def change(path, *statements):
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
    database.close()


@pytest.mark.parametrize(
    "statements",
    [
        ("DROP TABLE systems", f"CREATE VIEW systems AS {ENDLESS.format(COLUMNS)}"),
        ("DROP TABLE information",
         f"CREATE VIEW information AS {ENDLESS.format('i AS name, i AS value')}"),
        ("ALTER TABLE systems ADD COLUMN more AS (zeroblob(900000000))",),
    ],
    ids=["systems", "information", "generated"],
)  # fmt: skip
def test_computed_tables_are_refused(path, statements):
    change(path, *statements)
    for read in (metadata, lambda p: list(rows(p)), AtomsFile):
        with pytest.raises(InputError, match="is computed by the database and not a table"):
            read(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE systems SET numbers = 'text'",
        "UPDATE systems SET positions = NULL",
        "UPDATE systems SET positions = x'00'",
        "UPDATE systems SET key_value_pairs = '[1]'",
        "UPDATE systems SET data = '[1]'",
        "UPDATE systems SET data = x'00ff'",
        "UPDATE systems SET pbc = 'x'",
    ],
)
def test_columns_of_other_types(path, statement):
    change(path, statement)
    with pytest.raises(InputError, match=r"a\.db, row 1: is none of ASE's"):
        list(rows(path))


def test_metadata_that_are_no_dictionary(path):
    change(path, "INSERT INTO information VALUES ('metadata', '[1]')")
    with pytest.raises(InputError, match="its metadata are no dictionary"):
        metadata(path)

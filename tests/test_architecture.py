"""ARCHITECTURE.md names files and functions that exist, and each file of a walk once."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
TEXT = PAGE.read_text() if PAGE.exists() else ""
FILES = sorted(set(re.findall(r"`([\w/]+\.py)`", TEXT)))
FOLDERS = sorted(set(re.findall(r"`([\w/]+/)`", TEXT)))


def path(name: str) -> Path:
    """A file or folder of the page: in the package, or beside it."""
    return ROOT / name if (ROOT / name).exists() else ROOT / "schnetgeo" / name


def section(title: str) -> str:
    """The text between a title and the next."""
    return TEXT.split(f"## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_files_exist(name):
    assert path(name).exists()


@pytest.mark.parametrize(
    "title",
    ["A training step", "A prediction", "A step of dynamics with a tabulated potential"],
)
def test_a_walk_enters_each_file_once(title):
    rows = [line for line in section(title).splitlines() if line.startswith("| `")]
    files = re.findall(r"`([\w/]+\.py)`", " ".join(row.split("|")[1] for row in rows))
    assert rows
    assert len(files) == len(set(files))


def test_the_house_has_all_rooms():
    named = set(re.findall(r"`(\w+(?:\.py|/))`", section("The house")))
    rooms = {
        f"{p.name}/" if p.is_dir() else p.name
        for p in (ROOT / "schnetgeo").iterdir()
        if (p.is_dir() or p.suffix == ".py") and not p.name.startswith("_")
    }
    assert rooms <= named


def test_functions_of_files_exist():
    """A name beside a file, as in "`layer_norm` in `engine/lowering/layer_rules.py`"."""
    pairs = re.findall(r"`(\w+)`\s(?:in|of)\s`([\w/]+\.py)`", TEXT)
    assert pairs
    for name, file in pairs:
        assert re.search(rf"\b{name}\b", path(file).read_text()), (name, file)

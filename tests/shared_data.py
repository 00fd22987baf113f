"""The reference data that tests share, where this machine has them."""

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("SCHNETGEO_DATA", _ROOT / ".." / "shared" / "data"))


def shared(name: str) -> Path:
    """Path of a shared file; skips the test where it is absent."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"no {path}; set SCHNETGEO_DATA to the folder of the shared data")
    return path

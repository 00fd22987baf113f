"""Each example runs as it stands, from an empty folder, with a readable result."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
OUTPUT = {
    "train_on_own_file.py": r"20 steps on 320 structures of molecules\.extxyz\n"
    r"errors on 40 others:\n(.*\n)+  forces +.* meV/Å.*\nmodel: .*model\.safetensors\n",
    "own_layer.py": r"GatedConv\n(  passed  .+\n)+(.*\n)+  forces .+ meV/Å .+\n",
    "elastic_constants.py": r"a = 3\.\d+ Å, bulk modulus 13\d GPa\n(C\d\d = \d+ GPa\n){3}",
    "own_target.py": r"largest_force \(eV/Å\): off by \d+ %\n",
    "forces.py": r"C2OH6: -\d+\.\d{4} eV\natom .*eV/Å\n([CHO]  ( +-?\d+\.\d{3}){3}\n){9}",
}
OPTIONS = {"elastic_constants.py": []}


@pytest.mark.parametrize("name", OUTPUT)
def test_example(name, tmp_path):
    run = subprocess.run(
        [sys.executable, EXAMPLES / name, *OPTIONS.get(name, ["--steps", "20"])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(OUTPUT[name], run.stdout), run.stdout
    assert "Warning" not in run.stderr


def test_every_example_is_run_and_short():
    files = sorted(EXAMPLES.glob("*.py"))
    assert [f.name for f in files] == sorted(OUTPUT)
    assert all(len(f.read_text().splitlines()) <= 40 for f in files)

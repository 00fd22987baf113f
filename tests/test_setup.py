"""Setting up says in one line what is missing, and leaves nothing that looks whole."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path):
    """What setting up reads, in a folder of its own."""
    for name in (".ci", "Makefile", "setup.cfg", "pyproject.toml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


def refuse(clone, script, *arguments, **environment) -> str:
    """The one line on the error stream of a script that fails."""
    done = subprocess.run(
        ["bash", f".ci/{script}", *arguments],
        cwd=clone,
        env={**os.environ, **{k: str(v) for k, v in environment.items()}},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_an_old_python_is_refused(clone):
    old = program(clone / "python3.8", '[ "$1" = --version ] && echo "Python 3.8.10" || exit 1')
    message = refuse(clone, "environment", "demo", PYTHON=old)
    assert "needs Python 3.11 or later" in message
    assert "is Python 3.8.10; make PYTHON=python3.12" in message
    assert not (clone / ".venv").exists()


def test_a_failed_installation_is_begun_anew(clone):
    """The next call does not take an environment without packages for a whole one."""
    log = clone / "log"
    python = program(
        clone / "python",
        'mkdir -p .venv/bin; cp "$0" .venv/bin/python 2>/dev/null\n'
        f'echo "$*" >> {log}; case "$*" in *"pip --quiet"*) exit 1;; esac',
    )
    for _ in range(2):
        assert "pip install failed" in refuse(clone, "environment", "demo", PYTHON=python)
    assert log.read_text().count("install torch") == 2
    assert not (clone / ".venv" / ".demo").exists()


def test_without_a_compiler_nothing_is_compiled(clone):
    answers = "*torch.__version__*) echo 2.13.0;; *version_info*) echo cp311;; *) exit 1;;"
    (clone / ".venv" / "bin").mkdir(parents=True)
    program(clone / ".venv" / "bin" / "python", f'case "$*" in {answers} esac')
    message = refuse(clone, "compiled", CXX="no-such-compiler", XDG_CACHE_HOME=clone / "cache")
    assert "there is no C++ compiler no-such-compiler; install g++" in message
    assert not list((clone / "cache").rglob("*.whl"))


def test_no_place_for_wheels(clone):
    (clone / ".venv" / "bin").mkdir(parents=True)
    program(clone / ".venv" / "bin" / "python", "echo 2.13.0")
    (clone / "cache").write_text("no folder")
    message = refuse(clone, "compiled", XDG_CACHE_HOME=clone / "cache")
    assert "cannot be written; set XDG_CACHE_HOME" in message

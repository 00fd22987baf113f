"""Compiled kernels are kept on disk, and never used for other sources than their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "schnetgeo"
KERNEL = """
from schnetgeo.ops.jit import standalone

@standalone
def set_all_rows(x, out):
    for i in range(out.shape[0]):
        for f in range(out.shape[1]):
            out[i, f] = x[f]
"""
PROGRAM = """
import numpy as np
from schnetgeo.ops.kernel import set_all_rows
from schnetgeo.ops.jit import serial, standalone

@standalone
def middle(row, out):
    set_all_rows(row, out)

@serial
def outer(row, out):
    middle(row, out)
    return out.sum()

print(outer(np.array([1.0, 2.0]), np.zeros((3, 2))), outer.stats.cache_hits.total())
"""
LINE = "            out[i, f] = x[f]\n"  # of KERNEL


@pytest.fixture
def home(tmp_path):
    """A folder with the program, a kernel that it calls, and a copy of what compiles it."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE / "ops", tmp_path / "schnetgeo" / "ops", ignore=ignored)
    shutil.copy(PACKAGE / "errors.py", tmp_path / "schnetgeo")
    (tmp_path / "schnetgeo" / "__init__.py").touch()
    (tmp_path / "schnetgeo" / "ops" / "kernel.py").write_text(KERNEL)
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def run(home, cache="cache"):
    """The program's sum, how many compiled functions came from the cache, and what it says."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(home / cache), "PYTHONPATH": str(home)}
    program = [sys.executable, str(home / "program.py")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    total, hits = done.stdout.split()
    return float(total), int(hits), done.stderr


def folders(home):
    return list((home / "cache" / "schnetgeo" / "kernels").iterdir())


def change(home, line):
    file = home / "schnetgeo" / "ops" / "kernel.py"
    text = file.read_text()
    assert LINE in text
    file.write_text(text.replace(LINE, line))


@pytest.mark.slow
def test_the_next_process_compiles_nothing(home):
    total, hits, said = run(home)
    assert (total, hits) == (9.0, 0)
    assert said.count("compiling kernels for this processor, once") == 1
    assert run(home) == (9.0, 1, "")


@pytest.mark.slow
def test_what_two_kernels_contain_is_loaded_for_each(home):
    """The second, compiled when its part was there already, is right in a process of its own."""
    text = PROGRAM.replace("@serial\ndef outer", "@serial\ndef inner")
    text = (
        text.partition("print(")[0]
        + """
@serial
def first(row, out):
    return inner(row, out)

@serial
def second(row, out):
    return 2 * inner(row, out)

import sys
for name in sys.argv[1:]:
    outer = globals()[name]
    print(outer(np.array([1.0, 2.0]), np.zeros((3, 2))))
"""
    )
    (home / "program.py").write_text(text)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(home / "cache"), "PYTHONPATH": str(home)}
    program = [sys.executable, str(home / "program.py")]
    for names, printed in ((["first", "second"], "9.0\n18.0\n"), (["second"], "18.0\n")):
        done = subprocess.run([*program, *names], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, printed)


@pytest.mark.slow
def test_a_changed_kernel_changes_what_calls_it(home):
    run(home)
    change(home, "            out[i, f] = 2 * x[f]\n")
    assert run(home)[:2] == (18.0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 1, 100, -100])
def test_a_changed_file_is_written_again(home, place):
    run(home)
    for file in folders(home)[0].iterdir():
        content = bytearray(file.read_bytes())
        content[place] ^= 1
        file.write_bytes(content)
    assert run(home)[:2] == (9.0, 0)
    assert run(home)[:2] == (9.0, 1)


@pytest.mark.slow
def test_a_file_that_was_cut_short_is_written_again(home):
    run(home)
    for file in folders(home)[0].iterdir():
        os.truncate(file, file.stat().st_size // 2)
    assert run(home)[:2] == (9.0, 0)
    assert run(home)[:2] == (9.0, 1)


@pytest.mark.slow
def test_processes_that_compile_at_once_for_other_types(home):
    """Each then loads what belongs to its types."""
    text = PROGRAM.replace("import numpy as np", "import sys\nimport numpy as np")
    program = home / "program.py"
    program.write_text(text.replace("np.zeros((3, 2))", "np.zeros((3, 2), sys.argv[1])"))
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(home / "cache"), "PYTHONPATH": str(home)}
    types = ["float32", "float64", "int64", "int32"]
    for hits in (0, 1):
        runs = [
            subprocess.Popen(
                [sys.executable, str(program), dtype],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )  # fmt: skip
            for dtype in types
        ]
        assert [run.communicate()[0].split() for run in runs] == [
            ["9" if "int" in dtype else "9.0", str(hits)] for dtype in types
        ]


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_said_once(home):
    (home / "cache").write_text("a file where a folder should be")
    total, hits, said = run(home)
    assert (total, hits) == (9.0, 0)
    assert said.count("compiled kernels cannot be kept in") == 1
    assert "NUMBA_CACHE_DIR" in said


@pytest.mark.slow
def test_folders_of_old_states_are_removed(home):
    old = [home / "cache" / "schnetgeo" / "kernels" / name for name in "abcdefghi"]
    for age, folder in enumerate(old):
        folder.mkdir(parents=True)
        os.utime(folder, (1e9 - age, 1e9 - age))
    run(home)
    assert [folder.name for folder in old if folder.exists()] == list("abcdefg")
    assert len(folders(home)) == 8

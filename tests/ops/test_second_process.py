"""Functions that a second process compiles are there for the first, whatever becomes of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "schnetgeo"
PROGRAM = """
import os, sys, time
import numpy as np
from numba import types
from schnetgeo.ops import second_process, symbols
from schnetgeo.ops.jit import serial, standalone

@standalone
def leaf(x):
    for n in range(x.shape[0]):
        x[n] += 1

@standalone
def other_leaf(x):
    for n in range(x.shape[0]):
        x[n] *= 2

@standalone
def middle(x):
    leaf(x)
    other_leaf(x)

@serial
def outer(x):
    middle(x)

NAMES = "leaf", "other_leaf", "middle"
SYMBOLS = [symbols.Symbol(f"__main__.{name}", (types.float64[::1],)) for name in NAMES]

def hits():
    return [symbols._functions[s.function].stats.cache_hits.total() for s in SYMBOLS]

def result():
    x = np.ones(2)
    outer(x)
    return x.tolist(), *hits()
"""
COMPILE_THERE = PROGRAM + "second_process.compile_there([SYMBOLS[2:]])\n"
WAIT = """
end = time.time() + 60
while not all(map(symbols.is_compiled, SYMBOLS)) and time.time() < end:
    time.sleep(0.01)
"""
needs_fork = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="a second core"
)


@pytest.fixture
def run(tmp_path):
    """Run a program with a copy of `ops` and a cache of its own; what it prints."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE / "ops", tmp_path / "schnetgeo" / "ops", ignore=ignored)
    shutil.copy(PACKAGE / "errors.py", tmp_path / "schnetgeo")
    (tmp_path / "schnetgeo" / "__init__.py").touch()
    cache = str(tmp_path / "cache")
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(tmp_path)}

    def start(program: str) -> subprocess.Popen:
        (tmp_path / "program.py").write_text(program)
        command = [sys.executable, str(tmp_path / "program.py")]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    return start


def printed(process: subprocess.Popen) -> str:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out.strip()


@needs_fork
def test_what_the_second_process_compiled_is_loaded(run):
    assert printed(run(COMPILE_THERE + WAIT + "print(*result())")) == "[4.0, 4.0] 1 1 1"


@needs_fork
def test_both_compile_at_once_and_nothing_twice(run):
    program = COMPILE_THERE + "wanted = result()[0]" + WAIT + "print(wanted)"
    assert printed(run(program)) == "[4.0, 4.0]"
    assert printed(run(PROGRAM + "print(*result())")) == "[4.0, 4.0] 1 1 1"


@pytest.mark.slow
def test_processes_that_need_the_same_share_the_work(run):
    """What one has compiled, or is compiling, the other loads."""
    program = PROGRAM + "print(sum(result()[1:]))"
    processes = [run(program) for _ in range(3)]
    assert sum(int(printed(process)) for process in processes) == 2 * 3


@needs_fork
def test_the_second_process_ends_with_the_first(run):
    program = COMPILE_THERE.replace(
        "second_process.compile_there(",
        "symbols.need = lambda stage: time.sleep(100)\nsecond_process.compile_there(",
    )
    children = "open('/proc/self/task/%d/children' % os.getpid()).read()"
    child = printed(run(program + f"print({children})"))
    assert child.isdigit()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            break
        subprocess.run(["sleep", "0.05"], check=True)
    else:
        raise AssertionError(f"process {child} is an orphan")


@needs_fork
def test_a_second_process_that_is_killed_costs_nothing_but_its_work(run):
    kill = """
import signal
children = open("/proc/self/task/%d/children" % os.getpid()).read().split()
for child in children:
    os.kill(int(child), signal.SIGKILL)
print(len(children), result()[0])
"""
    assert printed(run(COMPILE_THERE + kill)) == "1 [4.0, 4.0]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "cannot",
    [
        "os.fork = lambda: (_ for _ in ()).throw(BlockingIOError('too many processes'))",
        "os.sched_getaffinity = lambda process: {0}",
        "sys.platform = 'darwin'",
    ],
)
def test_without_a_second_process_the_first_compiles_all(run, cannot):
    program = COMPILE_THERE.replace("second_process.compile", f"{cannot}\nsecond_process.compile")
    assert printed(run(program + "print(*result())")) == "[4.0, 4.0] 0 0 0"


@pytest.mark.slow
def test_what_is_not_expected_is_compiled_when_it_is_called(run):
    program = PROGRAM.replace(
        "def middle(x):\n    leaf(x)", "def middle(x):\n    if x[0] == 1:\n        leaf(x)"
    )
    program += """
def compiled(name):
    return symbols._addresses[next(s for s in SYMBOLS if s.function.endswith(name)).name].value

symbols.expect({"__main__.leaf": False})
outer(np.zeros(2))
print(compiled(".leaf") is None, compiled("other_leaf") is None, end=" ")
print(*result())
"""
    for hits in ("0 0 0", "1 1 1"):
        assert printed(run(program)) == f"True False [4.0, 4.0] {hits}"


@pytest.mark.slow
def test_a_function_that_cannot_be_compiled_when_it_is_called_is_an_error(run):
    program = PROGRAM.replace("        x[n] += 1", "        x[n] += 'one'")
    program += """
symbols.expect({"__main__.leaf": False})
try:
    outer(np.ones(2))
except SystemError:
    print("SystemError")
"""
    assert printed(run(program)) == "SystemError"


@needs_fork
def test_a_cache_that_cannot_be_written(run, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert printed(run(COMPILE_THERE + "print(*result())")) == "[4.0, 4.0] 0 0 0"

"""The folder of compiled kernels for one state of their sources and of this machine.

Numba's own cache looks at the file of a function alone, not at the files of the functions that it
calls, so that a changed kernel would live on inside its callers. Here the folder's name is a digest
of all files with kernels, of Numba's and llvmlite's versions, and of the processor.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import sys
from pathlib import Path

import llvmlite
import llvmlite.binding
import numba
import platformdirs

PACKAGE = Path(__file__).parents[1]
_FOLDERS = 8  # of the states used last, such as other versions in other environments


def sources() -> list[Path]:
    """All files with kernels, or with numbers that are compiled into them."""
    files = sorted(PACKAGE.rglob("*.py"))
    kernels, folders = b"schnetgeo.ops.jit import", ("ops", "numba")
    return [
        f
        for f in files
        if f.parent.name in folders or f.name == "program.py" or kernels in f.read_bytes()
    ]


@functools.cache
def folder() -> Path:
    """Where the kernels of this state are: below NUMBA_CACHE_DIR or the user's cache folder."""
    digest = hashlib.sha256()
    for file in sources():
        digest.update(str(file.relative_to(PACKAGE)).encode() + b"\0" + file.read_bytes())
    processor = llvmlite.binding.get_host_cpu_features().flatten()
    for text in (numba.__version__, llvmlite.__version__, sys.version, processor):
        digest.update(b"\0" + text.encode())
    root = Path(numba.config.CACHE_DIR or platformdirs.user_cache_dir())
    return root / "schnetgeo" / "kernels" / digest.hexdigest()[:16]


@functools.cache
def remove_old_folders() -> None:
    """Keep this state and those others that were compiled last."""
    os.utime(folder())
    ages = {}
    for path in folder().parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # by another process
            ages[path] = path.stat().st_mtime
    for path in sorted(ages, key=ages.get, reverse=True)[_FOLDERS:]:
        shutil.rmtree(path, ignore_errors=True)

"""Compiled kernels on disk, in one folder for each state of their sources and of this machine.

Numba's own cache looks at the file of a function alone, not at the files of the functions that it
calls, so that a changed kernel would live on inside its callers. Here the folder's name is a digest
of all files with kernels, of Numba's and llvmlite's versions, and of the processor.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import llvmlite
import llvmlite.binding
import numba
import platformdirs
from numba.core.caching import Cache, CompileResultCacheImpl, _CacheLocator
from numba.core.serialize import dumps

from schnetgeo.ops import symbols

PACKAGE = Path(__file__).parents[1]
_FOLDERS = 8  # of the states used last, such as other versions in other environments


def sources() -> list[Path]:
    """All files with kernels: those of `ops`, and what imports their decorators."""
    files = sorted(PACKAGE.rglob("*.py"))
    kernels = b"schnetgeo.ops.jit import"
    return [f for f in files if f.parent.name == "ops" or kernels in f.read_bytes()]


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


class _Files:
    """A file for each signature of a function, whole and of that signature, or as good as absent.

    Numba's own files have numbers, which two processes that compile at once may both take.
    """

    def __init__(self, stem: str):
        self._stem = stem

    def load(self, key: tuple):
        path = self._path(key)
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            return None  # code of somebody else
        content = path.read_bytes()
        digest, text = content[:32], content[32:]
        if hashlib.sha256(text).digest() != digest:
            return None
        saved, data = pickle.loads(text)
        return data if saved == key else None

    def save(self, key: tuple, data) -> None:
        text = dumps((key, data))
        path = self._path(key)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(hashlib.sha256(text).digest() + text)
        os.replace(part, path)

    def _path(self, key: tuple) -> Path:
        return folder() / f"{self._stem}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"


class KernelCache(Cache):
    """The compiled versions of one function; a cache that fails costs time, never a result."""

    class _impl_class(CompileResultCacheImpl):
        class _Locator(_CacheLocator):
            def __init__(self, function: Callable):
                self._line = function.__code__.co_firstlineno

            @classmethod
            def from_function(cls, function: Callable, file: str):
                return cls(function)

            def get_cache_path(self) -> str:
                return str(folder())

            def get_source_stamp(self) -> str:
                return folder().name

            def get_disambiguator(self) -> str:
                return str(self._line)

        _locator_classes = [_Locator]

        def reduce(self, kernel):
            return symbols.needed_by(kernel.library), super().reduce(kernel)

        def rebuild(self, target, parts):
            needed, kernel = parts
            for symbol in needed:
                symbols.bind(symbol)
            return super().rebuild(target, kernel)

    def __init__(self, function: Callable, parallel: bool):
        super().__init__(function)
        self._cache_file = _Files(self._impl.filename_base + ("-parallel" if parallel else ""))

    def load_overload(self, signature, target):
        kernel = None
        with contextlib.suppress(OSError):
            kernel = super().load_overload(signature, target)
        if kernel is None:
            _announce()
        return kernel

    def save_overload(self, signature, kernel):
        try:
            folder().mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_old_folders()
            super().save_overload(signature, kernel)
        except OSError as error:
            _warn_once(
                f"compiled kernels cannot be kept in {folder()}: {error.strerror}; every process "
                "compiles again, until that folder can be written or NUMBA_CACHE_DIR names another"
            )


@functools.cache
def _announce() -> None:
    """Say once in a process that compiling begins."""
    print(
        "compiling kernels for this processor, once, up to half a minute",
        file=sys.stderr,
        flush=True,
    )


@functools.cache
def _remove_old_folders() -> None:
    """Keep this state and those others that were compiled last."""
    os.utime(folder())
    ages = {}
    for path in folder().parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # by another process
            ages[path] = path.stat().st_mtime
    for path in sorted(ages, key=ages.get, reverse=True)[_FOLDERS:]:
        shutil.rmtree(path, ignore_errors=True)


@functools.cache
def _warn_once(text: str) -> None:
    warnings.warn(text, stacklevel=2)

"""Compiled kernels on disk, a file for each function and its types."""

import contextlib
import functools
import hashlib
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from numba.core.base import BaseContext
from numba.core.caching import Cache, CompileResultCacheImpl, _CacheLocator
from numba.core.serialize import dumps

from schnetgeo.ops import symbols
from schnetgeo.ops.kernel_folder import folder, remove_old_folders


class _Files:
    """A file for each signature of a function, whole and of that signature, or as good as absent.

    Numba's own files have numbers, which two processes that compile at once may both take.
    """

    def __init__(self, stem: str):
        self._stem = stem

    def load(self, key: tuple):
        path = self.path(key)
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
        path = self.path(key)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(hashlib.sha256(text).digest() + text)
        os.replace(part, path)

    def path(self, key: tuple) -> Path:
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
            symbols.need(needed)
            return super().rebuild(target, kernel)

    def __init__(self, function: Callable, parallel: bool):
        super().__init__(function)
        self._cache_file = _Files(self._impl.filename_base + ("-parallel" if parallel else ""))

    def holds(self, arguments: tuple, target: BaseContext) -> bool:
        """Whether there is a version for arguments of these types."""
        return self._cache_file.path(self._index_key(arguments, target.codegen())).exists()

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
            remove_old_folders()
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
def _warn_once(text: str) -> None:
    warnings.warn(text, stacklevel=2)

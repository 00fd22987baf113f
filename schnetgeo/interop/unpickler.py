"""Files of torch.save without running them: tensors, containers, and stand-ins for all else.

A pickle names classes and functions, and calls them. Here such a name becomes an empty class that
only remembers what it was given, so that nothing of the file is run, and no package that the file
was written with is needed. Storages are read as bytes of the file, never larger than it is.
"""

import collections
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from schnetgeo.errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C  # first number of a file that torch before 1.6 wrote
_PROTOCOL = 1001
_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
_CONTAINERS = {
    "collections.OrderedDict": collections.OrderedDict,
    **{f"{m}.{t.__name__}": t for m in ("builtins", "__builtin__") for t in (set, frozenset)},
    "torch.Size": tuple,
}


class StandIn:
    """An object of a class that is not imported: its name, and what the file says of it."""

    module: str = ""
    name: str = ""

    def __new__(cls, *args, **kwargs):
        """An object of any arguments, which are not kept."""
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
            state = {**(state[0] or {}), **state[1]}
        if not isinstance(state, dict):
            state = {"state": state}
        self.__dict__.update({k: v for k, v in state.items() if isinstance(k, str)})


def read_inert(path: str | os.PathLike) -> object:
    """What a file of torch.save holds, with stand-ins in place of all but tensors and containers.

    Raises:
        InputError: for a file that is missing, cut short, or no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a checkpoint")
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                return _read_zip(file, path.stat().st_size)
            file.seek(0)
            return _read_legacy(file, path.stat().st_size)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle fails in any way
        raise InputError(
            f"{path}: no checkpoint that can be read ({type(error).__name__}: {error}); give a "
            "whole file of torch.save"
        ) from None


def read_inert_array(path: str | os.PathLike) -> list:
    """Objects of an array of objects in an .npy file, which is a pickle, as `read_inert` has them.

    Raises:
        InputError: for another file.
    """

    def none(*rest) -> Tensor:
        raise ValueError("a storage in an array")

    try:
        with Path(path).open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            return list(vars(_Unpickler(file, none).load())["state"][-1])
    except Exception as error:  # a damaged pickle fails in any way
        raise InputError(
            f"{path}: no array of objects ({type(error).__name__}: {error}); get a fresh copy"
        ) from None


class _Unpickler(pickle._Unpickler):
    """Calls nothing but its own methods, constructors of containers, and stand-ins.

    It is Python's own, written in Python: the one in C cannot be told what may have a state. The
    state of a tensor would let a few bytes ask for any memory.
    """

    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, storage: Callable[..., Tensor]):
        super().__init__(file, encoding="utf-8")
        self._storage = storage
        self._stand_ins: dict[tuple[str, str], type[StandIn]] = {}

    def load_build(self):
        """Give a stand-in its state; that of a dictionary, such as `_metadata`, is left out."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], StandIn):
            self.stack[-1].__setstate__(state)
        elif not isinstance(self.stack[-1], dict):
            raise ValueError("a state for an object that has none")

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module: str, name: str) -> object:
        """What a name in the file stands for."""
        path = f"{module}.{name}"
        if path in _CONTAINERS:
            return _CONTAINERS[path]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        own = {
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": self._parameter,
            "torch._utils._rebuild_parameter_with_state": self._parameter,
            "copyreg._reconstructor": self._reconstruct,
            "copy_reg._reconstructor": self._reconstruct,
        }
        if path in own:
            return own[path]
        key = module, name
        if key not in self._stand_ins:
            content = {"module": str(module), "name": str(name)}
            self._stand_ins[key] = type("StandIn", (StandIn,), content)
        return self._stand_ins[key]

    def persistent_load(self, pid: object) -> object:
        """A storage; or a class that was saved beside its source, which is not looked at."""
        if isinstance(pid, tuple) and len(pid) > 4 and pid[0] == "storage":
            return self._storage(*pid[1:])
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]
        raise ValueError("a reference that is no storage")

    def _tensor(self, storage, offset, size, stride, *rest) -> Tensor:
        if not isinstance(storage, Tensor) or torch.Size(size).numel() > storage.numel():
            raise ValueError("a tensor that is larger than its numbers")
        return storage.as_strided(size, stride, offset)

    def _parameter(self, data, *rest) -> Tensor:
        return data

    def _reconstruct(self, cls, base, state) -> object:
        if not (isinstance(cls, type) and issubclass(cls, StandIn)):
            raise ValueError("an object of no class")
        return cls()


def _read_zip(file: BinaryIO, file_size: int) -> object:
    with zipfile.ZipFile(file) as archive:
        sizes = {info.filename: info for info in archive.infolist()}
        names = [name for name in sizes if name.endswith("data.pkl")]
        if len(names) != 1:
            raise ValueError("a zip archive without data.pkl, or with several")
        if any(info.compress_type != zipfile.ZIP_STORED for info in sizes.values()):
            raise ValueError("a compressed archive, which torch.save does not write")
        folder = names[0].removesuffix("data.pkl")
        order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in sizes else b"little"
        if order != b"little":
            raise ValueError("big-endian numbers")
        storages: dict[str, Tensor] = {}

        def storage(dtype, key, location, numel, *rest) -> Tensor:
            if key not in storages:
                content = archive.read(f"{folder}data/{key}")
                if _size_of(storages) + len(content) > file_size:  # members lie over each other
                    raise ValueError("its members are larger than the file")
                storages[key] = _numbers(content, dtype)
            return storages[key]

        with archive.open(names[0]) as content:
            return _Unpickler(content, storage).load()


def _read_legacy(file: BinaryIO, file_size: int) -> object:
    """Three pickles of numbers, the object, the keys of its storages, and their bytes."""

    def none(*rest) -> Tensor:
        raise ValueError("a storage in the head of the file")

    head = [_Unpickler(file, none).load() for _ in range(3)]
    if head[:2] != [_MAGIC, _PROTOCOL]:
        raise ValueError("no file of torch.save")
    storages: dict[str, Tensor] = {}

    def storage(dtype, key, location, numel, view=None, *rest) -> Tensor:
        if key not in storages:
            if not 0 <= numel * dtype.itemsize <= file_size - _size_of(storages):
                raise ValueError(f"{numel} numbers are more than the file holds")
            storages[key] = torch.empty(numel, dtype=dtype)
        if view is None:
            return storages[key]
        _, offset, length = view
        return storages[key].narrow(0, offset, length)

    content = _Unpickler(file, storage).load()
    for key in _Unpickler(file, none).load():
        target = storages[key]
        numel = int.from_bytes(file.read(8), "little")
        values = _numbers(file.read(numel * target.element_size()), target.dtype)
        target.copy_(values)  # which fails for another number
    return content


def _size_of(storages: dict[str, Tensor]) -> int:
    """Bytes of all of them."""
    return sum(t.numel() * t.element_size() for t in storages.values())


def _numbers(content: bytes, dtype: torch.dtype) -> Tensor:
    if not content:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype)

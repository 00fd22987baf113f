"""Checkpoints of TensorFlow (tensor bundles) without TensorFlow.

PREFIX.index is a sorted string table in LevelDB's format, from names to protocol buffers that say
type, shape, shard, offset and size; PREFIX.data-0000k-of-0000n holds the numbers.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from schnetgeo.errors import InputError

_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # DT_FLOAT, DT_DOUBLE, DT_INT32, DT_INT64
_FOOTER = 48  # bytes
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of a protocol buffer


def read_bundle(prefix: str | os.PathLike) -> dict[str, np.ndarray]:
    """All numeric tensors of a checkpoint by their names.

    Args:
        prefix: path without .index.

    Raises:
        InputError: for a missing, damaged or compressed file.
    """
    path = Path(f"{prefix}.index")
    try:
        index = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a checkpoint") from None
    if len(index) < _FOOTER or not index.endswith(_MAGIC):
        raise InputError(f"{path}: no index of a TensorFlow checkpoint; get a fresh copy")
    try:
        return dict(_tensors(prefix, index))
    except (IndexError, KeyError, ValueError, TypeError, struct.error) as error:
        raise InputError(f"{path}: damaged ({error}); get a fresh copy") from None


def _tensors(prefix: str | os.PathLike, index: bytes) -> Iterator[tuple[str, np.ndarray]]:
    shards: dict[int, bytes] = {}
    entries = dict(_entries(index))
    num_shards = _first(_fields(entries.pop("")), 1, 1)
    for name, content in entries.items():
        fields = _fields(content)
        kind = _TYPES.get(_first(fields, 1, 0))
        if kind is None:
            continue
        shard = _first(fields, 3, 0)
        if shard not in shards:
            shards[shard] = _shard(f"{prefix}.data-{shard:05d}-of-{num_shards:05d}")
        offset, size = _first(fields, 4, 0), _first(fields, 5, 0)
        part = shards[shard][offset : offset + size]
        if len(part) != size:
            raise ValueError(f"{name:.60} ends beyond its file")
        yield name, np.frombuffer(part, kind).reshape(_shape(fields))


def _shard(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); copy it too") from None


def _shape(fields: list[tuple[int, int | bytes]]) -> list[int]:
    """Sizes of the dimensions, in order; a dimension is a message with its size as field 1."""
    shape = _first(fields, 2, b"")
    return [_first(_fields(dim), 1, 0) for number, dim in _fields(shape) if number == 2]


def _entries(index: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and values of the table: a block of keys of blocks, then each block's."""
    footer = index[-_FOOTER:]
    position = 0
    for _ in range(2):  # offset and size of the block of metadata, which is empty
        _, position = _varint(footer, position)
    for _, handle in _block(index, *_handle(footer, position)):
        yield from _block(index, *_handle(handle, 0))


def _handle(content: bytes, position: int) -> tuple[int, int]:
    offset, position = _varint(content, position)
    return offset, _varint(content, position)[0]


def _block(index: bytes, offset: int, size: int) -> Iterator[tuple[str, bytes]]:
    """Keys, of which each gives only what differs from the one before, and values."""
    if index[offset + size] != 0:
        raise ValueError("compressed by snappy; save the checkpoint with TensorFlow's default")
    block = index[offset : offset + size]
    end = len(block) - 4 * (struct.unpack("<I", block[-4:])[0] + 1)
    position, key = 0, b""
    while 0 <= position < end:
        shared, position = _varint(block, position)
        length, position = _varint(block, position)
        value_length, position = _varint(block, position)
        key = key[:shared] + block[position : position + length]
        position += length
        yield key.decode(), block[position : position + value_length]
        position += value_length


def _fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """Numbers and values of the fields of a protocol buffer."""
    position, fields = 0, []
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if kind == _BYTES:
                length, position = _varint(message, position)
            if length is None:
                raise ValueError(f"wire type {kind}")
            value, position = message[position : position + length], position + length
        fields.append((tag >> 3, value))
    return fields


def _first(fields: list[tuple[int, int | bytes]], number: int, default):
    return next((value for n, value in fields if n == number), default)


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the position behind it."""
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")

"""Files with random damage: a reader gives one clear line, or is right; it never breaks."""

import contextlib
import io
import os
import random
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

NUMBER = int(os.environ.get("SCHNETGEO_FUZZ", "12"))  # inputs a reader
SECONDS = 20  # that a file may take
_WORDS = (
    b"nan", b"inf", b"-1", b"0", b"1e999", b"999999999999", b"../x", b"\x00", b"\xff\xfe", b"{}",
    b"[]", b"null", b"true", b'"', b"\n", b"\n\n", b" ", b"=", b"*a", b"&a", b"<f8", b"|O", b"e",
)  # fmt: skip


class Broken(AssertionError):
    """A reader that did something else than refuse or read."""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The same file with one to four faults of a random kind at random places."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if not content:
            return b""
        place, kind = rng.randrange(len(content)), rng.randrange(7)
        if kind == 0:
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[place:]
        elif kind == 2:
            del content[place : place + rng.randint(1, 64)]
        elif kind == 3:
            content[place:place] = content[place : place + rng.randint(1, 256)]
        elif kind == 4:
            word = rng.choice(_WORDS)
            content[place : place + len(word)] = word
        elif kind == 5:
            content[place:place] = rng.choice(_WORDS)
        else:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice((0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size) - 1))
            content[place : place + size] = number.to_bytes(size, "little")
    return bytes(content)


def mutated_members(content: bytes, rng: random.Random) -> bytes:
    """A zip archive with damage inside a member and right CRC-32s, as a stranger would write it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    choice = rng.randrange(4)
    if choice == 0:
        members[rng.choice(("../x", "a b.npy", "x" * 300, "self.npy", "E.npy"))] = members.pop(name)
    elif choice == 1:
        del members[name]
    else:
        members[name] = mutated(members[name], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return out.getvalue()


def resealed(content: bytes, rng: random.Random) -> bytes:
    """A .safetensors file whose header was changed and has a right length again."""
    size = struct.unpack("<Q", content[:8])[0]
    header = mutated(content[8 : 8 + size], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


@contextlib.contextmanager
def bounded(seconds: int = SECONDS) -> Iterator[None]:
    """Raise `Broken` where the block takes longer."""

    def stop(*_):
        raise Broken(f"takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def trial(read: Callable[[Path], object], path: Path, refusals: tuple[type, ...]) -> str:
    """What became of one file: "read", or the refusal's line."""
    try:
        with bounded():
            read(path)
    except refusals as error:
        line = str(error)
        if "\n" in line or len(line) > 2500 or not line:
            raise Broken(f"a message of {len(line)} characters: {line!r:.200}") from None
        return line
    return "read"

"""A file for each finished row, so that a suite goes on where it was interrupted."""

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write
from schnetgeo.train import TrainingConfig

_NO_EFFECT = ("devices", "threads", "progress", "checkpoint_every")


class Entry(NamedTuple):
    """One finished row."""

    place: str  # folder of the experiment, model and subject: a newer row replaces one at its place
    training: str  # stands for model, options and training structures
    key: str  # stands for the structures tested as well
    row: dict  # what results.json says
    details: dict  # what the report draws


def training_key(
    dataset: str,
    model: str,
    arguments: dict,
    training: TrainingConfig,
    parts: tuple[StructureDataset, ...],
) -> str:
    """Digits that differ where a training does: another model, option or structure."""
    options = {k: v for k, v in training.as_json().items() if k not in _NO_EFFECT}
    about = [dataset, model, {k: str(v) for k, v in arguments.items()}, options]
    return _digest(json.dumps(about, sort_keys=True), *(part.fingerprint for part in parts))


def row_key(training: str, subject: str, test: StructureDataset) -> str:
    """The same for a row: a training and what it is tested on."""
    return _digest(training, subject, test.fingerprint)


def read_entries(out: Path) -> dict[str, Entry]:
    """The finished rows of a folder by their place.

    Raises:
        InputError: for a file that is none of this version, or was changed after writing.
    """
    entries = {}
    for path in sorted((out / "rows").glob("*.json")):
        try:
            content = json.loads(path.read_text())
            digest, entry = content.pop("digest"), Entry(**content)
            unchanged = digest == _digest(json.dumps(content, sort_keys=True))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: no row of this version ({error}); delete it") from None
        if not unchanged:
            raise InputError(f"{path}: was changed after writing; delete it to train this row anew")
        entries[entry.place] = entry
    return entries


def write_entry(out: Path, entry: Entry) -> None:
    """Keep a finished row."""
    content = entry._asdict()
    content["digest"] = _digest(json.dumps(content, sort_keys=True))
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    atomic_write(_path(out, entry.place), text.encode())


def forget(out: Path, folder: str, model: str) -> None:
    """Drop the rows of a model file that a training is about to replace."""
    for place in read_entries(out):
        if place.split("|")[:2] == [folder, model]:
            _path(out, place).unlink(missing_ok=True)


def _path(out: Path, place: str) -> Path:
    name = re.sub(r"[^\w.-]+", "_", place)
    return out / "rows" / f"{name}-{_digest(place)[:6]}.json"


def _digest(*texts: str) -> str:
    return hashlib.sha256("|".join(texts).encode()).hexdigest()[:16]

"""Files like those that a model was trained on."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from schnetgeo.cli.data_options import UNITS, read_files
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.notes import note
from schnetgeo.potential import Potential


def read_as_trained(
    files: Sequence[str], options: Namespace, potential: Potential
) -> StructureDataset:
    """The structures of files, read with keys and units of the training unless any are given."""
    notes = potential.notes.get("data_options")
    before = notes if isinstance(notes, dict) else {}
    before = {k: v for k, v in before.items() if k in UNITS and _is_text(v)}
    is_store = any(Path(file).is_dir() for file in files)
    if not before or is_store or any(options[name] for name in UNITS):
        return read_files(files, options)
    values = {k: v if isinstance(v, str) else " ".join(v) for k, v in before.items()}
    words = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in values.items())
    try:
        dataset = read_files(files, Namespace(**vars(options) | before))
    except InputError as error:
        dataset = read_files(files, options)
        note(f"{dataset.name}: not read with {words}, as the training's files ({error})")
    else:
        note(f"{dataset.name}: read with {words}, as the training's files")
    return dataset


def _is_text(value: object) -> bool:
    """Whether a note is text, or a list of texts, as it was written."""
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) for text in texts)

"""A training goes on only with what it was begun with."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.files import check_zip
from schnetgeo.potential import Potential
from schnetgeo.potential.model_file import class_name, encode
from schnetgeo.train.configuration import TrainingConfig

if TYPE_CHECKING:
    from lightning import Callback

RESUMABLE_OPTIONS = (
    "max_steps", "max_minutes", "validate_every", "checkpoint_every", "device", "devices",
    "threads", "progress",
)  # fmt: skip
CHECKPOINT_KEY = (
    "started_with"  # of a checkpoint; "settings" where Lightning's own optimization counted steps
)


def run_identity(
    potential: Potential, training: TrainingConfig, train: StructureDataset, val: StructureDataset
) -> dict:
    """Model, options and structures that a resumed training must share, as plain data."""
    values = potential.model.hyperparameters.items()
    model = {f"model.{name}": _plain(value) for name, value in values}
    filters = {"filters": potential.filters, "spacing": potential.spacing}
    options = {k: v for k, v in training.as_json().items() if k not in RESUMABLE_OPTIONS}
    digests = {"training structures": train.fingerprint, "validation structures": val.fingerprint}
    name = class_name(type(potential.model))
    return {"model": name, **model, **filters, **options, **digests}


def _plain(hyperparameter):
    """A hyperparameter of a model as a checkpoint keeps it; a class by its name."""
    value = encode(hyperparameter)
    if not isinstance(value, dict):
        return value
    return value["class"] if value.keys() == {"class"} else json.dumps(value, sort_keys=True)


def check_states(callbacks: "Iterable[Callback]") -> None:
    """Raise `InputError` for a callback whose state a checkpoint could not be resumed with."""
    for callback in callbacks:
        file = io.BytesIO()
        try:
            torch.save(callback.state_dict(), file)
            file.seek(0)
            torch.load(file, weights_only=True)
        except Exception as error:  # pickle fails in many ways
            raise InputError(
                f"the callback {type(callback).__name__} has a state that is not of plain Python "
                "values and tensors, with which no training can be resumed "
                f"({str(error).splitlines()[0]:.80}); in its state_dict, use str(path) and "
                "float(number)"
            ) from None


def check_resume(checkpoint: Path, identity: dict) -> None:
    """Raise `InputError` unless the training of the checkpoint was begun with these settings."""
    try:
        before = dict(torch.load(checkpoint, weights_only=True)[CHECKPOINT_KEY])
    except Exception:  # torch fails in many ways on what it did not write
        raise InputError(
            f"{checkpoint}: no checkpoint of this version; overwrite the training, or choose "
            "another folder"
        ) from None
    check_zip(checkpoint)
    for name in {**before, **identity}:
        old, new = before.get(name), identity.get(name)
        if old != new:
            raise InputError(
                f"{checkpoint}: the training was begun with {name} = {old!r}, not {new!r}; "
                "resume it with that, or choose another folder (only "
                f"{', '.join(RESUMABLE_OPTIONS)} may change)"
            )

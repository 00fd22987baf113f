"""The potential of a model file."""

import os
from collections.abc import Iterable

import torch

from schnetgeo.data.coverage import Coverage
from schnetgeo.errors import InputError
from schnetgeo.potential.bounded import no_larger_than
from schnetgeo.potential.last_layer import LastLayer
from schnetgeo.potential.model_file import check_finite, decode, find_class, named, read_model
from schnetgeo.potential.potential import Potential
from schnetgeo.potential.pretrained import located
from schnetgeo.targets import Target

LAST_LAYER = "last_layer.factor"


def load(
    path: str | os.PathLike,
    classes: Iterable[type] = (),
    device: str | torch.device = "cpu",
    allow_unseen: bool = False,
) -> Potential:
    """The potential of a model file, in evaluation mode; runs no pickle.

    Args:
        path: file written by `Potential.save`, or the name of a model that ships with the package,
            such as "qm9-u0"; `pretrained_names()` lists them.
        classes: your own classes that the file names, as in `classes=[MyConv]`.
        device: where to put the model.
        allow_unseen: predict, with a note, structures with elements that no training structure
            has, whose references are missing.

    Raises:
        InputError: for a file that is missing, cut short, changed, of another kind, or of a
            training that diverged, for a class that is neither of this package nor in `classes`,
            and for one of `classes` that is no `torch.nn.Module`.
    """
    path = located(path)
    header, tensors = read_model(path)
    known = named(classes)
    model_class = find_class(header["class"], known, path)
    try:
        # weights made in inference mode could never be differentiated
        with torch.inference_mode(False), no_larger_than(tensors, path):
            values = header["hyperparameters"].items()
            model = model_class(**{k: decode(v, known, path) for k, v in values})
            targets = [Target.from_json(content, path) for content in header["targets"]]
            options = {"filters": header["filters"], "spacing": header.get("spacing")}
            potential = Potential(model, targets=targets, **options)
            potential.to(getattr(torch, header["dtype"]))
            if LAST_LAYER in tensors:
                potential.last_layer = LastLayer(len(tensors[LAST_LAYER]))
        potential.load_state_dict(tensors)
        covered = header.get("trained_on")
        if covered is not None:
            potential.trained_on = Coverage.from_json(covered)
            potential.trained_on.allow_unseen = allow_unseen
        potential.notes = header["notes"]
    except Exception as error:  # a class fails in its own way on arguments it does not expect
        if isinstance(error, InputError) and str(error).startswith(f"{path}: "):
            raise
        raise InputError(f"{path}: does not fit {header['class']}: {error}") from None
    check_finite(potential, path)
    return potential.to(device).eval()

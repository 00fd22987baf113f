"""What a suite compares: two closed forms, the baseline, SchNet, its presets, and your models."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import element_counts, fit_atomic_references
from schnetgeo.data.structure import MAX_Z
from schnetgeo.errors import InputError
from schnetgeo.nn import AtomisticModel, Baseline, MeanReadout, PaiNN, RadialConv, SchNet
from schnetgeo.potential import Prediction
from schnetgeo.user_code import named_class

_ARGUMENTS = frozenset(inspect.signature(SchNet).parameters)
_SIZES = frozenset(("channels", "num_layers", "cutoff", "max_z"))


class ClosedForm(NamedTuple):
    """Energies without a training, and how many numbers they rest on."""

    energy: torch.Tensor  # (B,), float64
    parameters: int


class Contestant(NamedTuple):
    """A row of the table: either a closed form, or a model that is built and trained."""

    name: str
    folder: str  # below that of the case; "" is the folder itself
    closed_form: Callable[[StructureDataset, StructureDataset], ClosedForm] | None = None
    build: Callable[[dict, bool], nn.Module] | None = None
    classes: tuple[type, ...] = ()  # what a model file needs to load
    takes: frozenset[str] = frozenset()  # of the options --model, those it is built with


def mean_predictor(train: StructureDataset, test: StructureDataset) -> ClosedForm:
    """The mean energy of the training structures."""
    return ClosedForm(
        train.get_property("energy")[train.mask("energy")].mean().expand(len(test)), 1
    )


def composition_model(train: StructureDataset, test: StructureDataset) -> ClosedForm:
    """A least-squares energy for each element; what references alone explain."""
    references = fit_atomic_references(element_counts(train, MAX_Z), train.get_property("energy"))
    energy = element_counts(test, MAX_Z).double() @ references
    return ClosedForm(energy, int((references != 0).sum()))


def without_forces(closed: ClosedForm, test: StructureDataset) -> Prediction:
    """The energies, and forces of zero where there are any to compare with."""
    forces = torch.zeros_like(test.get_property("forces")) if test.has_property("forces") else None
    return Prediction(closed.energy, forces)


BUILT_IN = {
    "mean": Contestant("mean predictor", "mean", mean_predictor),
    "composition": Contestant("linear composition", "composition", composition_model),
    "baseline": Contestant("baseline", "baseline", build=lambda arguments, mean: Baseline()),
    "SchNet": Contestant(
        "SchNet", "", build=lambda arguments, mean: _schnet(mean, **arguments), takes=_ARGUMENTS
    ),
    "PaiNN": Contestant(
        "PaiNN", "PaiNN", build=lambda arguments, mean: _of(PaiNN, mean, **arguments), takes=_SIZES
    ),
}


def contestant(name: str) -> Contestant:
    """What a word of --models stands for.

    Args:
        name: one of `BUILT_IN`, a preset of SchNet, or the dotted path of a class: a model, which
            is built with the options --model that its constructor names, or a `RadialConv` that
            a SchNet is built with.

    Raises:
        InputError: for another word; lists the known ones.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name in SchNet.presets:
        preset = lambda arguments, mean: _schnet(mean, **SchNet.presets[name])  # noqa: E731
        return Contestant(f"SchNet {name}", name, build=preset)
    module, _, attribute = name.rpartition(".")
    if not module:
        known = ", ".join([*BUILT_IN, *SchNet.presets])
        raise InputError(f"unknown model {name!r}; known: {known}, or a path like my_models.MyNet")
    try:
        found = named_class(name)
    except InputError as error:
        raise InputError(f"models: {error}") from None
    build = lambda arguments, mean: _own(found, name, arguments, mean)  # noqa: E731
    return Contestant(name, name, build=build, classes=(found,), takes=_taken(found))


def _taken(found: type[nn.Module]) -> frozenset[str]:
    """Which arguments of SchNet the constructor takes by name."""
    if issubclass(found, RadialConv):
        return _ARGUMENTS - {"conv"}
    parameters = inspect.signature(found).parameters
    passes_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return _ARGUMENTS if passes_on and issubclass(found, SchNet) else _ARGUMENTS & set(parameters)


def _schnet(mean: bool, **arguments) -> SchNet:
    return _of(SchNet, mean, **arguments)


def _of(model: type[AtomisticModel], mean: bool, **arguments) -> AtomisticModel:
    """With the mean over atoms as readout where the property does not grow with the molecule."""
    return model(**{**arguments, "readout": MeanReadout} if mean else arguments)


def _own(found: type[nn.Module], name: str, arguments: dict, mean: bool) -> nn.Module:
    if issubclass(found, RadialConv):
        return _schnet(mean, **{**arguments, "conv": found})
    if mean and "readout" in arguments:
        arguments = {**arguments, "readout": MeanReadout}
    try:
        model = found(**arguments)
    except TypeError as error:
        raise InputError(
            f"models: {name} cannot be built ({error}); give each argument that is none of "
            "SchNet's a default"
        ) from None
    for attribute in ("cutoff", "max_z", "hyperparameters"):
        if not hasattr(model, attribute):
            raise InputError(
                f"models: {name} has no attribute {attribute!r}; a model has cutoff (Å or None), "
                "max_z and hyperparameters, what it was built with, as schnetgeo.nn.AtomisticModel"
            )
    return model

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
from schnetgeo.nn import (
    AtomisticModel,
    Baseline,
    PaiNN,
    RadialConv,
    SchNet,
    SumReadout,
    readout_for,
)
from schnetgeo.potential import Prediction
from schnetgeo.targets import ENERGY, Target
from schnetgeo.user_code import named_class

Targets = tuple[Target, ...]
_ARGUMENTS = frozenset(inspect.signature(SchNet).parameters)
_SIZES = frozenset(("channels", "num_layers", "cutoff", "max_z"))


class ClosedForm(NamedTuple):
    """Values of a target without a training, and how many numbers they rest on."""

    values: torch.Tensor  # (B,), float64
    parameters: int


class BenchmarkModel(NamedTuple):
    """A row of the table: either a closed form, or a model that is built and trained."""

    name: str
    folder: str  # below that of the experiment; "" is the folder itself
    closed_form: Callable[[StructureDataset, StructureDataset, str], ClosedForm] | None = None
    build: Callable[[dict, Targets], nn.Module] | None = None
    classes: tuple[type, ...] = ()  # what a model file needs to load
    takes: frozenset[str] = frozenset()  # of the options --model, those it is built with


def mean_predictor(
    train: StructureDataset, test: StructureDataset, label: str = "energy"
) -> ClosedForm:
    """The mean energy, or other label, of the training structures."""
    known = train.get_property(label)[train.mask(label)]
    return ClosedForm(known.mean().expand(len(test)), 1)


def composition_model(
    train: StructureDataset, test: StructureDataset, label: str = "energy"
) -> ClosedForm:
    """A least-squares value for each element; what references alone explain."""
    references = fit_atomic_references(element_counts(train, MAX_Z), train.get_property(label))
    values = element_counts(test, MAX_Z).double() @ references
    return ClosedForm(values, int((references != 0).sum()))


def without_forces(values: dict[str, torch.Tensor], test: StructureDataset) -> Prediction:
    """Values of targets, and forces of zero where there are any to compare with."""
    if test.has_property("forces"):
        values = {**values, "forces": torch.zeros_like(test.get_property("forces"))}
    return Prediction.of(values)


BUILT_IN = {
    "mean": BenchmarkModel("mean predictor", "mean", mean_predictor),
    "composition": BenchmarkModel("linear composition", "composition", composition_model),
    "baseline": BenchmarkModel("baseline", "baseline", build=lambda arguments, targets: Baseline()),
    "SchNet": BenchmarkModel(
        "SchNet",
        "",
        build=lambda arguments, targets: _of(SchNet, targets, arguments),
        takes=_ARGUMENTS,
    ),
    "PaiNN": BenchmarkModel(
        "PaiNN",
        "PaiNN",
        build=lambda arguments, targets: _of(PaiNN, targets, arguments),
        takes=_SIZES,
    ),
}


def benchmark_model(name: str) -> BenchmarkModel:
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
        preset = lambda arguments, targets: _of(SchNet, targets, SchNet.presets[name])  # noqa: E731
        return BenchmarkModel(f"SchNet {name}", name, build=preset)
    module, _, attribute = name.rpartition(".")
    if not module:
        known = ", ".join([*BUILT_IN, *SchNet.presets])
        raise InputError(f"unknown model {name!r}; known: {known}, or a path like my_models.MyNet")
    try:
        found = named_class(name)
    except InputError as error:
        raise InputError(f"models: {error}") from None
    build = lambda arguments, targets: _own(found, name, arguments, targets)  # noqa: E731
    return BenchmarkModel(name, name, build=build, classes=(found,), takes=_taken(found))


def _taken(found: type[nn.Module]) -> frozenset[str]:
    """Which arguments of SchNet the constructor takes by name."""
    if issubclass(found, RadialConv):
        return _ARGUMENTS - {"conv"}
    parameters = inspect.signature(found).parameters
    passes_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return _ARGUMENTS if passes_on and issubclass(found, SchNet) else _ARGUMENTS & set(parameters)


def _of(model: type[AtomisticModel], targets: Targets, arguments: dict) -> AtomisticModel:
    """With the usual readout of targets that are no energy, unless another one is asked for."""
    if targets != (ENERGY,) and arguments.get("readout", SumReadout) is SumReadout:
        readout = readout_for(*targets, has_vectors=model.has_vectors)
        arguments = {**arguments, "readout": readout}
    return model(**arguments)


def _own(found: type[nn.Module], name: str, arguments: dict, targets: Targets) -> nn.Module:
    if issubclass(found, RadialConv):
        return _of(SchNet, targets, {**arguments, "conv": found})
    if targets != (ENERGY,) and "readout" in arguments:
        has_vectors = getattr(found, "has_vectors", False)
        arguments = {**arguments, "readout": readout_for(*targets, has_vectors=has_vectors)}
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

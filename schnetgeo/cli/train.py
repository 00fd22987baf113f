"""The command schnetgeo train."""

import json
from pathlib import Path

import torch
from jsonargparse import Namespace

from schnetgeo.cli.data_options import (
    OPTION_NAMES,
    SET_NAMES,
    UNITS,
    add_dataset_options,
    add_units,
    open_to_split,
    read_to_split,
    split_from_options,
)
from schnetgeo.cli.model_options import (
    add_model,
    add_training,
    find_architecture,
    model_arguments,
    potential_arguments,
)
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.cli.run_options import check_device, class_of
from schnetgeo.cli.target_options import (
    add_targets,
    find_targets,
    labels_of_targets,
    readout_argument,
)
from schnetgeo.data.copies import copies_across
from schnetgeo.data.make_split import split_warning
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.validate import check_elements
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write
from schnetgeo.nn import AtomisticModel, SchNet
from schnetgeo.nn.arguments import with_changes
from schnetgeo.notes import note
from schnetgeo.potential import Potential, load
from schnetgeo.train import TrainingConfig, evaluate, fit, new_potential, refit_references
from schnetgeo.train.checks import check_start
from schnetgeo.train.default_losses import with_default_losses
from schnetgeo.train.fit import cover
from schnetgeo.train.folder import is_first_process, reserve
from schnetgeo.train.objective import predicted_targets

FEW = 100  # steps, from which nothing is learned


def make_parser(model: type[AtomisticModel], preset: str | None = None) -> Parser:
    parser = Parser(description="Train a model and save it.")
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument("--dataset", type=str | None, help=f"of {SET_NAMES}; Demo unless given")
    add_dataset_options(parser)
    parser.add_argument(
        "--data", type=str, nargs="+", help="your own files, or those of --dataset at hand"
    )
    parser.add_argument("--val_data", type=str, nargs="+", default=[], help="files to validate on")
    parser.add_argument("--test_data", type=str, nargs="+", default=[], help="files to test on")
    add_units(parser)
    add_targets(parser)
    parser.add_argument("--num_train", type=int, default=950, help="structures to train on")
    parser.add_argument("--num_val", type=int, default=50, help="structures to validate on")
    parser.add_argument(
        "--num_test", type=int | None, help="structures to test on; all others unless given"
    )
    parser.add_argument(
        "--split", type=str | None,
        help="random, blocks (of time), group:NAME (keeps those with one NAME together; group:file "
        "those of a file), published (or its number, where there are several), or an .npz with the "
        "indices train, val and test; as published, else random unless given",
    )  # fmt: skip
    parser.add_argument(
        "--architecture", type=str, default="SchNet",
        help="SchNet, PaiNN, or the dotted path of a model of your own",
    )  # fmt: skip
    parser.add_argument("--preset", type=str | None, help=f"one of {', '.join(model.presets)}")
    add_model(parser, model, **_model_defaults(model, preset))
    add_training(parser)
    parser.add_argument("--initial_model", type=str | None, help="trained model file to start from")
    parser.add_argument(
        "--classes", type=class_of, nargs="*", default=[], help="your own, of --initial-model"
    )
    parser.add_argument("--out", type=str, default="runs/latest", help="folder for the results")
    flag(parser, "--resume", "go on with the training that --out holds")
    flag(parser, "--overwrite", "begin anew where --out holds a training")
    return parser


def run(options: Namespace) -> None:
    training = TrainingConfig(
        **{name: options[name] for name in TrainingConfig.__dataclass_fields__}
    )
    check_device(training.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    is_own = options.data and not options.dataset
    options.dataset = options.dataset or "Demo"
    if is_own:
        options.labels = labels_of_targets(options)
    dataset, how = (read_to_split if is_own else open_to_split)(options)
    out = Path(options.out)
    counts = options.num_train, options.num_val, options.num_test
    split = split_from_options(how, dataset, *counts, training.seed)
    warning = split_warning(how, dataset)
    copies = copies_across(dataset, split)
    if copies:
        note(copies)
    train, val, test = (dataset[part] for part in split)
    torch.manual_seed(training.seed)
    potential = _start(options, train)
    training = with_default_losses(training, potential, train)
    if training.losses:
        print(f"losses {training.loss_names}")
    val, test = (potential.trained_on.keep_known(part) for part in (val, test))
    flags = options.resume, options.overwrite
    check_start(train, val, training, out, *flags, predicted_targets(potential))
    notes = {"data_options": _given_units(options), "split": f"{how}, {split.digest}"}
    with reserve(out):
        split.save_or_verify(out / "split.npz", options.resume, how=how, note=warning or "")
        result = fit(potential, train, val, training, out, *flags, notes=notes)
    if not is_first_process():
        return
    model = out / "model.safetensors"
    print(f"{result.steps} steps, ended by {result.stopped_by}: {model}")
    if result.stopped_by == "max_minutes" and result.steps < FEW:
        print(f"only {result.steps} steps were done: too few to learn from; raise --max-minutes")
    if len(test):
        errors = evaluate(result.potential, test)
        print(f"errors on {len(test)} structures\n{errors}")
        row = {"structures": len(test), **errors.as_row()}
        atomic_write(out / "errors.json", json.dumps(row, indent=2).encode())
        result.potential.save(model, test=row)
    print(f"split {how}, {split.digest}{f': {warning}' if warning else ''}")
    if result.stopped_by == "diverged":
        raise InputError(
            f"the training had diverged by step {result.steps}; {model} is the best before that; "
            f"lower --lr ({training.lr:g}), or limit the gradient, as in --clip 10"
        )


def _model_defaults(model: type[AtomisticModel], preset: str | None) -> dict:
    """Hyperparameters that differ from those of the class where nothing else is asked for."""
    if preset is not None:
        return model.preset(preset).hyperparameters
    return dict(channels=64, num_layers=3, gamma=10.0) if model is SchNet else {}


def _start(options: Namespace, train: StructureDataset) -> Potential:
    """A new potential, or that of --initial-model with references for these structures."""
    if not options.initial_model:
        model, targets = (
            find_architecture(options.architecture),
            find_targets(options.targets, train),
        )
        usual = _model_defaults(model, options.preset)
        arguments = model_arguments(options.model, model)
        changes = {k: v for k, v in arguments.items() if k not in usual or v != usual[k]}
        arguments = with_changes(usual, changes)
        model = model(**arguments | readout_argument(model, targets, arguments))
        more = {"targets": targets} if targets else {}
        return new_potential(model, train, **potential_arguments(options), **more)
    potential = load(options.initial_model, tuple(options.classes))
    check_elements(train.packed, potential.model.max_z, train.name)
    if potential.has_energy and train.has_property("energy"):
        refit_references(potential, train)
    cover(potential, train)
    return potential


def _given_units(options: Namespace) -> dict[str, str | list[str]]:
    """The labels, keys and units that the files were read with."""
    return {name: options[name] for name in UNITS if options[name] and name != "drop"}


def reject_unused_options(options: Namespace, model: type[AtomisticModel]) -> None:
    """Refuse options of `train` that differ from the default but would have no effect."""
    defaults = make_parser(model).get_defaults()
    brought = [f"model.{name}" for name in vars(defaults.model)]
    brought += ["architecture", "preset", "filters", "spacing", "targets"]
    of_files = [*UNITS, "val_data", "test_data"]
    of_data_set = OPTION_NAMES if options.data else []
    unused = {
        "beside --initial-model, which brings its model": brought if options.initial_model else [],
        "beside --data without --dataset": [] if options.dataset else of_data_set,
        "beside --dataset": of_files if options.data and options.dataset else [],
        "without --data": [] if options.data else of_files,
    }
    values, usual = (vars(o) | _flat_model(o, model) for o in (options, defaults))
    for why, names in unused.items():
        for name in names:
            if values[name] != usual[name]:
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option} has no effect {why}; leave one of them away")


def _flat_model(options: Namespace, model: type[AtomisticModel]) -> dict:
    values = model_arguments(options.model, model)
    return {f"model.{name}": value for name, value in values.items()}

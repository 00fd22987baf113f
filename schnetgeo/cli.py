"""The command line: train, evaluate, calibrate, select, show, data, doctor."""

import json
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Literal

import torch
from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

from schnetgeo import doctor
from schnetgeo._version import __version__
from schnetgeo.data.copies import copies_across
from schnetgeo.data.make_split import split_warning
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.data.validate import check_elements
from schnetgeo.data_cli import add_data, run_data
from schnetgeo.data_options import (
    CHOICES,
    TAKES,
    UNITS,
    add_dataset_options,
    add_units,
    open_to_split,
    read_files,
    read_to_split,
    split_from_options,
)
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write
from schnetgeo.model_options import (
    add_model,
    add_training,
    find_architecture,
    model_arguments,
    potential_arguments,
    scan_architecture,
)
from schnetgeo.nn import AtomisticModel, SchNet
from schnetgeo.nn.arguments import with_changes
from schnetgeo.notes import note, notes_in_one_line
from schnetgeo.parser import Parser, errors_in_one_line, flag
from schnetgeo.potential import Potential, load
from schnetgeo.target_options import (
    add_targets,
    find_targets,
    labels_of_targets,
    readout_argument,
)
from schnetgeo.train import TrainingConfig, evaluate, fit, new_potential, refit_references
from schnetgeo.train.checks import check_start
from schnetgeo.train.configuration import check_threads
from schnetgeo.train.default_losses import with_default_losses
from schnetgeo.train.fit import cover
from schnetgeo.train.folder import is_first_process, reserve
from schnetgeo.train.objective import predicted_targets
from schnetgeo.uncertainty_cli import (
    calibrate_parser,
    run_calibrate,
    run_select,
    select_parser,
)
from schnetgeo.user_code import named_class

FEW = 100  # steps, from which nothing is learned


def main(arguments: list[str] | None = None) -> None:
    """Run one command; an `InputError` becomes one line and exit code 2."""
    commands = {
        "train": _train, "evaluate": _evaluate, "show": _show, "doctor": _doctor, "data": run_data,
        "calibrate": run_calibrate, "select": run_select,
    }  # fmt: skip
    with errors_in_one_line("schnetgeo"), notes_in_one_line():
        model = scan_architecture(arguments)
        options = _parser(model).parse_args(arguments)
        if options.subcommand == "train":
            _check_effect(options.train, model)
        if options.subcommand == "train" and options.train.preset:
            options = _parser(model, options.train.preset).parse_args(arguments)
        commands[options.subcommand](options[options.subcommand])


def _parser(model: type[AtomisticModel] = SchNet, preset: str | None = None) -> Parser:
    parser = Parser(prog="schnetgeo", description="SchNet-type models for atoms.")
    parser.add_argument("--version", action="version", version=f"schnetgeo {__version__}")
    commands = parser.add_subcommands()
    commands.add_subcommand("train", _train_parser(model, preset), help="train a model and save it")
    commands.add_subcommand("evaluate", _evaluate_parser(), help="errors of a model on files")
    commands.add_subcommand("calibrate", calibrate_parser(), help="let a model say how sure it is")
    commands.add_subcommand(
        "select", select_parser(), help="pick the structures that models are least sure of"
    )
    commands.add_subcommand("show", _show_parser(), help="draw a structure, film a trajectory")
    commands.add_subcommand("doctor", Parser(), help="versions, devices, backends, remedies")
    data = Parser(description="Look at data, fetch them, convert them.")
    commands.add_subcommand("data", data, help="look at data, fetch them, convert them")
    add_data(data)
    return parser


def check_device(name: str) -> None:
    """Raise `InputError` unless this machine has the device; "auto" is always there."""
    try:
        torch.empty(0, dtype=torch.float64, device="cpu" if name == "auto" else name)
    # without CUDA an AssertionError, without float64, which energies need, a TypeError
    except (RuntimeError, AssertionError, TypeError):
        raise InputError(
            f"device {name!r} cannot be used on this machine; schnetgeo doctor lists those that can"
        ) from None


def _train_parser(model: type[AtomisticModel], preset: str | None = None) -> Parser:
    parser = Parser(description="Train a model and save it.")
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        "--dataset", type=str | None, help=f"of {', '.join(TAKES)}; Demo unless given"
    )
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
        "those of a file), published (1 to 5 of RevisedMD17), or an .npz with the indices train, "
        "val and test; as published, else random unless given",
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


def _train(options: Namespace) -> None:
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


def _read_as_trained(options: Namespace, potential: Potential) -> StructureDataset:
    """The structures, read with keys and units of the training unless any are given."""
    notes = potential.notes.get("data_options")
    before = notes if isinstance(notes, dict) else {}
    before = {k: v for k, v in before.items() if k in UNITS and _is_text(v)}
    is_store = any(Path(file).is_dir() for file in options.files)
    if not before or is_store or any(options[name] for name in UNITS):
        return read_files(options.files, options)
    values = {k: v if isinstance(v, str) else " ".join(v) for k, v in before.items()}
    words = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in values.items())
    try:
        dataset = read_files(options.files, Namespace(**vars(options) | before))
    except InputError as error:
        dataset = read_files(options.files, options)
        note(f"{dataset.name}: not read with {words}, as the training's files ({error})")
    else:
        note(f"{dataset.name}: read with {words}, as the training's files")
    return dataset


def _is_text(value: object) -> bool:
    """Whether a note is text, or a list of texts, as it was written."""
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) for text in texts)


def _check_effect(options: Namespace, model: type[AtomisticModel]) -> None:
    """Refuse options of `train` that differ from the default but would have no effect."""
    defaults = _train_parser(model).get_defaults()
    brought = [f"model.{name}" for name in vars(defaults.model)]
    brought += ["architecture", "preset", "filters", "spacing", "targets"]
    of_files = [*UNITS, "val_data", "test_data"]
    unused = {
        "beside --initial-model, which brings its model": brought if options.initial_model else [],
        "beside --data without --dataset": CHOICES if options.data and not options.dataset else [],
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


def class_of(path: str | type) -> type:
    """The class of a dotted path; jsonargparse asks again with what it got."""
    if isinstance(path, type):
        return path
    try:
        return named_class(path)
    except InputError as error:
        raise ArgumentTypeError(str(error)) from None


def _evaluate_parser() -> Parser:
    parser = Parser(description="Errors of a model on the structures of files.")
    parser.add_argument("model", type=str, help="model file")
    parser.add_argument("files", type=str, nargs="+", help="anything ASE reads, or .npz")
    add_units(parser)
    parser.add_argument("--json", type=str | None, help="write the errors there")
    parser.add_argument("--batch_size", type=PositiveInt, default=100, help="structures at once")
    parser.add_argument("--device", type=str, default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--precision",
        type=Literal["32", "64"] | None,
        help="32 or 64, of model and forces; that of the file unless given",
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's choice")
    parser.add_argument(
        "--classes", type=class_of, nargs="*", default=[], help="your own, of the model"
    )
    flag(parser, "--allow_unseen", "elements too that no training structure has")
    return parser


def _evaluate(options: Namespace) -> None:
    check_device(options.device)
    check_threads(options.threads)
    if options.threads:
        torch.set_num_threads(options.threads)
    classes, unseen = tuple(options.classes), options.allow_unseen
    potential = load(options.model, classes, options.device, unseen)
    if options.precision:
        potential.to(torch.float64 if options.precision == "64" else torch.float32)
    dataset = _read_as_trained(options, potential)
    check_elements(dataset.packed, potential.model.max_z, dataset.name)
    errors = evaluate(potential, dataset, options.batch_size)
    print(f"errors on {len(dataset)} structures\n{errors}")
    if options.json:
        row = {"structures": len(dataset), **errors.as_row()}
        atomic_write(options.json, json.dumps(row, indent=2).encode())


def _show_parser() -> Parser:
    parser = Parser(description="Draw a structure of a file, or film several.")
    parser.add_argument("file", type=str, help="anything ASE reads, or .npz")
    add_units(parser)
    parser.add_argument("--index", type=str, default="0", help="one structure, or first:last:step")
    flag(parser, "--forces", "draw the forces as arrows")
    parser.add_argument("--out", type=str | None, help="picture (.png, .svg, .pdf), .gif or .mp4")
    parser.add_argument("--fps", type=int, default=20, help="frames per second of a film")
    return parser


def _show(options: Namespace) -> None:
    from schnetgeo.viz import animate, show

    dataset = read_files([options.file], options)
    film = ":" in options.index
    out = options.out or f"{Path(options.file).stem}.{'gif' if film else 'png'}"
    structures = _chosen(dataset, options.index)
    if Path(out).is_dir():
        raise InputError(f"{out}: is a folder; name a picture in it, such as {Path(out, 'a.png')}")
    if options.forces and not dataset.has_property("forces"):
        raise InputError(f"{dataset.name}: has no forces to draw; name their key with --forces-key")
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        if film:
            animate(structures, out, forces=options.forces, fps=options.fps)
        else:
            show(structures[0], forces=options.forces, path=out)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # the ending, ffmpeg, the disk
        raise InputError(f"{out}: cannot be written: {error}") from None
    print(out)


def _chosen(dataset: StructureDataset, index: str) -> list[Structure]:
    try:
        bounds = [int(part) if part else None for part in index.split(":")]
        chosen = dataset[slice(*bounds)] if len(bounds) > 1 else dataset[[bounds[0]]]
        structures = list(chosen)
    except (ValueError, TypeError, IndexError):
        structures = []
    if not structures:
        raise InputError(
            f"index {index!r} selects none of the {len(dataset)} structures; give a number or "
            "first:last:step"
        )
    return structures


def _doctor(options: Namespace) -> None:
    print(doctor.report())

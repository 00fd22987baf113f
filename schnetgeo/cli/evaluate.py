"""The command schnetgeo evaluate."""

import json
from typing import Literal

import torch
from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

from schnetgeo.cli.data_options import add_units
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.cli.run_options import check_device, class_of
from schnetgeo.cli.trained_files import read_as_trained
from schnetgeo.data.validate import check_elements
from schnetgeo.files import atomic_write
from schnetgeo.potential import load
from schnetgeo.train import evaluate
from schnetgeo.train.configuration import check_threads


def make_parser() -> Parser:
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


def run(options: Namespace) -> None:
    check_device(options.device)
    check_threads(options.threads)
    if options.threads:
        torch.set_num_threads(options.threads)
    classes, unseen = tuple(options.classes), options.allow_unseen
    potential = load(options.model, classes, options.device, unseen)
    if options.precision:
        potential.to(torch.float64 if options.precision == "64" else torch.float32)
    dataset = read_as_trained(options.files, options, potential)
    check_elements(dataset.packed, potential.model.max_z, dataset.name)
    errors = evaluate(potential, dataset, options.batch_size)
    print(f"errors on {len(dataset)} structures\n{errors}")
    if options.json:
        row = {"structures": len(dataset), **errors.as_row()}
        atomic_write(options.json, json.dumps(row, indent=2).encode())

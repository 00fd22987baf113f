"""The command schnetgeo query."""

from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

from schnetgeo.cli.data_options import (
    SET_NAMES,
    add_dataset_options,
    add_units,
    open_dataset_from_options,
    read_files,
)
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.cli.run_options import class_of
from schnetgeo.cli.table import table
from schnetgeo.data.describe import formulas_of
from schnetgeo.data.expression import Expression
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.write import write_dataset
from schnetgeo.errors import InputError
from schnetgeo.potential import load
from schnetgeo.simulate.predict import predict_batches


def make_parser() -> Parser:
    parser = Parser(description='Find structures by their properties: "gap > 6 and mu < 1".')
    parser.add_argument("condition", type=str, help="of labels, or with --model of predictions")
    parser.add_argument("--dataset", type=str | None, help=f"of {SET_NAMES}")
    add_dataset_options(parser)
    parser.add_argument("--data", type=str, nargs="+", help="files, or those of --dataset at hand")
    add_units(parser)
    parser.add_argument(
        "--model", type=str, nargs="+", default=[], help="model files whose predictions count"
    )
    parser.add_argument("--classes", type=class_of, nargs="*", default=[], help="of --model")
    parser.add_argument(
        "--sort", type=str | None, help="expression to sort by; the first name unless given"
    )
    flag(parser, "--descending", "largest first")
    parser.add_argument("--num", type=PositiveInt, default=20, help="structures to show")
    parser.add_argument("-o", "--out", type=str | None, help="file for all that were found")
    parser.add_argument("--picture", type=str | None, help="draw the first twelve there")
    return parser


def run(options: Namespace) -> None:
    condition = Expression(options.condition)
    dataset = _open(options)
    values = _values(dataset, options)
    chosen = np.asarray(condition.evaluate(values), bool)
    if chosen.shape != (len(dataset),):
        raise InputError(f"condition: {options.condition!r:.80} names no property")
    order = Expression(options.sort or condition.names[0])
    indices = chosen.nonzero()[0]
    keys = np.broadcast_to(order.evaluate(values), len(dataset))[indices]
    indices = indices[np.argsort(-keys if options.descending else keys, kind="stable")]
    print(f"{len(indices):,} of {len(dataset):,} structures of {dataset.name}")
    names = dict.fromkeys([*condition.names, *order.names])
    shown = indices[: options.num]
    formulas = formulas_of(dataset[shown]) if len(shown) else []
    rows = [
        {"structure": int(k), "formula": formula} | {name: float(values[name][k]) for name in names}
        for k, formula in zip(shown, formulas, strict=True)
    ]
    print("\n".join(table(rows)))
    if not len(indices):
        return
    if options.out:
        write_dataset(options.out, [dataset[indices]])
        print(options.out)
    if options.picture:
        from schnetgeo.viz.gallery import draw_gallery

        captions = [" ".join(f"{k}={v:.4g}" for k, v in list(row.items())[2:]) for row in rows]
        titles = [f"{row['structure']}: {row['formula']}" for row in rows]
        texts = [f"{a}\n{b}" for a, b in zip(titles, captions, strict=True)]
        draw_gallery(list(dataset[shown[:12]]), texts[:12], options.picture)
        print(options.picture)


def _open(options: Namespace) -> StructureDataset:
    if options.dataset:
        return open_dataset_from_options(options)
    if not options.data:
        raise InputError("give files with --data, or the name of a --dataset")
    return read_files(options.data, options)


def _values(dataset: StructureDataset, options: Namespace) -> dict[str, np.ndarray]:
    """Numbers of the structures by name: labels, or predictions in their place."""
    values = {"num_atoms": dataset.num_atoms.double().numpy()}
    for name, value in dataset.packed.to_dict().items():
        is_column = torch.is_tensor(value) and value.dim() == 1
        if is_column and not (name == "ptr" or name.endswith("_mask") or dataset.is_per_atom(name)):
            values[name] = _column(dataset, name)
    for file in options.model:
        potential = load(file, tuple(options.classes)).eval()
        predicted = predict_batches(potential, dataset, forces=False)
        values |= {k: v.double().numpy() for k, v in predicted.items() if _is_column(v, dataset)}
    if len(values) == 1:
        raise InputError(
            f"{Path(dataset.name).name}: has no labels of structures; name some with --labels, or "
            "give --model"
        )
    return values


def _column(dataset: StructureDataset, name: str) -> np.ndarray:
    column = dataset.get_property(name).double().numpy().copy()
    known = dataset.mask(name)
    if not isinstance(known, slice):
        column[~known.numpy()] = np.nan
    return column


def _is_column(value: torch.Tensor, dataset: StructureDataset) -> bool:
    return value.dim() == 1 and len(value) == len(dataset)

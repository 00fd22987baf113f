"""The command schnetgeo select."""

from collections.abc import Iterator

import torch
from jsonargparse import Namespace

from schnetgeo.cli.data_options import add_units
from schnetgeo.cli.parser import Parser
from schnetgeo.cli.trained_files import read_as_trained
from schnetgeo.cli.uncertainty import check_uncertainty, predict_uncertainty
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.write import write_dataset
from schnetgeo.errors import InputError
from schnetgeo.potential import Ensemble, load
from schnetgeo.potential.uncertainty import select


def make_parser() -> Parser:
    parser = Parser(description="Pick the structures that models are least sure of.")
    parser.add_argument("files", type=str, nargs="+", help="the pool, anything ASE reads, or .npz")
    parser.add_argument(
        "--model", type=str, nargs="+", required=True,
        help="a model file that was calibrated, or several, whose spread is taken",
    )  # fmt: skip
    parser.add_argument("--num", type=int, default=100, help="how many structures")
    parser.add_argument(
        "--min_distance", type=float, default=0.1,
        help="structures nearer to a chosen one, as a part of the spread of the pool, are copies",
    )  # fmt: skip
    parser.add_argument("--out", type=str, default="selected.extxyz", help="file for them")
    add_units(parser)
    return parser


def run(options: Namespace) -> None:
    potentials = [load(file) for file in options.model]
    potential = potentials[0] if len(potentials) == 1 else Ensemble(potentials)
    check_uncertainty(potential)
    pool = read_as_trained(options.files, options, potentials[0])
    std, chosen = torch.empty(0), torch.empty(0)

    def selection() -> Iterator[StructureDataset]:  # made once the file is known to be new
        nonlocal std, chosen
        spread, _, _ = predict_uncertainty(potential, pool, forces=False)
        std, chosen = spread.energy, select(spread.points, options.num, options.min_distance)
        if not len(chosen):
            raise InputError(f"{pool.name}: the model is sure of every structure; give others")
        yield pool[chosen]

    write_dataset(options.out, selection())
    print(
        f"{options.out}: {len(chosen):,} of {len(pool):,} structures, whose energies are uncertain "
        f"by {1000 * float(std[chosen].min()):.3g} to {1000 * float(std[chosen].max()):.3g} meV; "
        f"the median of all is {1000 * float(std.median()):.3g} meV"
    )
    if len(chosen) < options.num:
        print(f"the other {len(pool) - len(chosen):,} are copies; lower --min-distance for more")

"""The command schnetgeo explain."""

import json
from pathlib import Path

import torch
from jsonargparse import Namespace

from schnetgeo.cli.data_options import add_units, read_files
from schnetgeo.cli.parser import Parser
from schnetgeo.cli.run_options import class_of
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write
from schnetgeo.potential import load

_POINTS = 400  # of the curves of filters


def make_parser() -> Parser:
    parser = Parser(
        description="What a model makes of a molecule: energies of its atoms, what changes without "
        "each of them, integrated gradients over distances, and the filters that it has learned."
    )
    parser.add_argument("model", type=str, help="model file, or the name of a pretrained model")
    parser.add_argument("file", type=str, help="anything ASE reads, or .npz")
    add_units(parser)
    parser.add_argument("--index", type=int, default=0, help="which structure of the file")
    parser.add_argument("--out", type=str, default="explain.png", help="picture to write")
    parser.add_argument("--json", type=str | None, help="write the numbers there")
    parser.add_argument(
        "--classes", type=class_of, nargs="*", default=[], help="your own, of the model"
    )
    return parser


def run(options: Namespace) -> None:
    from schnetgeo.explain import (
        atomic_energies,
        filter_curves,
        integrated_gradients,
        occlusion,
        pair_gradients,
    )
    from schnetgeo.viz.attribution import explanation_figure

    potential = load(options.model, tuple(options.classes))
    dataset = read_files([options.file], options)
    if not -len(dataset) <= options.index < len(dataset):
        raise InputError(f"index {options.index}: {dataset.name} has {len(dataset)} structures")
    structure = dataset[options.index]
    atoms, without = atomic_energies(potential, structure, False), occlusion(potential, structure)
    pairs, slopes = integrated_gradients(potential, structure), pair_gradients(potential, structure)
    distance = torch.linspace(0.5, potential.model.cutoff, _POINTS)
    curves = [curve.double().numpy() for curve in filter_curves(potential, distance).values()]
    figure = explanation_figure(
        structure, atoms.numpy(), without.numpy(), pairs.index.numpy(), pairs.value.numpy(),
        distance.numpy(), curves,
    )  # fmt: skip
    if Path(options.out).is_dir():
        raise InputError(f"{options.out}: cannot be written: is a folder; name a picture in it")
    try:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.out)
    except (OSError, ValueError) as error:  # the ending, the disk
        raise InputError(f"{options.out}: cannot be written: {error}") from None
    print(f"binding energy {pairs.difference:.6f} eV, sum over pairs {pairs.total:.6f} eV")
    print(options.out)
    if options.json:
        content = {
            "atomic_energies_eV": atoms.tolist(),
            "occlusion_eV": without.tolist(),
            "pairs": pairs.index.T.tolist(),
            "integrated_gradients_eV": pairs.value.tolist(),
            "binding_energy_eV": pairs.difference,
            "gradient_pairs": slopes.index.T.tolist(),
            "pair_gradients_eV_A": slopes.value.tolist(),
        }
        atomic_write(options.json, json.dumps(content, indent=2).encode())

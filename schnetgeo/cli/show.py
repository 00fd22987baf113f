"""The command schnetgeo show."""

from pathlib import Path

from jsonargparse import Namespace

from schnetgeo.cli.data_options import add_units, read_files
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.errors import InputError


def make_parser() -> Parser:
    parser = Parser(description="Draw a structure of a file, or film several.")
    parser.add_argument("file", type=str, help="anything ASE reads, or .npz")
    add_units(parser)
    parser.add_argument("--index", type=str, default="0", help="one structure, or first:last:step")
    flag(parser, "--forces", "draw the forces as arrows")
    parser.add_argument("--out", type=str | None, help="picture (.png, .svg, .pdf), .gif or .mp4")
    parser.add_argument("--fps", type=int, default=20, help="frames per second of a film")
    return parser


def run(options: Namespace) -> None:
    from schnetgeo.viz import animate, show

    dataset = read_files([options.file], options)
    film = ":" in options.index
    out = options.out or f"{Path(options.file).stem}.{'gif' if film else 'png'}"
    structures = _select(dataset, options.index)
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


def _select(dataset: StructureDataset, index: str) -> list[Structure]:
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

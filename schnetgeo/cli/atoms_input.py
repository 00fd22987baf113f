"""Structures that commands start from, as ASE atoms."""

from pathlib import Path

from ase import Atoms
from jsonargparse import Namespace

from schnetgeo.cli.data_options import add_units, read_files
from schnetgeo.cli.parser import Parser
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.errors import InputError


def add_structure(parser: Parser) -> None:
    """The options that `read_atoms` reads."""
    parser.add_argument("file", type=str, help="structures: anything ASE reads, or .npz")
    parser.add_argument("--index", type=str, default="0", help="one structure, or first:last:step")
    add_units(parser)


def read_structures(options: Namespace) -> StructureDataset:
    """The structures of --index in the file.

    Raises:
        InputError: where that chooses none.
    """
    dataset = read_files([options.file], options)
    try:
        bounds = [int(part) if part else None for part in options.index.split(":")]
        chosen = dataset[slice(*bounds)] if len(bounds) > 1 else dataset[[bounds[0]]]
        count = len(chosen)
    except (ValueError, TypeError, IndexError):
        count = 0
    if not count:
        raise InputError(
            f"index {options.index!r} selects none of the {len(dataset)} structures; give a number "
            "or first:last:step"
        )
    return chosen


def read_atoms(options: Namespace) -> list[Atoms]:
    """The same as ASE atoms without labels."""
    return [_atoms(structure) for structure in read_structures(options)]


def read_one(options: Namespace, command: str) -> Atoms:
    """The one structure of --index, or an `InputError` where there are several."""
    atoms = read_atoms(options)
    if len(atoms) > 1:
        raise InputError(
            f"{command} takes one structure, but --index {options.index} selects {len(atoms)}; "
            "give its number"
        )
    return atoms[0]


def output_folder(path: str, overwrite: bool, *names: str) -> Path:
    """The folder for these files, or an `InputError` where it holds some of them."""
    folder = Path(path)
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise InputError(
            f"{folder / there[0]}: exists already; pass --overwrite or name another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _atoms(structure: Structure) -> Atoms:
    fields = structure.to_dict()
    info = {k: fields[k] for k in ("charge", "spin") if k in fields}
    z, pos = fields["z"].numpy(), fields["pos"].double().numpy()
    atoms = Atoms(z, pos)
    if "cell" in fields:
        atoms.set_cell(fields["cell"][0].double().numpy())
        atoms.pbc = fields["pbc"][0].numpy()
    if "masses" in fields:
        atoms.set_masses(fields["masses"].numpy())
    if "momenta" in fields:
        atoms.set_momenta(fields["momenta"].numpy())
    atoms.info = {name: value.item() for name, value in info.items()}
    return atoms

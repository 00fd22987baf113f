"""Physical quality of trained models: what errors on a test set do not show.

`python -m benchmarks.physics MODEL... --data FILE --out DIR`
"""

import json
from pathlib import Path

import torch
from ase import Atoms
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt

from benchmarks.accuracy.runner import run_command
from benchmarks.physics.bonds import find_bond
from benchmarks.physics.dynamics import drift, stability
from benchmarks.physics.findings import Checked, markdown, missing
from benchmarks.physics.limits import cutoff_jump, extensivity
from benchmarks.physics.picture import draw
from benchmarks.physics.scans import dihedral, dissociation
from benchmarks.physics.spread import spread
from benchmarks.physics.start import calculators, relaxed
from schnetgeo._version import __version__
from schnetgeo.cli.data_options import add_units, read_files
from schnetgeo.cli.parser import Parser
from schnetgeo.cli.run_options import class_of
from schnetgeo.data import to_ase
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.validate import check_elements
from schnetgeo.datasets import Demo
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write
from schnetgeo.potential import Potential, load

TEMPERATURES = (300.0, 500.0)


def main(arguments: list[str] | None = None) -> None:
    """Run the checks; an `InputError` becomes one line and exit code 2."""
    run_command(_parser(), _run, arguments)


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.physics", description=__doc__)
    parser.add_argument("--version", action="version", version=f"schnetgeo {__version__}")
    parser.add_argument("models", type=str, nargs="+", help="model files; several give a spread")
    parser.add_argument(
        "--data", type=str, nargs="+",
        help="structures: the checks start from one, the spread takes 200; the ethanol that ships "
        "with the package unless given",
    )  # fmt: skip
    add_units(parser)
    parser.add_argument("--index", type=int, default=0, help="the structure to start from")
    parser.add_argument("--bond", type=int, nargs=2, help="atoms of the bond to pull and to turn")
    parser.add_argument("--steps", type=PositiveInt, default=20_000,
                        help="of constant-energy dynamics, 0.5 fs each")  # fmt: skip
    parser.add_argument("--max_ps", type=PositiveFloat, default=10.0,
                        help="of dynamics at each temperature")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of velocities")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; 0: torch's choice")
    parser.add_argument("--classes", type=class_of, nargs="*", default=[],
                        help="your own, of the models")  # fmt: skip
    parser.add_argument("--out", type=str, default="runs/physics", help="folder for the results")
    return parser


def _run(options: Namespace) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)
    names = _names(options.models)
    potentials = [load(path, tuple(options.classes)) for path in options.models]
    data = read_files(options.data, options) if options.data else Demo("ethanol")
    for name, potential in zip(names, potentials, strict=True):
        _check_elements(data, name, potential, bool(options.data))
    atoms = _atoms(data, options.index)
    find_bond(atoms, options.bond)  # a wrong one is refused before minutes have passed
    found = {
        name: checked(atoms, potential, options)
        for name, potential in zip(names, potentials, strict=True)
    }
    if len(potentials) > 1:
        found["all"] = [spread(potentials, data)]
    _write(found, Path(options.out), f"{data.name}, structure {options.index}")


def checked(atoms: Atoms, potential: Potential, options: Namespace) -> list[Checked]:
    """All checks of one model."""
    exact, fast, kind = calculators(potential)
    cutoff = potential.model.cutoff
    start, relaxation = relaxed(atoms, exact)
    moving = start.copy()
    moving.calc = fast
    made = [drift(moving, options.steps, seed=options.seed)]
    made += [stability(moving, t, options.max_ps, options.seed) for t in TEMPERATURES]
    made = [_noted(one, kind) for one in made]
    if atoms.pbc.any():
        names = ("cutoff", "extensivity", "dissociation", "dihedral")
        return [relaxation, *made, *(missing(name, "for molecules only") for name in names)]
    bond = find_bond(start, options.bond)
    return [
        relaxation, *made, cutoff_jump(start, cutoff), extensivity(start, cutoff),
        dissociation(start, bond, cutoff), dihedral(start, bond),
    ]  # fmt: skip


def _noted(one: Checked, kind: str) -> Checked:
    return one._replace(findings=[f._replace(done=f"{f.done}; {kind}") for f in one.findings])


def _names(paths: list[str]) -> list[str]:
    """What tells the files apart, such as seed0."""
    parts = [Path(path).with_suffix("").parts for path in paths]
    differ = [k for k in range(min(map(len, parts))) if len({p[k] for p in parts}) > 1]
    names = ["/".join(p[k] for k in differ) or p[-1] for p in parts]
    return names if len(set(names)) == len(names) else list(map(str, paths))


def _check_elements(data: StructureDataset, name: str, potential: Potential, given: bool) -> None:
    """Refuse elements that the model has not seen, for which it has no reference energy."""
    check_elements(data.packed, potential.model.max_z, data.name)
    known = potential.atomic_references.values.cpu() != 0
    elements = data.get_property("z").unique()
    strange = elements[~known[elements]]
    if len(strange) and bool(known.any()):
        which = ", ".join(map(str, strange.tolist()))
        remedy = "give others" if given else "give structures of yours with --data"
        raise InputError(
            f"{data.name}: has atoms of Z = {which}, which the model {name} was not trained on; "
            f"{remedy}"
        )


def _atoms(data: StructureDataset, index: int) -> Atoms:
    if not -len(data) <= index < len(data):
        raise InputError(f"index {index} selects none of the {len(data)} structures")
    full = to_ase(data[index])
    return Atoms(full.numbers, full.positions, cell=full.cell, pbc=full.pbc)


def _write(found: dict[str, list[Checked]], out: Path, where: str) -> None:
    rows = [
        {"model": name, **finding._asdict(), "structure": where}
        for name, made in found.items() for one in made for finding in one.findings
    ]  # fmt: skip
    text = json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(out / "physics.json", text.encode())
    panels: dict[str, list] = {}
    for name, made in found.items():
        for one in made:
            if one.curve is not None:
                panels.setdefault(one.findings[0].check, []).append((name, one.curve))
    if panels:
        draw(list(panels.values()), out / "physics.png")
    print(markdown(rows))
    print(f"\n{out / 'physics.json'}, physics.png")


if __name__ == "__main__":
    main()

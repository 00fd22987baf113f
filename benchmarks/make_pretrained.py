"""Train the models that ship with the package, and write their cards' numbers.

    python -m benchmarks.make_pretrained gfn2-molecules --out runs/pretrained
    python -m benchmarks.make_pretrained qm9-u0 --data qm9_u0_part*.npz --out runs/pretrained

Each training leaves `OUT/NAME/model.safetensors`, whose notes hold the recipe, the split and the
errors on structures that neither trained nor chose the weights. --data names copies of QM9, which
is downloaded unless given.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.qm9 import labeled
from schnetgeo.cli.parser import Parser, errors_in_one_line
from schnetgeo.data import random_split
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import QM9, Demo
from schnetgeo.nn import AtomisticModel, PaiNN, SchNet
from schnetgeo.nn.usual_readouts import readout_for
from schnetgeo.targets import ENERGY, known_target
from schnetgeo.train import TrainingConfig, evaluate, fit, new_potential

_GFN2 = {
    "license": "MIT, its data CC0 1.0",
    "method": "GFN2-xTB, Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019)",
}
_QM9 = {
    "license": "MIT, its data CC0 1.0",
    "method": "B3LYP/6-31G(2df,p), Ramakrishnan, Dral, Rupp, von Lilienfeld, Sci. Data 1, 140022 "
    "(2014)",
    "domain": "molecules of H, C, N and O with up to nine heavy atoms at their minima; forces away "
    "from minima were not trained",
}
PROPERTIES = tuple(map(known_target, ("mu", "alpha", "homo", "lumo", "gap")))


@dataclass(frozen=True)
class Recipe:
    """How one model is trained."""

    dataset: Callable[[list[str] | None], StructureDataset]
    model: Callable[[], AtomisticModel]
    training: TrainingConfig
    counts: tuple[int, int]  # structures to train on, and to choose the weights
    card: dict[str, str]  # data, license and domain


def _properties(files: list[str] | None) -> StructureDataset:
    return labeled(QM9("data", "mu", file=files), PROPERTIES)


def _energies(files: list[str] | None) -> StructureDataset:
    return labeled(QM9("data", "U0", file=files), (ENERGY,), "U0")


RECIPES = {
    "gfn2-ethanol": Recipe(
        lambda files: Demo("ethanol"),
        lambda: SchNet(channels=64, num_layers=3, gamma=10.0, max_z=10),
        TrainingConfig(max_steps=25_000, lr=3e-3),
        (1000, 50),
        {**_GFN2, "data": "Demo ethanol: 1,200 frames at 500 K",
         "domain": "ethanol near its minima, up to 500 K; no reactions, no other molecule"},
    ),
    "gfn2-molecules": Recipe(
        lambda files: Demo("molecules"),
        lambda: PaiNN(channels=64, num_layers=3, max_z=10),
        TrainingConfig(
            losses=("energy:0.1", "forces"), max_steps=30_000, lr=2e-3, clip=10.0
        ),
        (1000, 60),
        {**_GFN2, "data": "Demo molecules: 62 species of H, C, N and O, 20 frames each at 500 K",
         "domain": "these 62 closed-shell molecules of 2 to 16 atoms, up to 500 K; like ones with "
         "larger errors; one molecule at a time, no reactions"},
    ),
    "qm9-u0": Recipe(
        _energies,
        lambda: PaiNN(channels=64, num_layers=3, max_z=10),
        TrainingConfig(
            task="energy", loss="mae", batch_size=32, lr=1e-3, ema_decay=0.999,
            max_steps=200_000, validate_every=2000, checkpoint_every=2000,
        ),
        (100_000, 1000),
        {**_QM9, "data": "QM9 without fluorine, 108,744 molecules, U0"},
    ),
    "qm9-properties": Recipe(
        _properties,
        lambda: PaiNN(
            channels=64, num_layers=3, max_z=10, readout=readout_for(*PROPERTIES, has_vectors=True)
        ),
        TrainingConfig(
            task="energy", loss="mae", batch_size=32, lr=1e-3, ema_decay=0.999,
            max_steps=100_000, validate_every=2000, checkpoint_every=2000,
        ),
        (18_000, 500),
        {**_QM9, "data": "QM9 without fluorine, 20,724 molecules"},
    ),
}  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Train one model; an `InputError` becomes one line and exit code 2."""
    parser = Parser(prog="benchmarks.make_pretrained", description=__doc__)
    parser.add_argument("name", type=str, choices=[*RECIPES])
    parser.add_argument("--data", type=str, nargs="+", help="QM9's files at hand")
    parser.add_argument("--out", type=str, default="runs/pretrained")
    parser.add_argument("--max_steps", type=int | None, help="instead of the recipe's")
    with errors_in_one_line("benchmarks.make_pretrained"):
        options = parser.parse_args(arguments)
        make(options.name, options.data, Path(options.out), options.max_steps)


def make(name: str, files: list[str] | None, out: Path, max_steps: int | None = None) -> None:
    """Train a model by its recipe, and note its errors in the file."""
    recipe = RECIPES[name]
    training = replace(recipe.training, progress=False)
    if max_steps is not None:
        training = replace(training, max_steps=max_steps)
    dataset = recipe.dataset(files)
    num_train, num_val = recipe.counts
    split = random_split(len(dataset), num_train, num_val, len(dataset) - num_train - num_val)
    train, val, test = (dataset[part] for part in split)
    torch.manual_seed(training.seed)
    model = recipe.model()
    targets = {"targets": PROPERTIES} if name == "qm9-properties" else {}
    potential = new_potential(model, train, **targets)
    result = fit(potential, train, val, training, out / name, resume=True)
    errors = evaluate(result.potential, test)
    print(f"{result.steps} steps, {result.seconds:.0f} s; errors on {len(test)}\n{errors}")
    row = {"structures": len(test), **errors.as_row()}
    notes = {"steps": result.steps, "split": split.digest, "test": row, "card": recipe.card}
    result.potential.save(out / name / "model.safetensors", **notes)


if __name__ == "__main__":
    main()

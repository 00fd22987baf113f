"""The protocol of the milestone report: its baseline, trained as its section 2 says.

`python -m benchmarks.qm9 --protocol milestone1 --data FILE...`, likewise md17 and iso17, and all of
the report's table 5 and figures with `python -m benchmarks.milestone1`.

One epoch of 10,000 structures in batches of 32, 100 others to test, no normalization of the labels,
a model for each task, losses in the units that the report's data loader gives. Its step size is not
stated: of 0.001, 0.01 and 0.03 the second gives losses nearest to its size.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import Namespace

from benchmarks.accuracy.experiments import Subject
from benchmarks.accuracy.milestone1_table import QUANTITIES, table
from benchmarks.accuracy.models import mean_predictor
from benchmarks.literature import milestone
from benchmarks.machine import hardware, versions
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split
from schnetgeo.data.split_methods import random_split
from schnetgeo.data.statistics import element_counts, fit_atomic_references
from schnetgeo.data.structure import Structure, mask_name
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write
from schnetgeo.nn import Baseline, num_parameters
from schnetgeo.potential import Potential
from schnetgeo.potential.prediction import Prediction
from schnetgeo.targets import ENERGY
from schnetgeo.train import TrainingConfig, fit, predict
from schnetgeo.train.evaluation import compute_metrics
from schnetgeo.train.tasks import TASKS
from schnetgeo.units import HARTREE, KCAL_MOL

TRAIN, TEST, BATCH = 10_000, 100, 32
STEPS = TRAIN // BATCH  # of one epoch, without its last, incomplete batch
UNITS = {"QM9": ("Hartree", HARTREE), "ISO17": ("eV", 1.0)}  # in eV; all others kcal/mol


class Result(NamedTuple):
    """A trained baseline, with the row that says how good it is."""

    row: dict
    potential: Potential
    structures: StructureDataset  # all that it was trained and tested on, in the report's units


def protocol(options: Namespace, subjects: Iterator[Subject]) -> None:
    """Run the protocol on each subject, for each seed, and write results.json.

    Raises:
        InputError: if the folder holds results already, or a data set has too few structures or
            another property than energies.
    """
    out = new_folder(options.out, options.overwrite)
    chosen = list(subjects)
    for subject in chosen:
        target = subject.targets[0]
        if target != ENERGY:
            what = f"{subject.name} is in {target.unit}"
            raise InputError(f"protocol milestone1 is of energies; {what}: leave it away")
    rows = [
        result.row
        for subject in chosen
        for seed in options.seed
        for result in measured(subject, seed, options.normalize, out, options.note)
    ]
    write_results(out, rows)
    print(table(rows))
    print(f"\n{out / 'results.json'}")


def new_folder(out: str, overwrite: bool) -> Path:
    """A folder without results, unless they may be overwritten."""
    if (Path(out) / "results.json").exists() and not overwrite:
        raise InputError(f"{out}: holds results already; give --overwrite or another --out")
    return Path(out)


def write_results(out: Path, rows: list[dict]) -> None:
    """The rows, as each benchmark leaves them."""
    atomic_write(out / "results.json", json.dumps(rows, indent=2, ensure_ascii=False).encode())


def measured(
    subject: Subject, seed: int, normalize: bool, out: Path, note: str = ""
) -> Iterator[Result]:
    """A model for each task that the labels allow."""
    split = _split(subject.data, seed)
    unit, factor = UNITS.get(subject.dataset, ("kcal/mol", KCAL_MOL))
    said = "; ".join(filter(None, (note, subject.note, *_caveats(len(split.train), unit))))
    train, test = (_in_units(subject.data[part], factor) for part in (split.train, split.test))
    whole = _in_units(subject.data[torch.cat([split.train, split.test])], factor)
    for task in TASKS if train.has_property("forces") else ["energy"]:
        model = "baseline, normalized" if normalize else "baseline"
        folder = out / subject.name / f"seed{seed}" / model.replace(", ", "_") / task
        potential, found = _trained(train, test, task, seed, normalize, folder)
        predicted = predict(potential, test, forces=test.has_property("forces")).items()
        in_ev = Prediction.of({name: value * factor for name, value in predicted})
        row = {
            "dataset": subject.dataset,
            subject.column: _name(subject),
            "model": model,
            "task": task,
            "seed": seed,
            "num_train": len(train),
            "num_val": 0,
            "num_test": len(test),
            "parameters": num_parameters(potential),
            **found,
            "unit": _unit(task, unit),
            "hardware": hardware(),
            "versions": versions(),
            **compute_metrics(in_ev, subject.data[split.test]).as_row(),
            "published": [] if normalize else _published(subject, task),
            "split": split.digest,
            "note": said or None,
        }  # fmt: skip
        yield Result(row, potential, whole)


def _caveats(number: int, unit: str) -> Iterator[str]:
    if number < TRAIN:
        few = f"{number:,} structures to train on, all there are"
        yield f"{few}, for {STEPS} steps as with {TRAIN:,}"
    if unit != "eV":
        yield f"what the model files call eV is here {unit}"


def _split(data: StructureDataset, seed: int) -> Split:
    """Structures of the authors' pool for training, where there is one, to train and to test on."""
    pools = getattr(data, "pools", None)
    pool = torch.arange(len(data)) if pools is None else pools.train
    number = min(TRAIN, len(pool) - TEST)
    if number < BATCH:
        raise InputError(
            f"{data.name}: holds {len(pool)} structures to train on; the protocol needs "
            f"{TEST} to test and a batch of {BATCH}, so give {TEST + BATCH} or more"
        )
    return Split(*(pool[part] for part in random_split(len(pool), number, 0, TEST, seed)))


def _in_units(data: StructureDataset, factor: float) -> StructureDataset:
    """The same structures with labels in another unit, of so many eV."""
    structures, sizes = data.materialize()
    labels = {
        name: structures[name] / factor for name in ("energy", "forces") if data.has_property(name)
    }
    masks = {
        mask_name(name): structures[mask_name(name)]
        for name in labels
        if data.has_property(mask_name(name))
    }
    packed = Structure(z=structures.z, pos=structures.pos, **labels, **masks)
    return StructureDataset(packed, sizes, data.name)


def _trained(
    train: StructureDataset,
    test: StructureDataset,
    task: str,
    seed: int,
    normalize: bool,
    folder: Path,
) -> tuple[Potential, dict]:
    """The model of one task, and its loss on the test structures beside the simplest one's."""
    kind = "mse" if task == "energy_and_forces" else "mae"
    training = TrainingConfig(
        task=task, loss=kind, batch_size=BATCH, lr=0.01, schedule="constant", ema_decay=0.0,
        max_steps=STEPS, seed=seed, device="cpu", progress=False,
    )  # fmt: skip
    torch.manual_seed(seed)
    net = Baseline()
    potential = Potential(net, *_normalization(train, net.max_z)) if normalize else Potential(net)
    done = fit(potential, train, train[[]], training, folder, overwrite=True)
    found = predict(done.potential, test, forces=test.has_property("forces"))
    forces = torch.zeros_like(test.get_property("forces")) if test.has_property("forces") else None
    simplest = Prediction(mean_predictor(train, test).values, forces, None)
    loss, batch = training.objective(), test.batch(range(len(test)))
    return done.potential, {
        "steps": done.steps,
        "stopped_by": done.stopped_by,
        "seconds": round(done.seconds, 3),
        "loss": float(loss(found, batch)),
        "loss_of_mean_predictor": float(loss(simplest, batch)),
    }


def _normalization(train: StructureDataset, max_z: int) -> tuple[torch.Tensor, float]:
    """Energies less those of the elements, for one molecule less the mean, have variance 1."""
    known = train.mask("energy")
    counts, energy = element_counts(train, max_z)[known], train.get_property("energy")[known]
    references = fit_atomic_references(counts, energy)
    return references, float((energy - counts.double() @ references).std())


def _unit(task: str, energy: str) -> str:
    if task == "energy_and_forces":
        return f"({energy})² + ({energy}/Å)²"
    return energy if task == "energy" else f"{energy}/Å"


def _name(subject: Subject) -> str:
    return "reference" if subject.dataset == "ISO17" else subject.name


def _published(subject: Subject, task: str) -> list[dict]:
    """What the report's table 5 has in this place."""
    return [
        number.as_row()
        for number in milestone()
        if number.dataset == subject.dataset
        and number.subject == _name(subject)
        and number.quantity == QUANTITIES[task]
    ]

"""What models are trained and tested on: a data set with one split, for each size and seed."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jsonargparse import Namespace
from torch import Tensor

from benchmarks.literature import Published
from schnetgeo.data.coverage import Coverage
from schnetgeo.data.make_split import split_warning
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split
from schnetgeo.datasets.published import sample_split
from schnetgeo.errors import InputError
from schnetgeo.targets import ENERGY, Target
from schnetgeo.train import TrainingConfig

OWN = "own data"  # the data set of a subject that is none of the published ones
Numbers = Callable[[str, str, int], list[Published]]  # of a subject, task, training structures


class Subject(NamedTuple):
    """A data set that models are trained on, and how its rows are labeled."""

    dataset: str
    column: str  # molecule, target or fold
    name: str
    data: StructureDataset
    published: Numbers
    targets: tuple[Target, ...] = (ENERGY,)  # that one model predicts
    tests: Callable[[Tensor], dict[str, Tensor]] | None = None  # parts of the test structures
    note: str = ""

    def target(self, tested: str) -> Target:
        """The target of a row: that of its name where a model has several."""
        return next((t for t in self.targets if t.name == tested), self.targets[0])


class Experiment(NamedTuple):
    """A subject with one split: what a model is trained and tested on."""

    subject: Subject
    split: Split
    train: StructureDataset
    val: StructureDataset
    tests: dict[str, StructureDataset]
    training: TrainingConfig
    folder: str  # below --out; "" where there is one experiment
    note: str | None


def experiments(options: Namespace, subjects: list[Subject]) -> Iterator[Experiment]:
    """Every subject with every training size and seed.

    Raises:
        InputError: if a data set has no energies, or fewer structures than asked for.
    """
    names = [name for name in TrainingConfig.__dataclass_fields__ if name != "seed"]
    for subject in subjects:
        _check_folder(subject.name)
        for number in options.num_train:
            for seed in options.seed:
                training = TrainingConfig(**{name: options[name] for name in names}, seed=seed)
                parts = [
                    subject.name if len(subjects) > 1 else "",
                    f"train{number}" if len(options.num_train) > 1 else "",
                    f"seed{seed}" if len(options.seed) > 1 else "",
                ]
                folder = "/".join(filter(None, parts))
                yield _case(subject, number, options, training, folder)


def _check_folder(name: str) -> None:
    """A subject has a folder below --out, whatever it is called."""
    if name in (".", "..") or not name.isprintable() or not re.fullmatch(r"[^/\\|]{1,100}", name):
        raise InputError(
            f"{name!r:.60} is to be a folder below --out: give up to 100 printable characters, "
            "without /, \\ and |"
        )


def _case(
    subject: Subject, number: int, options: Namespace, training: TrainingConfig, folder: str
) -> Experiment:
    data = subject.data
    for target in subject.targets:
        if not data.has_property(target.name):
            remedy = f"name its key with --{target.name}-key"
            raise InputError(f"{data.name}: has no {target.name}; {remedy}")
    split = sample_split(data, number, options.num_val, options.num_test, training.seed)
    tests = subject.tests(split.test) if subject.tests else {subject.name: split.test}
    empty = [name for name, indices in tests.items() if not len(indices)]
    if empty:
        raise InputError(f"{data.name}: no frame is left to test on; lower num_train or num_val")
    train = data[split.train]
    covered = Coverage.of(train, subject.targets[0].name)
    val, known = covered.keep_known(data[split.val]), {}
    for name, indices in tests.items():
        known[name] = covered.keep_known(data[indices])
        if not len(known[name]):
            raise InputError(
                f"{data.name}: every structure to test on has an element that no training "
                "structure has; raise num_train"
            )
    lost = sum(len(indices) - len(known[name]) for name, indices in tests.items())
    left_out = f"{lost} test structures have elements of no training structure" if lost else ""
    notes = (options.note, subject.note, split_warning("random", data), left_out)
    said = "; ".join(filter(None, notes)) or None
    return Experiment(subject, split, train, val, known, training, folder, said)

"""What a search tries: two spaces that are known, or a file of your own."""

import math
from pathlib import Path
from typing import NamedTuple

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GridSampler, TPESampler
from optuna.trial import Trial

from schnetgeo.errors import InputError
from schnetgeo.nn import StepCutoff

Value = bool | int | float | str


class Space(NamedTuple):
    """Options to search, by their names on the command line, and defaults of the others."""

    options: dict[str, BaseDistribution]
    defaults: dict
    trials: int
    grid: bool = False  # every combination once, in random order

    def suggest(self, trial: Trial) -> dict[str, Value]:
        """The values that the engine wants to see tried next."""
        return {name: trial._suggest(name, found) for name, found in self.options.items()}

    def sampler(self) -> BaseSampler:
        """Unseeded, so that several processes do not try the same."""
        if self.grid:
            return GridSampler({name: found.choices for name, found in self.options.items()})
        return TPESampler()

    def ends(self) -> list[dict[str, Value]]:
        """Values that together have every choice and both ends of every range."""
        values = {
            name: found.choices if isinstance(found, CategoricalDistribution)
            else (found.low, found.high)
            for name, found in self.options.items()
        }  # fmt: skip
        most = max(map(len, values.values()))
        return [{name: v[min(k, len(v) - 1)] for name, v in values.items()} for k in range(most)]

    def described(self) -> str:
        """What two searches of one study must share."""
        return "; ".join(f"{name} {found}" for name, found in self.options.items())


def _choice(*values: Value) -> CategoricalDistribution:
    return CategoricalDistribution(values)


# the search of the milestone report's authors, around the paper's architecture
REPORT = Space(
    {
        "model.channels": _choice(32, 64, 128, 256),
        "model.num_layers": _choice(2, 4, 8),
        "model.cutoff": _choice(20.0, 30.0, 40.0),  # the last Gaussian; all pairs interact
        "model.num_basis": _choice(100, 200, 400),
        "model.activation": _choice(
            "schnetgeo.nn.mlp.ShiftedSoftplus", "torch.nn.LeakyReLU", "torch.nn.GELU"
        ),
    },
    {
        "model.gamma": 10.0, "model.cutoff_fn": StepCutoff, "model.filter_last_activation": True,
        "model.in_bias": True, "num_train": [10_000], "num_val": 1_000, "lr": 1e-3,
        "batch_size": 32, "schedule": "constant", "max_steps": math.ceil(100 * 10_000 / 32),
    },
    trials=324,
    grid=True,
)  # fmt: skip
DEFAULT = Space(
    {
        "model.channels": _choice(32, 64, 128),
        "model.num_layers": IntDistribution(2, 6),
        "model.cutoff": FloatDistribution(4.0, 10.0, step=1.0),
        "model.gamma": FloatDistribution(2.0, 20.0, log=True),
        "lr": FloatDistribution(3e-4, 1e-2, log=True),
        "rho": FloatDistribution(1e-3, 1.0, log=True),
        "batch_size": _choice(5, 10, 32, 100),
    },
    {},
    trials=30,
)
SPACES = {"default": DEFAULT, "report": REPORT}


def read_space(name: str) -> Space:
    """A space by name, or of a YAML file with a list or a range for each option.

        model.channels: [32, 64]
        lr: {low: 1.0e-4, high: 1.0e-2, log: true}

    Raises:
        InputError: for another name, and for a file that says something else.
    """
    if name in SPACES:
        return SPACES[name]
    if not Path(name).is_file():
        raise InputError(f"unknown space {name!r}; known: {', '.join(SPACES)}, or a YAML file")
    try:
        content = yaml.safe_load(Path(name).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not content:
        raise InputError(f"{name}: must have a list or a range (low, high) for each option")
    return Space({str(k): _read(name, k, v) for k, v in content.items()}, {}, DEFAULT.trials)


def _read(file: str, name: str, value) -> BaseDistribution:
    rule = f"{file}: {name} must be a list, or low and high, with log or step if wanted"
    try:
        if isinstance(value, list):
            return CategoricalDistribution(value)
        whole = all(isinstance(value[end], int) for end in ("low", "high"))
        return (IntDistribution if whole else FloatDistribution)(**value)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{rule}; got {value!r} ({error})") from None

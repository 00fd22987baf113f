"""What a model can predict: name, shape and unit of each property."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from schnetgeo.errors import InputError


@dataclass(frozen=True)
class Target:
    """A property of structures or of their atoms.

    Args:
        name: of the labels in the structures, and of the prediction.
        unit: of labels and predictions, such as "eV" or "Debye".
        per: what has a value: each structure, or each atom.
        shape: of one value: () a scalar, (3,) a vector, (3, 3) a tensor.
        extensive: whether the value of two structures far apart is the sum of theirs.

    Raises:
        InputError: for a name that is no Python identifier, a unit that is no text, or a shape that
            is neither a scalar, a vector nor a tensor.
    """

    name: str
    unit: str
    per: Literal["structure", "atom"] = "structure"
    shape: tuple[int, ...] = ()
    extensive: bool = True

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise InputError(f"name of a target must be an identifier, got {self.name!r:.60}")
        if not isinstance(self.unit, str):
            raise InputError(f"{self.name}: unit must be text, got {self.unit!r:.60}")
        if self.per not in ("structure", "atom"):
            raise InputError(
                f"{self.name}: per must be 'structure' or 'atom', got {self.per!r:.60}"
            )
        if self.shape not in ((), (3,), (3, 3)):
            raise InputError(
                f"{self.name}: shape must be (), (3,) or (3, 3), got {self.shape!r:.60}"
            )

    def __str__(self) -> str:
        return f"{self.name} ({self.unit})"

    def as_json(self) -> dict:
        """The fields as a model file holds them."""
        return asdict(self) | {"shape": list(self.shape)}

    @classmethod
    def from_json(cls, content: Mapping, path: str | os.PathLike) -> "Target":
        """The inverse of `as_json`, for a target in a file.

        Raises:
            InputError: for anything else.
        """
        try:
            return cls(**{**content, "shape": tuple(content["shape"])})
        except (TypeError, KeyError):
            raise InputError(
                f"{path}: a model file with a changed header: targets = {content!r:.50} is no "
                "target; get a fresh copy"
            ) from None


ENERGY = Target("energy", "eV")
FORCES = Target("forces", "eV/Å", per="atom", shape=(3,), extensive=False)
STRESS = Target("stress", "eV/Å³", shape=(3, 3), extensive=False)
DERIVATIVES = (FORCES, STRESS)  # of the energy, which no readout predicts

TARGETS = (
    ENERGY,
    FORCES,
    STRESS,
    Target("dipole", "e·Å", shape=(3,)),
    Target("polarizability", "Bohr³", shape=(3, 3)),
    Target("charges", "e", per="atom", extensive=False),
    Target("atomic_energies", "eV", per="atom", extensive=False),
    Target("mu", "Debye", extensive=False),
    Target("alpha", "Bohr³"),
    Target("homo", "eV", extensive=False),
    Target("lumo", "eV", extensive=False),
    Target("gap", "eV", extensive=False),
    Target("r2", "Bohr²"),
    Target("zpve", "eV"),
    Target("U0", "eV"),
    Target("U", "eV"),
    Target("H", "eV"),
    Target("G", "eV"),
    Target("Cv", "cal/(mol K)"),
)


def known_target(name: str) -> Target:
    """The target of this name.

    Raises:
        InputError: for an unknown name; lists the known ones.
    """
    for target in TARGETS:
        if target.name == name:
            return target
    raise InputError(
        f"unknown target {name!r:.60}; known: {', '.join(target.name for target in TARGETS)}; "
        "define another with schnetgeo.Target(name, unit)"
    )


def check_targets(targets: Sequence[Target]) -> None:
    """Raise `InputError` unless one model can predict these.

    Raises:
        InputError: for what is no target, a name twice, an energy that is not the first
            or not in eV, and derivatives of the energy.
    """
    if isinstance(targets, Target | str):
        raise InputError(f"targets must be a list of targets, got {targets!s:.60}; give [target]")
    if not targets:
        raise InputError("targets must name at least one, such as schnetgeo.targets.ENERGY")
    for target in targets:
        if not isinstance(target, Target):
            raise InputError(
                f"targets must be of schnetgeo.Target, got {target!r:.60}; give "
                "Target(name, unit), or schnetgeo.targets.known_target(name)"
            )
        if target.name in (FORCES.name, STRESS.name):
            raise InputError(
                f"targets: {target.name} is a derivative of the energy, which a potential gives "
                "without a head for it; leave it out"
            )
        kind = target.unit, target.per, target.shape
        if target.name == ENERGY.name and kind != (ENERGY.unit, ENERGY.per, ENERGY.shape):
            raise InputError(
                f"targets: energy must be one number in eV for each structure, got {target} of "
                f"shape {target.shape} for each {target.per}; call the target something else, or "
                "give labels with their unit, which is converted"
            )
    names = [target.name for target in targets]
    if len({*names}) < len(names):
        raise InputError(f"targets must have different names, got {', '.join(names)}")
    if ENERGY.name in names[1:]:
        raise InputError(f"targets: energy must come first, got {', '.join(names)}")

"""What a model can predict: name, shape and unit of each property."""

from dataclasses import dataclass
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
        InputError: for a name that is no Python identifier, or a shape that is neither a scalar, a
            vector nor a tensor.
    """

    name: str
    unit: str
    per: Literal["structure", "atom"] = "structure"
    shape: tuple[int, ...] = ()
    extensive: bool = True

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise InputError(f"name of a target must be an identifier, got {self.name!r:.60}")
        if self.per not in ("structure", "atom"):
            raise InputError(
                f"{self.name}: per must be 'structure' or 'atom', got {self.per!r:.60}"
            )
        if self.shape not in ((), (3,), (3, 3)):
            raise InputError(
                f"{self.name}: shape must be (), (3,) or (3, 3), got {self.shape!r:.60}"
            )


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

"""Units of one file: what it states, what the user gives, what its layout means, or unknown.

What a file states wins. What the user gives comes next and must not contradict it. The convention
of a layout applies only where nothing stated or given speaks against it, and a note says so. A
unit that nobody states must be given, but that lengths which can only be bonds in Å are taken in Å,
with a note. Magnitudes that no molecule has are questioned.
"""

from collections.abc import Callable, Container, Iterable

from schnetgeo import units
from schnetgeo.data.magnitudes import bonds_in_angstrom, doubts
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import NONE, QUANTITIES, Convention, Units
from schnetgeo.errors import InputError
from schnetgeo.notes import note

_CONVERT = {
    "energy": units.energy, "force": units.force, "stress": units.stress, "length": units.length,
}  # fmt: skip
_EXAMPLES = {
    "energy": "eV, kcal/mol or Hartree",
    "force": "eV/Angstrom, kcal/mol/Angstrom or Hartree/Bohr",
    "stress": "eV/Angstrom^3 or GPa",
    "length": "Angstrom or Bohr",
}
_FIELDS = {"energy": "energy", "force": "forces", "stress": "stress", "length": "pos"}
# a unit that differs from a convention makes that of these uncertain as well
_RELATED = {
    "energy": ("force", "stress"), "force": ("energy", "length"), "stress": ("energy", "length"),
    "length": ("force", "stress"),
}  # fmt: skip


class FileUnits:
    """The units of the quantities of one file.

    Args:
        where: name of the file, for messages.
        stated: by the file itself.
        user_units: as the user says.
        convention: of the layout.

    Raises:
        InputError: for a unit that is not known, and one given that contradicts the one stated.
    """

    def __init__(
        self,
        where: str,
        stated: Units = Units(),  # noqa: B008
        user_units: Units = Units(),  # noqa: B008
        convention: Convention = NONE,
    ):
        self.where, self.convention = where, convention
        self.stated, self.user_units = stated, user_units
        self.used: set[str] = set()
        """Kinds of units that were applied."""
        self._bonds_tell = False
        self._factors: dict[str, float] = {}  # looked up for every frame of a file
        for kind in Units._fields:
            in_file, by_user = getattr(stated, kind), getattr(user_units, kind)
            values = [self._value(kind, unit) for unit in (in_file, by_user) if unit]
            if len(values) == 2 and abs(values[0] / values[1] - 1) > 1e-6:
                raise InputError(
                    f"{where}: states {in_file!r} as unit of its {QUANTITIES[kind]}, but "
                    f"{kind}_unit is {by_user!r}; leave {_option(kind)} out, or correct the file "
                    "if it is wrong"
                )

    def factor(self, kind: str) -> float:
        """What brings an "energy", "force", "stress" or "length" of the file to eV and Å.

        Raises:
            InputError: where the unit is unknown; says how to give it.
        """
        self.used.add(kind)
        if kind not in self._factors:
            self._factors[kind] = self._find_factor(kind)
        return self._factors[kind]

    def _find_factor(self, kind: str) -> float:
        unit = self._unit(kind)
        if unit is None:
            raise InputError(
                f"{self.where}: does not state the unit of its {QUANTITIES[kind]}; give "
                f"{_option(kind)}, such as {_EXAMPLES[kind]}"
            )
        return self._value(kind, unit)

    def length_factor(self, geometry: Callable[[], StructureDataset]) -> float:
        """`factor` of lengths, which bonds may tell where nothing else does.

        Args:
            geometry: gives the structures as the file stores them.

        Raises:
            InputError: where the unit is unknown; says how to give it.
        """
        if self._unit("length") is None:
            self._bonds_tell = bonds_in_angstrom(geometry())
        return self.factor("length")

    def known(self, kind: str) -> str | None:
        """The unit that the file states or the user gives."""
        return getattr(self.stated, kind) or getattr(self.user_units, kind)

    def review(self, dataset: StructureDataset) -> None:
        """Look at what was read with these units: notes, and questions.

        Raises:
            InputError: for a magnitude that no molecule has where only a convention says the unit.
        """
        present = [kind for kind, field in _FIELDS.items() if dataset.has_property(field)]
        if "stress" not in self.used:  # those of virials have the unit of the energy
            present = [kind for kind in present if kind != "stress"]
        assumed = [kind for kind in present if not self.known(kind)]
        if self._of_format:
            assumed = []
        questions = []
        for doubt in doubts(dataset):
            if doubt.kind in assumed and (self._conventional(doubt.kind) or doubt.kind == "length"):
                raise InputError(
                    f"{self.where}: {doubt.text} if {self._assumption([doubt.kind])}; give "
                    f"{_option(doubt.kind)}, such as {_EXAMPLES[doubt.kind]}"
                )
            questions.append(f"{doubt.text}; check {_option(doubt.kind)}")
        for text in [self._assumption(assumed)] * bool(assumed) + questions:
            note(f"{self.where}: {text}")

    @property
    def _of_format(self) -> bool:
        return self.convention.of_format

    def _unit(self, kind: str) -> str | None:
        return self.known(kind) or self._conventional(kind) or self._derived(kind)

    def _value(self, kind: str, unit: str) -> float:
        try:
            return _CONVERT[kind](unit)
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None

    def _conventional(self, kind: str) -> str | None:
        """The unit by convention, where no related unit differs from the convention's."""
        unit = getattr(self.convention.units, kind)
        if unit is None or (kind == "length" and self._of_format):
            return unit
        for other in _RELATED[kind]:
            usual, known = getattr(self.convention.units, other), self.known(other)
            if usual and known and self._value(other, usual) != self._value(other, known):
                return None
        return unit

    def _derived(self, kind: str) -> str | None:
        """The unit that follows: e_unit/r_unit; lengths from eV/Å, eV, or bonds."""
        energy, length = self.stated.energy, self.stated.length
        if kind in ("force", "stress") and energy and length:
            return f"{energy}/{length}" + ("^3" if kind == "stress" else "")
        force = self.known("force")
        # forces per Bohr often come with positions in Å, those per Å hardly with others
        if kind != "length":
            return None
        if force:
            follows = units.length_in_force(force) == 1.0
        else:
            energy = self.known("energy")
            follows = bool(energy) and self._value("energy", energy) == 1.0
        if follows or self._bonds_tell:
            return "Angstrom"
        return None

    def _assumption(self, kinds: Iterable[str]) -> str:
        """Which units are taken for these quantities, and why."""
        parts, reasons = [], set()
        for kind in kinds:
            unit = self._conventional(kind)
            reasons.add(f"as {self.convention.name} is published" if unit else self._reason(kind))
            parts.append(f"its {QUANTITIES[kind]} are taken in {unit or self._derived(kind)}")
        return f"{', '.join(parts)}, {' and '.join(sorted(reasons))}"

    def _reason(self, kind: str) -> str:
        if kind != "length":
            return "as follows from its e_unit and r_unit"
        if self._bonds_tell:
            return "in which its nearest neighbors are a bond length apart"
        return f"as follows from its unit of {'forces' if self.known('force') else 'energies'}"


def check_effect(where: str, user_units: Units, used: Container[str]) -> None:
    """Refuse units that the user gives for labels that no file has.

    Args:
        where: names of the files.
        user_units: as the user says.
        used: kinds of units that were applied, as `FileUnits.used` of all files.

    Raises:
        InputError: names the unit without effect.
    """
    for kind in ("energy", "force", "stress"):
        if getattr(user_units, kind) and kind not in used:
            key = f"{_FIELDS[kind]}_key"
            raise InputError(
                f"{where}: {kind}_unit is given, but there are no {QUANTITIES[kind]}; name "
                f"them with {key} (--{key.replace('_', '-')}), or leave {_option(kind)} out"
            )


def _option(kind: str) -> str:
    return f"{kind}_unit (--{kind}-unit)"

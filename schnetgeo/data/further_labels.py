"""Labels beside energy, forces and stress: which values of a file a target has, in what unit."""

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from schnetgeo.data.names import check_name
from schnetgeo.data.structure import LABELS, Structure, is_per_atom
from schnetgeo.errors import InputError
from schnetgeo.targets import TARGETS, Target
from schnetgeo.units import conversion

_KNOWN = {target.name: target for target in TARGETS}
_WORDS = {(): "one number", (3,): "three numbers", (3, 3): "nine numbers"}
LABEL_SHAPES = {(): (), (1,): (), (3,): (3,), (3, 3): (3, 3)}  # of values, and of their target


@dataclass(frozen=True)
class Label:
    """Where a file has the values of a target; in the shell `name`, `name=key`, `name=key:unit`.

    Args:
        target: what they are values of, or its name: that of a known target, or of one of your own,
            which then has the shape and unit of these values.
        key: what the file calls them; `None` is the name of the target. A minus before it takes
            the negative.
        unit: their unit, needed where the file does not state it.
        per: what has a value each, where neither the target nor the file tells: "structure" or
            "atom", in the shell `name/atom=key:unit`.

    Raises:
        InputError: for a name that no field can have, and for energy, forces and stress, which
            have options of their own.
    """

    target: Target | str
    key: str | None = None
    unit: str | None = None
    per: Literal["structure", "atom"] | None = None

    def __post_init__(self):
        check_name(self.name, "label")
        if self.per not in (None, "structure", "atom"):
            raise InputError(
                f"label {self.name!r}: per must be structure or atom, got {self.per!r:.30}"
            )
        if self.name in LABELS:
            raise InputError(
                f"label {self.name!r}: the {self.name} has a name of its own; give {self.name}_key "
                f"(--{self.name}-key)"
            )

    @property
    def name(self) -> str:
        """Name of the target, and of the attribute of the structures."""
        return self.target if isinstance(self.target, str) else self.target.name

    @classmethod
    def parse(cls, text: str) -> "Label":
        """The label that is written as name, name=key, name:unit, name=key:unit, name/atom=key …"""
        left, colon, unit = text.rpartition(":")
        name, _, key = (left if colon else text).partition("=")
        name, slash, per = name.partition("/")
        return cls(
            name, key or None, unit.strip() or None if colon else None, per if slash else None
        )


def label_readers(labels: Iterable[Label | str]) -> "tuple[LabelReader, ...]":
    """A reader for each label, of which some may be written as text.

    Raises:
        InputError: for a name that is there twice, and as `Label`.
    """
    parsed = tuple(Label.parse(label) if isinstance(label, str) else label for label in labels)
    names = [label.name for label in parsed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"labels: {twice!r} is there twice; give each target one column")
    return tuple(map(LabelReader, parsed))


class LabelReader:
    """The values of one label of a file, in the unit of its target.

    Args:
        label: where they are.

    Attributes:
        target: what they are values of; of an unknown name once there was a value.
    """

    def __init__(self, label: Label):
        self.label = label
        key = label.key or label.name
        self.key, self.sign = key.removeprefix("-"), -1.0 if key.startswith("-") else 1.0
        known = label.target if isinstance(label.target, Target) else _KNOWN.get(label.name)
        self.target: Target | None = known
        self._factors: dict[tuple[str | None, str | None], float] = {}

    @property
    def unit_names(self) -> tuple[str, ...]:
        """Entries of a file that would state the unit."""
        return tuple(
            f"{name}_{word}" for name in (self.key, self.label.name) for word in ("unit", "units")
        )

    def read(
        self,
        values: object,
        rows: int,
        per: Literal["structure", "atom"],
        stated: str | None = None,
        convention: str | None = None,
    ) -> np.ndarray:
        """Values (rows, …) of the target's shape in its unit.

        Args:
            values: as the file has them.
            rows: structures or atoms.
            per: which of them.
            stated: unit that the file states.
            convention: unit that its format gives to values of this name.

        Raises:
            InputError: for other shapes, what is no number, and a unit that is unknown, of another
                dimension, or not the one that is stated.
        """
        array = self._numbers(values)
        if self.target is None:
            unit = self._unit(stated, convention)
            self.target = Target(self.label.name, unit, per, self._shape_of(array, rows, per))
        shape = self.target.shape
        right = {(rows, *shape), (rows, math.prod(shape))}
        right |= {shape, (math.prod(shape),)} if rows == 1 else set()
        if array.shape not in right or per != self.target.per:
            what = "for each atom" if self.target.per == "atom" else "for the structure"
            raise InputError(
                f"{self.title} must be {_WORDS[shape]} {what}, got shape {array.shape}; name "
                "another column, or define a target of this shape"
            )
        return self.sign * self._factor(stated, convention) * array.reshape(rows, *shape)

    @property
    def known_per(self) -> Literal["structure", "atom"] | None:
        """What has a value each by the target or the label."""
        return self.target.per if self.target else self.label.per

    def per(self, shape: tuple[int, ...], atoms: int) -> Literal["structure", "atom"]:
        """What has a value each, where the values of one structure have this shape.

        Raises:
            InputError: where the target is unknown and it could be both.
        """
        if self.known_per is not None:
            return self.known_per
        of_atoms = shape[:1] == (atoms,) and shape[1:] in LABEL_SHAPES
        of_structure = shape in LABEL_SHAPES or (shape[:1] == (1,) and shape[1:] in LABEL_SHAPES)
        if of_atoms and of_structure:
            raise InputError(
                f"{self.title} of shape {shape} may have a value for each atom or for the "
                f"structure; say which as {self.label.name}/atom or {self.label.name}/structure"
            )
        return "atom" if of_atoms else "structure"

    @property
    def title(self) -> str:
        """What messages call the label."""
        named = f" ({self.key!r})" if self.key != self.label.name else ""
        return f"{self.label.name}{named}"

    def _numbers(self, values: object) -> np.ndarray:
        try:
            array = np.asarray(values)
        except ValueError:  # lists of different lengths
            array = np.empty(0, object)
        if array.dtype.kind not in "fiu":
            raise InputError(f"{self.title} {values!r:.50} is no number; correct it")
        return array.astype(np.float64)

    def _shape_of(self, array: np.ndarray, rows: int, per: str) -> tuple[int, ...]:
        single = rows == 1 and array.shape[:1] != (1,)
        tail = array.shape if single else array.shape[1:]
        if tail not in LABEL_SHAPES:
            raise InputError(
                f"{self.title} has shape {tail} for each {per}; a target is a number, a vector of "
                "3, or a tensor of 3 × 3"
            )
        return LABEL_SHAPES[tail]

    def _unit(self, stated: str | None, convention: str | None) -> str:
        unit = stated or self.label.unit or convention
        if unit is None:
            example = self.target.unit if self.target else "eV, or 1 of plain numbers"
            column = f"{self.label.name}={self.label.key}" if self.label.key else self.label.name
            raise InputError(
                f"{self.title} has no unit in the file; give it, such as {example}, as in "
                f"--labels '{column}:UNIT' (Label(…, unit=…) in Python)"
            )
        return unit

    def _factor(self, stated: str | None, convention: str | None) -> float:
        if (stated, convention) not in self._factors:
            unit, by_label = self._unit(stated, convention), self.label.unit
            try:
                contradicts = by_label and abs(conversion(by_label, unit) - 1) > 1e-6
                factor = conversion(unit, self.target.unit)
            except InputError as error:
                raise InputError(f"{self.title}: {error}") from None
            if contradicts:
                raise InputError(
                    f"{self.title} is in {unit!r} by its file, but in {by_label!r} by --labels; "
                    "leave the unit out there, or correct the file if it is wrong"
                )
            self._factors[stated, convention] = factor
        return self._factors[stated, convention]


def check_labels_exist(
    where: str, labels: Iterable[LabelReader], present: Container[str], names: Iterable[str]
) -> None:
    """Raise `InputError` where no structure has a label.

    Args:
        where: name of the file, or empty.
        labels: that are asked for.
        present: attributes of the structures.
        names: of all that the file has.
    """
    others = ", ".join(sorted(set(names) - set(LABELS))) or "no further columns"
    for label in labels:
        if label.label.name not in present:
            raise InputError(
                f"{where and where + ': '}has no {label.label.name} named {label.key!r}; it has "
                f"{others}; name one of these, as in --labels {label.label.name}=COLUMN:UNIT"
            )


def stored_labels(packed: Structure, units: Mapping[str, str]) -> Iterator[Target]:
    """Targets that packed structures have values of, known ones or with the shape of the values.

    Args:
        packed: the structures.
        units: of attributes by name.
    """
    atoms, structures = packed.z.numel(), len(packed.ptr) - 1
    for name, unit in units.items():
        values = packed.get(name)
        if not torch.is_tensor(values) or tuple(values.shape[1:]) not in _WORDS:
            continue
        per = "atom" if is_per_atom(name, values, atoms, structures) else "structure"
        stored = Target(name, unit, per, tuple(values.shape[1:]))
        known = _KNOWN.get(name, stored)
        same = (known.unit, known.per, known.shape) == (unit, per, stored.shape)
        yield known if same else stored


def targets_of(readers: Iterable[LabelReader]) -> tuple[Target, ...]:
    """What the labels are values of."""
    return tuple(reader.target for reader in readers if reader.target is not None)

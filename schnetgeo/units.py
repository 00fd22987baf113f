"""Units: eV and Å inside, everything else by name at the border (CODATA 2018)."""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from schnetgeo.errors import InputError

HARTREE = 27.211386245988  # eV
KCAL_MOL = 0.0433641042418  # eV
BOHR = 0.529177210903  # Å
GIGAPASCAL = 1 / 160.2176634  # eV/Å³
DEBYE = 0.20819433270935594  # e·Å; 1e-21 C m²/s over c and e, all exact

ENERGY = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": HARTREE,
    "mHartree": HARTREE / 1000,
    "Rydberg": HARTREE / 2,
    "mRydberg": HARTREE / 2000,
    "kcal/mol": KCAL_MOL,
    "cal/mol": KCAL_MOL / 1000,
    "kJ/mol": KCAL_MOL / 4.184,
    "J/mol": KCAL_MOL / 4184,
}
LENGTH = {"Angstrom": 1.0, "Bohr": BOHR, "nm": 10.0, "pm": 0.01}
PRESSURE = {
    "GPa": GIGAPASCAL,
    "MPa": GIGAPASCAL / 1e3,
    "Pa": GIGAPASCAL / 1e9,
    "kbar": GIGAPASCAL / 10,
    "bar": GIGAPASCAL / 1e4,
}
_KNOWN = {
    "energy": ", ".join(ENERGY),
    "length": ", ".join(LENGTH),
    "force": f"energy/length, such as eV/Angstrom or Hartree/Bohr, of {', '.join(ENERGY)} and "
    + ", ".join(LENGTH),
    "stress": f"{', '.join(PRESSURE)} and energy/length^3, such as eV/Angstrom^3",
}
CHARGE = {"e": 1.0}
DIPOLE = {"Debye": DEBYE, "ea0": BOHR}
TEMPERATURE = {"K": 1.0}
_ALL = (
    f"{', '.join((*ENERGY, *LENGTH, *PRESSURE, *CHARGE, *DIPOLE, *TEMPERATURE))}, and products and "
    "powers of these, such as e*Angstrom or Bohr^3"
)
_POWERS = {  # of energy, length, amount, charge and temperature
    "energy": (1, 0, 0, 0, 0), "length": (0, 1, 0, 0, 0), "force": (1, -1, 0, 0, 0),
    "stress": (1, -3, 0, 0, 0),
}  # fmt: skip
_ALIASES = {
    "hartree": ("hartrees", "ha", "eh", "e_h"),
    "mhartree": ("mha", "meh"),
    "rydberg": ("rydbergs", "ry"),
    "mrydberg": ("mry",),
    "angstrom": ("angstroms", "ang", "a", "å", "ångström", "ångstrom", "angström"),
    "bohr": ("bohrs", "a0", "a_0"),
    "mol": ("mole",),
    "debye": ("debyes", "d"),
    "e": ("|e|", "e0"),
    "k": ("kelvin",),
}
_WORD = re.compile(r"(e?a_?0|a\.u\.?|[^\W\d]+)\^?([+-]?\d)?", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(\.\d*)?(e[+-]?\d+)?", re.IGNORECASE)
_MEGA = re.compile(r"M(eV|Ha|Eh|Ry|hartree)", re.IGNORECASE)  # which no atom's energies are in


class _Quantity(NamedTuple):
    """A value in eV, Å, e and K, and its powers of energy, length, mole, charge and temperature."""

    value: float
    powers: tuple[int, int, int, int, int]


def energy(unit: str) -> float:
    """Value of one `unit` of energy in eV; `InputError` lists the known units.

    Small and capital letters are alike, except that MeV is not meV; `au` is Hartree; negative
    powers do for a slash, as in "kcal mol^-1".
    """
    return _value(unit, "energy")


def length(unit: str) -> float:
    """Value of one `unit` of length in Å; `InputError` lists the known units; `au` is Bohr."""
    return _value(unit, "length")


def force(unit: str) -> float:
    """Value of one `unit` of force, written energy/length as in "kcal/mol/Angstrom", in eV/Å."""
    return _value(unit, "force")


def stress(unit: str) -> float:
    """Value of one `unit` of stress, a pressure or energy/length^3 as in "eV/Å^3", in eV/Å³."""
    return _value(unit, "stress")


def conversion(unit: str, target: str) -> float:
    """Value of one `unit` in units of `target`, of any dimension: 0.2082 for Debye and e·Å.

    Two units with the same text have the value 1, whatever they are.

    Raises:
        InputError: for a unit that is not known, and for two of different dimensions.
    """
    if _plain(unit) == _plain(target):
        return 1.0
    reference = _quantity(target, (0, 0, 0, 0, 0))
    if reference is None:
        raise InputError(
            f"unknown unit {target[:50]!r}, to which {unit[:50]!r} cannot be converted"
        )
    quantity = _quantity(unit, reference.powers)
    if quantity is None:
        raise InputError(f"unknown unit {unit[:50]!r}; known: {_ALL}")
    if quantity.powers != reference.powers:
        raise InputError(
            f"{unit[:50]!r} cannot be converted to {target[:50]!r}: the dimensions differ"
        )
    return quantity.value / reference.value


def length_in_force(unit: str) -> float | None:
    """Value in Å of the length that a unit of force divides by; `None` in atomic units."""
    values = [
        _BASE[word].value
        for word, power in _words(_plain(unit))
        if power == -1 and word in _BASE and _BASE[word].powers == _POWERS["length"]
    ]
    return values[0] if values else None


def _base() -> dict[str, _Quantity]:
    """What stands between the slashes of a unit, in small letters."""
    kinds = (
        (LENGTH, (0, 1, 0, 0, 0)), (PRESSURE, (1, -3, 0, 0, 0)), (CHARGE, (0, 0, 0, 1, 0)),
        (DIPOLE, (0, 1, 0, 1, 0)), (TEMPERATURE, (0, 0, 0, 0, 1)),
    )  # fmt: skip
    names = {
        name.lower(): _Quantity(v, powers) for kind, powers in kinds for name, v in kind.items()
    }
    for name, value in ENERGY.items():
        word, slash, _ = name.lower().partition("/")
        names[word] = _Quantity(value, (1, 0, 1 if slash else 0, 0, 0))
    names["mol"] = _Quantity(1.0, (0, 0, 1, 0, 0))
    return names | {alias: names[name] for name, more in _ALIASES.items() for alias in more}


_BASE = _base()


def _value(unit: str, kind: str) -> float:
    quantity = _quantity(unit, _POWERS[kind])
    if quantity is None or quantity.powers != _POWERS[kind]:
        raise _unknown(unit, kind)
    return quantity.value


def _quantity(unit: str, expected: tuple[int, ...]) -> _Quantity | None:
    """A unit in eV, Å, e and K; atomic units are those of the expected powers."""
    text = _plain(unit)
    if _is_atomic(text.lower()):
        return _Quantity(HARTREE ** expected[0] * BOHR ** expected[1], expected)
    value, powers = 1.0, (0, 0, 0, 0, 0)
    for word, power in _words(text):
        name = ("hartree" if power > 0 else "bohr") if _is_atomic(word) else word
        quantity = _named(name)
        if quantity is None:
            return None
        value *= quantity.value**power
        powers = tuple(a + power * b for a, b in zip(powers, quantity.powers, strict=True))
    return _Quantity(value, powers)


def _plain(unit: str) -> str:
    """A unit without superscripts, other minus signs, and signs of multiplication."""
    text = unicodedata.normalize("NFKC", str(unit)).replace("**", "^")
    return text.translate(str.maketrans("\u2212\u00b7*", "-  ")).strip()


def _words(text: str) -> Iterator[tuple[str, int]]:
    """Words and their powers, ("bohr", -3) in Hartree/Bohr^3; a slash is for one word or group."""
    sign, group = 1, 1
    for token in re.findall(r"[()/]|[^()/\s]+", text):
        if token == "/":
            sign = -1
        elif token == "(":
            sign, group = 1, sign
        elif token == ")":
            sign, group = 1, 1
        else:
            match = _WORD.fullmatch(token)
            mega = token.startswith("M") and _MEGA.match(token)
            word, power = (token, 1) if mega or match is None else (match[1], int(match[2] or 1))
            yield (word if mega else word.lower()), sign * group * power
            sign = 1


def _named(word: str) -> _Quantity | None:
    """What a word stands for, a factor such as 27.2114 among them; `None` if it is not known."""
    if _NUMBER.fullmatch(word) and 0 < float(word) < float("inf"):
        return _Quantity(float(word), (0, 0, 0, 0, 0))
    return _BASE.get(word)


def _is_atomic(word: str) -> bool:
    return word.replace(".", "") == "au"


def _unknown(unit: str, kind: str) -> InputError:
    return InputError(f"unknown {kind} unit {str(unit)[:50]!r}; known: {_KNOWN[kind]}")

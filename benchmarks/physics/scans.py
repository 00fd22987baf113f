"""Energies along one bond: pulled apart, and turned about."""

import numpy as np
from ase import Atoms
from jaxtyping import Float
from scipy.signal import find_peaks

from benchmarks.physics.bonds import Bond
from benchmarks.physics.findings import Checked, Curve, Finding, finite, missing

_HOLE = 0.05  # eV: a minimum as deep as this is one
_RIPPLE = 1e-3  # eV, the same for the dihedral, whose barriers are low
_WELL = (0.8, 1.25)  # of the starting length: where the minimum of the bond should be
_SHORTEST = 0.6  # of the starting length


def dissociation(atoms: Atoms, bond: Bond | None, cutoff: float | None) -> Checked:
    """Pull the smaller side away along the bond, rigidly, from 0.6 of its length to the cutoff."""
    check = "dissociation"
    if bond is None:
        return missing(check, "every bond is part of a ring")
    start = atoms.get_distance(bond.fixed, bond.moved)
    axis = (atoms.positions[bond.moved] - atoms.positions[bond.fixed]) / start
    end = max(6.0, 0.5 + min(cutoff or 0.0, 12.0))
    x = np.arange(_SHORTEST * start, end, 0.02)
    energy = _energies(atoms, [_shifted(atoms, bond, (r - start) * axis) for r in x])
    name = _name(atoms, bond)
    done = f"{name} from {x[0]:.2f} to {x[-1]:.2f} Å, sides rigid"
    curve = Curve(f"{check} of {name}", x, energy - energy[np.abs(x - start).argmin()],
                  "length, Å", "energy, eV", start)  # fmt: skip
    if not np.isfinite(energy).all():
        broken = int((~np.isfinite(energy)).sum())
        return missing(check, f"{done}: {broken} of {len(x)} energies are not finite")
    well = (x > _WELL[0] * start) & (x < _WELL[1] * start)
    bottom = energy[well].min()
    minima, _ = find_peaks(-energy, prominence=_HOLE)
    others = minima[~well[minima]]
    outside = f"{done}; outside {_WELL[0]} to {_WELL[1]} of the starting length"
    return Checked(
        [
            Finding(check, "shift of the minimum", float(x[well][energy[well].argmin()] - start),
                    "Å", f"{done}; against the relaxed length of {start:.3f} Å"),
            Finding(check, "energy to break", float(energy[-1] - bottom), "eV", done),
            Finding(check, "depth below the bond's minimum", max(0.0, bottom - energy[~well].min()),
                    "eV", f"{outside}; 0 where nothing is lower"),
            Finding(check, "other minima", len(others), "",
                    f"{outside}, deeper than {_HOLE} eV"),
        ],
        curve,
    )  # fmt: skip


def dihedral(atoms: Atoms, bond: Bond | None, step: int = 10) -> Checked:
    """Turn the smaller side about the bond, rigidly, once around."""
    check = "dihedral"
    if bond is None or not bond.turns:
        return missing(check, "no bond outside rings has other neighbors at both ends")
    x = np.arange(0, 360 + step, step)
    energy = _energies(atoms, [_turned(atoms, bond, angle) for angle in x])
    name = _name(atoms, bond)
    done = f"about {name} in steps of {step}°, sides rigid"
    if not np.isfinite(energy).all():
        return missing(check, f"{done}: {int((~np.isfinite(energy)).sum())} energies not finite")
    circle = energy[:-1]
    around = np.tile(circle, 3)
    minima, _ = find_peaks(-around, prominence=_RIPPLE)
    number = int(((minima >= len(circle)) & (minima < 2 * len(circle))).sum())
    curve = Curve(f"turn about {name}", x, energy - circle.min(), "angle, °", "energy, eV")
    return Checked(
        [
            Finding(check, "minima", number, "", f"{done}; deeper than {_RIPPLE} eV"),
            Finding(check, "barrier", float(np.ptp(circle)), "eV", done),
            Finding(check, "change after a turn", finite(abs(energy[-1] - energy[0])), "eV", done),
        ],
        curve,
    )


def _energies(atoms: Atoms, places: list[np.ndarray]) -> Float[np.ndarray, "n"]:
    moved, energy = atoms.copy(), []
    moved.calc = atoms.calc
    for positions in places:
        moved.positions = positions
        energy.append(moved.get_potential_energy())
    return np.array(energy)


def _shifted(atoms: Atoms, bond: Bond, by: Float[np.ndarray, "3"]) -> Float[np.ndarray, "N 3"]:
    return atoms.positions + bond.side[:, None] * by


def _turned(atoms: Atoms, bond: Bond, angle: float) -> Float[np.ndarray, "N 3"]:
    part = atoms[bond.side]
    axis = atoms.positions[bond.moved] - atoms.positions[bond.fixed]
    part.rotate(angle, axis, center=atoms.positions[bond.moved])
    positions = atoms.positions.copy()
    positions[bond.side] = part.positions
    return positions


def _name(atoms: Atoms, bond: Bond) -> str:
    """Such as C0–O2."""
    return "–".join(f"{atoms.symbols[k]}{k}" for k in sorted((bond.fixed, bond.moved)))

"""What happens as atoms part: at the cutoff, and between two far copies."""

import numpy as np
from ase import Atom, Atoms
from jaxtyping import Float

from benchmarks.physics.findings import Checked, Curve, Finding, finite, missing

_GAP = 1e-6  # Å to either side of the cutoff
_FAR = 50.0  # Å between copies where a model has no cutoff


def cutoff_jump(atoms: Atoms, cutoff: float | None) -> Checked:
    """A probe crosses the cutoff around each atom: how far energy and force jump.

    The energies at cutoff ± 10⁻⁶ Å are less what the force on the probe explains, so a smooth
    model leaves rounding alone.
    """
    check = "cutoff"
    if cutoff is None:
        return missing(check, "the model has no cutoff")
    probes = sorted(set(atoms.symbols))
    jumps = np.array([_jumps(atoms, k, s, cutoff) for k in range(len(atoms)) for s in probes])
    largest = jumps.max(0)
    done = (
        f"{', '.join(probes)} at {cutoff:g} ± {_GAP:.0e} Å from each of {len(atoms)} atoms, float64"
    )
    return Checked(
        [
            Finding(check, "jump of the energy", finite(largest[0]), "eV", done),
            Finding(check, "jump of the force", finite(largest[1]), "eV/Å", done),
        ],
        _curve(atoms, cutoff),
    )


def extensivity(atoms: Atoms, cutoff: float | None) -> Checked:
    """E(two far copies) − 2 E(one)."""
    away = (_FAR if cutoff is None else 1.0 + cutoff) + np.ptp(atoms.positions[:, 0])
    copy = atoms.copy()
    copy.translate((away, 0.0, 0.0))
    both = atoms.copy() + copy
    both.calc = atoms.calc
    difference = both.get_potential_energy() - 2 * atoms.get_potential_energy()
    done = f"two copies {away:.1f} Å apart less twice one, float64"
    return Checked([Finding("extensivity", "difference", finite(abs(difference)), "eV", done)])


def _jumps(atoms: Atoms, center: int, symbol: str, cutoff: float) -> tuple[float, float]:
    (inner, pull), (outer, push) = (
        _probed(atoms, center, symbol, cutoff + gap) for gap in (-_GAP, _GAP)
    )
    explained = -(pull + push) * _GAP
    return abs(outer - inner - explained), abs(push - pull)


def _curve(atoms: Atoms, cutoff: float) -> Curve:
    """Of a probe like the outermost atom, around it."""
    away = np.linalg.norm(atoms.positions - atoms.positions.mean(0), axis=1)
    center = int(away.argmax())
    symbol = atoms.symbols[center]
    x = np.linspace(cutoff - min(1.0, cutoff / 4), cutoff + 0.25, 251)
    energy = np.array([_probed(atoms, center, symbol, r)[0] for r in x])
    title = f"{symbol} leaves {symbol}{center}"
    y = 1000 * (energy - energy[-1])
    return Curve(title, x, y, "distance, Å", "energy, meV", cutoff)


def _probed(atoms: Atoms, center: int, symbol: str, distance: float) -> tuple[float, float]:
    """Energy, and force on an atom put at the distance from another, pointing away from it."""
    outward = _outward(atoms, center)
    both = atoms.copy()
    both.append(Atom(symbol, atoms.positions[center] + distance * outward))
    both.calc = atoms.calc
    return both.get_potential_energy(), float(both.get_forces()[-1] @ outward)


def _outward(atoms: Atoms, center: int) -> Float[np.ndarray, "3"]:
    """Unit vector from the middle of the structure through the atom."""
    vector = atoms.positions[center] - atoms.positions.mean(0)
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-3 else np.array([0.36, 0.48, 0.8])

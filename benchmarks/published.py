"""Numbers of the papers, each with unit, split and source."""

from typing import NamedTuple


class Published(NamedTuple):
    """One number of a paper."""

    value: float
    quantity: str  # the name of the column in results.json
    unit: str
    split: str
    source: str


_SCHNET = "Schütt et al., NeurIPS 2017, arXiv:1706.08566"
_GDML = "Chmiela et al., Sci. Adv. 3, e1603015 (2017), as quoted in arXiv:1706.08566"

# kcal/mol and kcal/mol/Å at 1,000 training frames:
# molecule: SchNet energy and forces, SchNet on energies alone, GDML; energy and force each
_MD17_1000 = {
    "benzene": ((0.08, 0.31), (1.19, 14.12), (0.07, 0.23)),
    "toluene": ((0.12, 0.57), (2.95, 22.31), (0.12, 0.24)),
    "malonaldehyde": ((0.13, 0.66), (2.03, 20.41), (0.16, 0.80)),
    "salicylic_acid": ((0.20, 0.85), (3.27, 23.21), (0.12, 0.28)),
    "aspirin": ((0.37, 1.35), (4.20, 23.54), (0.27, 0.99)),
    "ethanol": ((0.08, 0.39), (0.93, 6.56), (0.15, 0.79)),
    "uracil": ((0.14, 0.56), (2.26, 20.08), (0.11, 0.24)),
    "naphthalene": ((0.16, 0.58), (3.58, 25.36), (0.12, 0.23)),
}
_MD17_SPLIT = "1,000 training frames, {labels}; all other frames test"


def md17(molecule: str, task: str) -> list[Published]:
    """Mean absolute errors on MD17 with 1,000 training frames; none for other molecules."""
    if molecule not in _MD17_1000:
        return []
    both, energy_only, gdml = _MD17_1000[molecule]
    schnet = energy_only if task == "energy" else both
    labels = "energies" if task == "energy" else "energies and forces"
    return [
        *_pair(schnet, "SchNet", labels, _SCHNET),
        *_pair(gdml, "GDML", "forces", _GDML),
    ]


def _pair(values: tuple[float, float], model: str, labels: str, source: str) -> list[Published]:
    split = f"{model}, {_MD17_SPLIT.format(labels=labels)}"
    energy, force = values
    return [
        Published(energy, "energy_mae_kcal_mol", "kcal/mol", split, source),
        Published(force, "force_mae_kcal_mol_A", "kcal/mol/Å", split, source),
    ]

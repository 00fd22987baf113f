"""Numbers of the papers, each with unit, split, source and how sure it is."""

from typing import NamedTuple

READ = "read in its source"
CORROBORATED = "from memory, repeated alike in later papers"
MEMORY = "from memory"
DOUBTFUL = "from memory, to be checked against the paper"
CONFIDENCE = (READ, CORROBORATED, MEMORY, DOUBTFUL)


class Published(NamedTuple):
    """One number of a paper, as it is printed there."""

    dataset: str
    subject: str  # molecule, target or fold
    model: str
    value: float
    unit: str
    quantity: str  # the column of results.json that it stands beside
    num_train: int | None
    split: str
    source: str
    confidence: str

    def as_row(self) -> dict:
        """What results.json says of it."""
        row = self._asdict()
        for name in ("dataset", "subject", "model"):
            del row[name]
        return {**row, "split": f"{self.model}, {self.split}"}


ENERGY, FORCE, OTHER = "energy_mae_kcal_mol", "force_mae_kcal_mol_A", "mae"
KCAL, KCAL_A = "kcal/mol", "kcal/mol/Å"
_SCHNET = "Schütt et al., NeurIPS 2017, arXiv:1706.08566"
_JCP = "Schütt et al., J. Chem. Phys. 148, 241722 (2018)"
_REPORT = "the milestone report, table 5"
_KGCNN = "gcnn_keras, training/results/README.md"

# kcal/mol: model, training molecules, value, source
_QM9_U0 = [
    ("SchNet", 50_000, 0.59, _SCHNET),
    ("SchNet", 100_000, 0.34, _SCHNET),
    ("SchNet", 110_462, 0.31, _SCHNET),
    ("DTNN", 50_000, 0.94, f"Schütt et al., Nat. Commun. 8, 13890 (2017), as quoted in {_SCHNET}"),
    ("DTNN", 100_000, 0.84, f"Schütt et al., Nat. Commun. 8, 13890 (2017), as quoted in {_SCHNET}"),
    ("enn-s2s", 110_462, 0.45, f"Gilmer et al., ICML 2017, as quoted in {_SCHNET}"),
    ("enn-s2s-ens5", 110_462, 0.33, f"Gilmer et al., ICML 2017, as quoted in {_SCHNET}"),
]
# the columns of _QM9_TARGETS: model, training molecules, source, confidence
_QM9_MODELS = [
    ("SchNet", 110_000, f"{_JCP}, as quoted in the DimeNet paper, arXiv:2003.03123", MEMORY),
    ("enn-s2s", 110_000, "Gilmer et al., ICML 2017, as quoted in arXiv:2003.03123", MEMORY),
    ("SchNetPack 1", 100_000, "documentation of SchNetPack 1", READ),
    ("SchNet of kgcnn", None, _KGCNN, READ),
]
_QM9_TARGETS = {
    "mu": ("Debye", 0.033, 0.030, 0.021, None),
    "alpha": ("Bohr^3", 0.235, 0.092, 0.124, None),
    "homo": ("meV", 41, 43, 47, 40.2),
    "lumo": ("meV", 34, 37, 39, 34.0),
    "gap": ("meV", 63, 69, 74, None),
    "r2": ("Bohr^2", 0.073, 0.180, 0.158, None),
    "zpve": ("meV", 1.70, 1.5, 1.616, None),
    "U0": ("meV", 14, 19, 12, 14.2),
    "U": ("meV", 19, 19, 12, None),
    "H": ("meV", 14, 17, 12, 14.6),
    "G": ("meV", 14, 19, 13, 14.3),
    "Cv": ("cal/mol/K", 0.033, 0.040, 0.034, None),
}
# the columns of _MD17: model, labels, training frames, source, tasks it is compared with
_GDML = f"Chmiela et al., Sci. Adv. 3, e1603015 (2017), as quoted in {_SCHNET}"
_DTNN = f"Schütt et al., Nat. Commun. 8, 13890 (2017), as quoted in {_SCHNET}"
_E, _EF = "energies", "energies and forces"
_MD17_COLUMNS = [
    ("GDML", "forces", 1_000, _GDML),
    ("SchNet", _E, 1_000, _SCHNET),
    ("SchNet", _EF, 1_000, _SCHNET),
    ("DTNN", _E, 50_000, _DTNN),
    ("SchNet", _E, 50_000, _SCHNET),
    ("SchNet", _EF, 50_000, _SCHNET),
]
# kcal/mol, then kcal/mol/Å
_MD17 = {
    "benzene": ((0.07, 1.19, 0.08, 0.04, 0.08, 0.07), (0.23, 14.12, 0.31, None, 1.23, 0.17)),
    "toluene": ((0.12, 2.95, 0.12, 0.18, 0.16, 0.09), (0.24, 22.31, 0.57, None, 1.79, 0.09)),
    "malonaldehyde": ((0.16, 2.03, 0.13, 0.19, 0.13, 0.08), (0.80, 20.41, 0.66, None, 1.51, 0.08)),
    "salicylic_acid": ((0.12, 3.27, 0.20, 0.41, 0.25, 0.10), (0.28, 23.21, 0.85, None, 3.72, 0.19)),
    "aspirin": ((0.27, 4.20, 0.37, None, 0.25, 0.12), (0.99, 23.54, 1.35, None, 7.36, 0.33)),
    "ethanol": ((0.15, 0.93, 0.08, None, 0.07, 0.05), (0.79, 6.56, 0.39, None, 0.76, 0.05)),
    "uracil": ((0.11, 2.26, 0.14, None, 0.13, 0.10), (0.24, 20.08, 0.56, None, 3.28, 0.11)),
    "naphthalene": ((0.12, 3.58, 0.16, None, 0.20, 0.11), (0.23, 25.36, 0.58, None, 2.58, 0.11)),
}
_TO_CHECK = ("toluene", "malonaldehyde", "ethanol")  # their forces of the last column
# kcal/mol/Å
_RMD17 = {
    "aspirin": 1.0389,
    "toluene": 0.5482,
    "malonaldehyde": 0.6727,
    "benzene": 0.2525,
    "ethanol": 0.4471,
}
# mean predictor, SchNet on energies, SchNet on both: kcal/mol, then kcal/mol/Å
_ISO17 = {
    "test_within": ((14.89, 0.52, 0.36), (19.56, 4.13, 1.00)),
    "test_other": ((15.54, 3.11, 2.40), (19.15, 5.71, 2.18)),
}
_ISO17_MODELS = [("mean predictor", None), ("SchNet", _E), ("SchNet", _EF)]
# losses of models for energies, for forces, for both
_TABLE_5 = {
    ("MD17", "aspirin"): (2709.31, 19.53, 25767678),
    ("MD17", "azobenzene"): (155617.57, 21.74, 299110688),
    ("MD17", "benzene"): (126340.88, 10.94, 499045536),
    ("MD17", "ethanol"): (25041.22, 18.02, 58639376),
    ("MD17", "malonaldehyde"): (41752.62, 19.90, 45739288),
    ("MD17", "naphthalene"): (76627.39, 19.52, 77312560),
    ("MD17", "paracetamol"): (144221.46, 20.02, 1221430656),
    ("MD17", "salicylic_acid"): (39732.83, 20.26, 43561572),
    ("MD17", "toluene"): (79319.87, 19.52, 89748176),
    ("MD17", "uracil"): (76933.86, 20.05, 114911304),
    ("ISO17", "reference"): (129.48, 0.82, 28243.96),
}


def qm9(target: str) -> list[Published]:
    """Errors on a target of QM9, such as "U0"; of that one by training size too."""
    found = []
    if target == "U0":
        found = [
            Published("QM9", "U0", model, value, KCAL, ENERGY, number,
                      _on(number, "molecules"), source, CORROBORATED)
            for model, number, value, source in _QM9_U0
        ]  # fmt: skip
    unit, *values = _QM9_TARGETS.get(target, ("",))
    quantity = ENERGY if unit == "meV" else OTHER
    for (model, number, source, confidence), value in zip(_QM9_MODELS, values, strict=False):
        if value is not None:
            split = f"{_on(number, 'molecules')}; table of all targets"
            row = "QM9", target, model, value, unit, quantity, number, split, source, confidence
            found.append(Published(*row))
    return found


def md17(molecule: str, task: str = "", num_train: int | None = None) -> list[Published]:
    """Errors on MD17; none for molecules without.

    Args:
        molecule: such as "ethanol".
        task: give those of SchNet for this task, and of GDML and DTNN, alone.
        num_train: give those of models trained on the nearest number of frames alone.
    """
    found = []
    for quantity, unit, values in zip(
        (ENERGY, FORCE), (KCAL, KCAL_A), _MD17.get(molecule, ()), strict=False
    ):
        for (model, labels, number, source), value in zip(_MD17_COLUMNS, values, strict=True):
            if value is None or (task and model == "SchNet" and labels != _labels(task)):
                continue
            split = f"{_on(number, 'frames')}, {labels}; all other frames test"
            doubtful = quantity == FORCE and number == 50_000 and labels == _EF
            confidence = DOUBTFUL if doubtful and molecule in _TO_CHECK else CORROBORATED
            found.append(Published("MD17", molecule, model, value, unit, quantity, number, split,
                                   source, confidence))  # fmt: skip
    found.sort(key=lambda n: (n.num_train, n.model != "SchNet", n.model))
    return found if num_train is None else _nearest(found, num_train)


def rmd17(molecule: str, task: str = "") -> list[Published]:
    """Errors of forces on revised MD17; none for a model of energies alone."""
    if molecule not in _RMD17 or task == "energy":
        return []
    split = f"{_on(1_000, 'frames')}, {_EF}"
    return [Published("RevisedMD17", molecule, "SchNet of kgcnn", _RMD17[molecule], KCAL_A, FORCE,
                      1_000, split, _KGCNN, READ)]  # fmt: skip


def iso17(fold: str, task: str = "") -> list[Published]:
    """Errors on a fold of ISO17 in kcal/mol and kcal/mol/Å, by SchNet for one task or all."""
    found = []
    for quantity, unit, values in zip(
        (ENERGY, FORCE), (KCAL, KCAL_A), _ISO17.get(fold, ()), strict=False
    ):
        for (model, labels), value in zip(_ISO17_MODELS, values, strict=True):
            if not task or labels in (None, _labels(task)):
                split = f"{_on(400_000, 'structures')} of fold reference, {labels or 'energies'}"
                found.append(Published("ISO17", fold, model, value, unit, quantity, 400_000,
                                       f"{split}; {fold}", _SCHNET, MEMORY))  # fmt: skip
    if fold == "test_within" and _labels(task) == _EF:
        split = "training structures not stated, energies and forces; test_within"
        for value, quantity, unit in ((0.14, ENERGY, KCAL), (0.31, FORCE, KCAL_A)):
            found.append(Published("ISO17", fold, "SchNet of kgcnn", value, unit, quantity, None,
                                   split, _KGCNN, READ))  # fmt: skip
    return found


def milestone() -> list[Published]:
    """Table 5 of the milestone report: what its baseline lost, which is no target.

    The report prints no units. They are here those of the files as its data loader gives them:
    Hartree for QM9, kcal/mol for MD17, eV for ISO17, where the report says kcal/mol.
    """
    split = "10,000 training and 100 test structures, one epoch, without normalization"
    found = [Published("QM9", "U0", "baseline", 5.64, "Hartree", "energy loss", 10_000, split,
                       _REPORT, READ)]  # fmt: skip
    for (dataset, subject), values in _TABLE_5.items():
        energy = "eV" if dataset == "ISO17" else KCAL
        units = energy, f"{energy}/Å", f"({energy})² + ({energy}/Å)²"
        names = "energy loss", "force loss", "energy and force loss"
        for name, unit, value in zip(names, units, values, strict=True):
            found.append(Published(dataset, subject, "baseline", value, unit, name, 10_000, split,
                                   _REPORT, READ))  # fmt: skip
    return found


def everything() -> list[Published]:
    """All numbers of this file."""
    by_subject = [
        *(n for target in _QM9_TARGETS for n in qm9(target)),
        *(n for molecule in _MD17 for n in md17(molecule)),
        *(n for molecule in _RMD17 for n in rmd17(molecule)),
        *(n for fold in _ISO17 for n in iso17(fold)),
    ]
    return by_subject + milestone()


def _labels(task: str) -> str:
    return _E if task == "energy" else _EF


def _on(number: int | None, what: str) -> str:
    return f"{number:,} training {what}" if number else f"training {what} not stated"


def _nearest(found: list[Published], num_train: int) -> list[Published]:
    """Those trained on the number that differs by the smallest factor; all that state none."""
    sizes = {n.num_train for n in found if n.num_train}
    nearest = min(sizes, key=lambda s: max(s, num_train) / min(s, num_train), default=None)
    return [n for n in found if n.num_train in (nearest, None)]

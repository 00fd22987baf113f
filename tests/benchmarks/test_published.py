"""Numbers of the papers carry what a reader needs to judge them."""

import math

import pytest

from benchmarks.literature import (
    COLUMNS,
    MARKS,
    beside,
    iso17,
    literature,
    md17,
    milestone,
    qm9,
    rmd17,
)
from schnetgeo.datasets.iso17 import FOLDS
from schnetgeo.datasets.md17 import MOLECULES
from schnetgeo.datasets.qm9 import TARGETS
from schnetgeo.datasets.rmd17 import MOLECULES as REVISED

SUBJECTS = {
    "QM9": set(TARGETS),
    "MD17": set(MOLECULES),
    "RevisedMD17": set(REVISED),
    "ISO17": set(FOLDS),
}
UNITS = {
    "energy": {"kcal/mol", "meV"},
    "forces": {"kcal/mol/Å", "meV/Å"},
    "property": {"Debye", "Bohr³", "Bohr²", "cal/(mol K)"},
    "energy loss": {"Hartree", "kcal/mol", "eV"},
    "force loss": {"kcal/mol/Å", "eV/Å"},
    "energy and force loss": {"(kcal/mol)² + (kcal/mol/Å)²", "(eV)² + (eV/Å)²"},
}
LABELS = ("", "energies", "forces", "energies and forces")
BY_HAND = [  # copied from the papers or what quotes them, one by one
    ("QM9", "U0", "SchNet", "energy", 0.31, "kcal/mol", "repeated"),
    ("QM9", "mu", "PaiNN", "property", 0.012, "Debye", "repeated"),
    ("QM9", "r2", "ViSNet", "property", 0.0298, "Bohr²", "repeated"),
    ("QM9", "gap", "EquiformerV2", "energy", 29, "meV", "quoted"),
    ("QM9", "Cv", "DimeNet++", "property", 0.023, "cal/(mol K)", "repeated"),
    ("QM9", "G", "Allegro", "energy", 5.7, "meV", "quoted"),
    ("MD17", "aspirin", "SchNet", "forces", 1.35, "kcal/mol/Å", "repeated"),
    ("MD17", "aspirin", "PaiNN", "forces", 0.371, "kcal/mol/Å", "read"),
    ("MD17", "aspirin", "PaiNN", "forces", 0.338, "kcal/mol/Å", "quoted"),
    ("MD17", "uracil", "QuinNet", "forces", 0.062, "kcal/mol/Å", "quoted"),
    ("MD17", "toluene", "sGDML", "energy", 0.10, "kcal/mol", "memory"),
    ("MD17", "ethanol_ccsd_t", "PaiNN of kgcnn", "forces", 0.5805, "kcal/mol/Å", "read"),
    ("RevisedMD17", "aspirin", "MACE", "forces", 6.6, "meV/Å", "read"),
    ("RevisedMD17", "azobenzene", "Allegro", "forces", 2.6, "meV/Å", "read"),
    ("RevisedMD17", "naphthalene", "NequIP", "energy", 0.9, "meV", "read"),
    ("RevisedMD17", "uracil", "ANI", "forces", 21.4, "meV/Å", "read"),
    ("RevisedMD17", "toluene", "TensorNet", "forces", 1.7, "meV/Å", "doubtful"),
    ("ISO17", "test_other", "SchNet", "forces", 2.18, "kcal/mol/Å", "memory"),
]


@pytest.mark.parametrize("n", literature(), ids=lambda n: f"{n.subject}-{n.model}-{n.value}")
def test_every_line_can_be_judged(n):
    assert n.value > 0
    assert math.isfinite(n.value)
    assert n.unit in UNITS[n.quantity]
    assert n.subject in SUBJECTS[n.dataset]
    assert n.labels in LABELS
    assert n.mark in MARKS
    assert "training" in n.split
    assert n.num_train is None or f"{n.num_train:,} training" in n.split
    assert len(n.source) > 10
    assert n.model.strip() == n.model != ""


def test_nothing_is_there_twice():
    keys = [n._replace(value=0.0, unit="", mark="", num_train=None) for n in literature()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("line", BY_HAND, ids=lambda n: "-".join(map(str, n[:4])))
def test_a_sample_by_hand(line):
    lines = {
        (n.dataset, n.subject, n.model, n.quantity, n.value, n.unit, n.mark) for n in literature()
    }
    assert line in lines


def test_each_target_of_the_papers_has_the_columns_of_the_papers():
    for target in ("mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv"):
        models = {n.model for n in qm9(target)}
        assert {"SchNet", "PaiNN", "DimeNet++", "ViSNet", "EquiformerV2"} <= models
        assert len({COLUMNS[n.quantity] for n in qm9(target)}) == 1
    for molecule in REVISED:
        assert {"MACE", "Allegro", "NequIP"} <= {n.model for n in rmd17(molecule)}


@pytest.mark.parametrize("task", ["energy", "forces", "energy_and_forces"])
@pytest.mark.parametrize("molecule", ["ethanol", "uracil"])
def test_md17_at_one_size_for_one_task(molecule, task):
    numbers = md17(molecule, task, 950)
    assert [n.model for n in numbers][:4] == ["SchNet", "SchNet", "GDML", "GDML"]
    assert {n.num_train for n in numbers} == {1000}


def test_ethanol_of_the_paper():
    def values(*arguments):
        return [n.value for n in md17("ethanol", *arguments) if n.model in ("SchNet", "GDML")]

    assert values("energy_and_forces", 950) == [0.08, 0.39, 0.15, 0.79]
    assert values("energy", 950)[:2] == [0.93, 6.56]
    assert values("forces", 40_000) == [0.05, 0.05]
    assert [n.value for n in md17("benzene", "energy", 50_000)] == [0.08, 1.23, 0.04]


def test_iso17_of_the_paper():
    def values(*arguments):
        return sorted(n.value for n in iso17(*arguments))

    assert values("test_within", "energy_and_forces") == [0.14, 0.31, 0.36, 1.00, 14.89, 19.56]
    assert values("test_other", "energy") == [3.11, 5.71, 15.54, 19.15]
    assert values("test_eq", "energy") == []


def test_revised_md17_at_one_size():
    assert {n.num_train for n in rmd17("aspirin", "forces", 60)} == {50}
    assert {n.num_train for n in rmd17("aspirin", "forces", 950)} == {1000}
    assert rmd17("aspirin", "energy") == rmd17("water", "forces") == []


def test_schnet_painn_and_the_best_stand_beside_ours():
    shown = beside([n.as_row() for n in qm9("mu")])
    assert [(n["model"], n["value"]) for n in shown] == [
        ("SchNet", 0.033), ("SchNetPack 1", 0.021), ("PaiNN", 0.012), ("ViSNet", 0.0095),
    ]  # fmt: skip
    best = beside([n.as_row() for n in rmd17("uracil", "", 1000)])
    assert {n["model"] for n in best} == {"ViSNet", "Allegro"}  # 0.0069 kcal/mol, 1.8 meV/Å
    assert beside([]) == []


def test_table_5():
    numbers = {(n.dataset, n.subject, n.quantity): n for n in milestone()}
    assert len(numbers) == 1 + 11 * 3
    assert numbers["MD17", "aspirin", "energy loss"].value == 2709.31
    assert numbers["QM9", "U0", "energy loss"].unit == "Hartree"
    assert numbers["ISO17", "reference", "force loss"].value == 0.82
    assert numbers["ISO17", "reference", "force loss"].unit == "eV/Å"
    assert not {n.quantity for n in qm9("U0") + md17("aspirin")} - set(COLUMNS)


def test_molecules_without_published_numbers_have_none():
    assert md17("ethanol (GFN2-xTB)", "energy") == qm9("A") == []

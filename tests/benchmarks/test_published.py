"""Numbers of the papers carry what a reader needs to judge them."""

import pytest

from benchmarks.published import CONFIDENCE, everything, iso17, md17, milestone, qm9, rmd17

MOLECULES = (
    "benzene", "toluene", "malonaldehyde", "salicylic_acid", "aspirin", "ethanol", "uracil",
    "naphthalene",
)  # fmt: skip
UNITS = {
    "energy_mae_kcal_mol": {"kcal/mol", "meV"},
    "force_mae_kcal_mol_A": {"kcal/mol/Å"},
    "mae": {"Debye", "Bohr^3", "Bohr^2", "cal/mol/K"},
    "energy loss": {"Hartree", "kcal/mol", "eV"},
    "force loss": {"kcal/mol/Å", "eV/Å"},
    "energy and force loss": {"(kcal/mol)² + (kcal/mol/Å)²", "(eV)² + (eV/Å)²"},
}
SOURCES = ("arXiv:", "Sci. Adv.", "ICML 2017", "SchNetPack 1", "gcnn_keras", "milestone report")


@pytest.mark.parametrize("number", everything(), ids=lambda n: f"{n.subject}-{n.model}-{n.value}")
def test_every_number_has_unit_split_source_and_confidence(number):
    assert number.value > 0
    assert number.unit in UNITS[number.quantity]
    assert "training" in number.split
    assert any(source in number.source for source in SOURCES)
    assert number.confidence in CONFIDENCE
    assert number.num_train is None or f"{number.num_train:,}" in number.split
    row = number.as_row()
    assert set(row) == {
            "value", "quantity", "unit", "split", "source", "confidence", "num_train",
        }  # fmt: skip
    assert row["split"].startswith(number.model)


def test_nothing_is_there_twice():
    keys = [(n.dataset, n.subject, n.quantity, n.split, n.model, n.source) for n in everything()]
    assert len(set(keys)) == len(keys) == 7 + 41 + 84 + 5 + 14 + 34


@pytest.mark.parametrize("task", ["energy", "forces", "energy_and_forces"])
@pytest.mark.parametrize("molecule", MOLECULES)
def test_md17_at_one_size_for_one_task(molecule, task):
    numbers = md17(molecule, task, 950)
    assert [n.model for n in numbers] == ["SchNet", "SchNet", "GDML", "GDML"]
    assert {n.num_train for n in numbers} == {1000}


def test_ethanol_of_the_paper():
    def values(*arguments):
        return [n.value for n in md17("ethanol", *arguments)]

    assert values("energy_and_forces", 950) == [0.08, 0.39, 0.15, 0.79]
    assert values("energy", 950)[:2] == [0.93, 6.56]
    assert values("forces", 40_000) == [0.05, 0.05]
    assert [n.value for n in md17("benzene", "energy", 50_000)] == [0.08, 1.23, 0.04]


def test_qm9_of_the_papers():
    assert [n.value for n in qm9("U0")] == [
        0.59, 0.34, 0.31, 0.94, 0.84, 0.45, 0.33, 14, 19, 12, 14.2,
    ]  # fmt: skip
    assert [(n.value, n.unit) for n in qm9("Cv")] == [
        (0.033, "cal/mol/K"), (0.040, "cal/mol/K"), (0.034, "cal/mol/K"),
    ]  # fmt: skip
    assert qm9("A") == []


def test_iso17_of_the_paper():
    def values(*arguments):
        return [n.value for n in iso17(*arguments)]

    assert values("test_within", "energy_and_forces") == [14.89, 0.36, 19.56, 1.00, 0.14, 0.31]
    assert values("test_other", "energy") == [15.54, 3.11, 19.15, 5.71]
    assert values("test_eq", "energy") == []


def test_revised_md17():
    (ethanol,) = rmd17("ethanol", "energy_and_forces")
    assert (ethanol.value, ethanol.unit, ethanol.num_train) == (0.4471, "kcal/mol/Å", 1000)
    assert rmd17("aspirin", "forces")[0].value == 1.0389
    assert rmd17("aspirin", "energy") == rmd17("uracil", "forces") == []


def test_table_5():
    numbers = {(n.dataset, n.subject, n.quantity): n for n in milestone()}
    assert len(numbers) == 1 + 11 * 3
    assert numbers["MD17", "aspirin", "energy loss"].value == 2709.31
    assert numbers["QM9", "U0", "energy loss"].unit == "Hartree"
    assert numbers["ISO17", "reference", "force loss"][3:5] == (0.82, "eV/Å")


def test_molecules_without_published_numbers_have_none():
    assert md17("ethanol (GFN2-xTB)", "energy") == []

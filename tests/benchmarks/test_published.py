"""Numbers of the papers carry what a reader needs to judge them."""

import pytest

from benchmarks.published import md17

MOLECULES = (
    "benzene", "toluene", "malonaldehyde", "salicylic_acid", "aspirin", "ethanol", "uracil",
    "naphthalene",
)  # fmt: skip


@pytest.mark.parametrize("task", ["energy", "forces", "energy_and_forces"])
@pytest.mark.parametrize("molecule", MOLECULES)
def test_every_number_has_unit_split_and_source(molecule, task):
    numbers = md17(molecule, task)
    assert len(numbers) == 4
    units = {"energy_mae_kcal_mol": "kcal/mol", "force_mae_kcal_mol_A": "kcal/mol/Å"}
    for number in numbers:
        assert number.value > 0
        assert number.unit == units[number.quantity]
        assert "1,000 training frames" in number.split
        assert "arXiv:1706.08566" in number.source


def test_ethanol_of_the_paper():
    assert [n.value for n in md17("ethanol", "energy_and_forces")] == [0.08, 0.39, 0.15, 0.79]
    assert [n.value for n in md17("ethanol", "energy")][:2] == [0.93, 6.56]


def test_molecules_without_published_numbers_have_none():
    assert md17("ethanol (GFN2-xTB)", "energy") == []

"""Models that ship with the package are what their cards say."""

import re

import pytest
import torch
from ase.build import molecule

import schnetgeo as sg
from schnetgeo.data import random_split
from schnetgeo.datasets import Demo
from schnetgeo.potential.pretrained import FOLDER, pretrained_names
from schnetgeo.testing import check_potential
from schnetgeo.train import evaluate
from tests.shared_data import shared

CARDS = (FOLDER / "README.md").read_text()
ETHANOL = sg.from_ase(molecule("CH3CH2OH"))


def test_files_are_small():
    sizes = [path.stat().st_size for path in FOLDER.iterdir()]
    assert sum(sizes) < 3e6


@pytest.mark.parametrize("name", pretrained_names())
def test_card_states_what_the_file_holds(name):
    notes = sg.load(name).notes
    card = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", CARDS, re.MULTILINE | re.DOTALL)[1]
    text = " ".join(card.split())
    for part in notes["card"].values():
        assert part in text
    assert f"{notes['num_train']:,} to train on" in text
    assert f"{notes['test']['structures']:,} tested" in text
    for key, value in notes["test"].items():
        if "_mae_" in key and "per_atom" not in key:
            assert f"{value:.3g}" in text, key


@pytest.mark.parametrize("name", pretrained_names())
def test_physical(name):
    potential = sg.load(name)
    if potential.has_energy:
        check_potential(potential.double(), [ETHANOL])


@pytest.mark.parametrize("part", ["ethanol", "molecules"])
def test_errors_of_the_demo_models_are_as_stated(part):
    """On some of the structures that neither trained nor chose weights."""
    potential, dataset = sg.load(f"gfn2-{part}"), Demo(part)
    notes, num = potential.notes, len(dataset)
    rest = num - notes["num_train"] - notes["num_val"]
    test = random_split(num, notes["num_train"], notes["num_val"], rest)[2]
    errors = evaluate(potential, dataset[test]).as_row()
    for key, value in errors.items():
        if "_mae_" in key:
            assert value == pytest.approx(notes["test"][key], rel=0.02), key


def test_energies_of_qm9_are_as_stated():
    from schnetgeo.datasets import QM9

    potential = sg.load("qm9-u0")
    dataset = QM9("data", "U0", file=shared("qm9_all_properties.npz"))
    some = evaluate(potential, dataset[:1000])
    stated = potential.notes["test"]["energy_mae_kcal_mol"]
    assert some.as_row()["energy_mae_kcal_mol"] < 1.2 * stated


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(sg.InputError, match="gfn2-molecule: no such file.*'gfn2-molecules'"):
        sg.load("gfn2-molecule")
    with pytest.raises(sg.InputError, match="'qm9-u0'"):
        sg.load("QM9_U0")
    with pytest.raises(sg.InputError, match="no pretrained model; there are gfn2-ethanol"):
        sg.load("zzzz")


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sg.Potential(sg.SchNet(4, 1)).save("gfn2-ethanol")
    assert sg.load("gfn2-ethanol").model.embedding.embedding_dim == 4


def test_untrained_elements_are_refused():
    with pytest.raises(sg.InputError, match="has F .*trained on no structure"):
        sg.load("gfn2-molecules")(sg.from_ase(molecule("CF4")))


def test_a_calculator_takes_a_name():
    atoms = molecule("CH3CH2OH")
    atoms.calc = sg.Calculator("gfn2-molecules")
    expected = sg.load("gfn2-molecules")(ETHANOL).energy
    assert atoms.get_potential_energy() == pytest.approx(float(expected), abs=1e-3)
    assert torch.is_tensor(expected)

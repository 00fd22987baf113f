"""Files of metatomic, in metatomic's own ASE calculator."""

import sys

import pytest
import torch
from ase.build import bulk, molecule

import schnetgeo as sg
from schnetgeo import export
from schnetgeo.export.metatomic import torch_functions
from tests.engine.potentials import exact, potential_of, rattled
from tests.export.test_flat_potential import covered


@pytest.fixture(scope="module")
def calculator():
    """The class of metatomic's ASE calculator."""
    with torch_functions():
        pytest.importorskip("metatomic.torch", reason="pip install metatomic-torch")
        return pytest.importorskip("metatomic_ase").MetatomicCalculator


@pytest.mark.parametrize("name", ["SchNet", "PaiNN", "Gate"])
def test_equals_the_model(name, calculator, tmp_path):
    potential = covered(potential_of(name).eval(), 1, 6, 8, 13)
    export.to_metatomic(potential, tmp_path / "model.pt", tolerance=1e-9)
    run = calculator(tmp_path / "model.pt", device="cpu", check_consistency=True)
    for atoms in (rattled("CH3CH2OH"), rattled(bulk("Al", cubic=True))):
        atoms.calc, periodic = run, bool(atoms.pbc.any())
        expected = exact(potential)(sg.from_ase(atoms), stress=periodic)
        energy = float(expected.energy)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        assert atoms.get_potential_energies().sum() == pytest.approx(energy, abs=1e-9)
        assert abs(atoms.get_forces() - expected.forces.numpy()).max() < 1e-8
        if periodic:
            assert abs(atoms.get_stress(voigt=False) - expected.stress[0].numpy()).max() < 1e-9


def test_units_and_elements_are_stated_and_unseen_ones_refused(calculator, tmp_path):
    from metatomic.torch import load_atomistic_model

    export.to_metatomic(covered(potential_of().eval(), 1, 8), tmp_path / "model.pt")
    model = load_atomistic_model(str(tmp_path / "model.pt"))
    capabilities = model.capabilities()
    assert capabilities.outputs["energy"].unit == "eV"
    assert capabilities.length_unit.lower() == "angstrom"
    assert capabilities.atomic_types == [1, 8]
    assert capabilities.interaction_range == 8.0  # two convolutions of 4 Å
    assert model.metadata().extra["elements"] == "H O"
    atoms = molecule("CO2")
    atoms.calc = calculator(tmp_path / "model.pt", device="cpu")
    with pytest.raises(Exception, match="6"):
        atoms.get_potential_energy()


def test_some_atoms_and_several_systems(calculator, tmp_path):
    from metatensor.torch import Labels
    from metatomic.torch import ModelEvaluationOptions, ModelOutput, load_atomistic_model
    from metatomic.torch import systems_to_torch as as_systems
    from vesin.metatomic import compute_requested_neighbors

    potential = potential_of().eval()
    export.to_metatomic(potential, tmp_path / "model.pt", tolerance=1e-9)
    model = load_atomistic_model(str(tmp_path / "model.pt"))
    molecules = [rattled("CH3CH2OH"), rattled("H2O"), rattled("C6H6")]
    systems = as_systems(molecules, dtype=torch.float64)
    compute_requested_neighbors(systems, "angstrom", model)

    def energies(kind: str, chosen=None):
        outputs = {"energy": ModelOutput(unit="eV", sample_kind=kind)}
        options = ModelEvaluationOptions("angstrom", outputs, chosen)
        return model(systems, options, check_consistency=True)["energy"].block()

    expected = [float(exact(potential)(sg.from_ase(atoms)).energy) for atoms in molecules]
    assert energies("system").values.flatten().tolist() == pytest.approx(expected, abs=1e-9)
    pairs = [[0, 3], [0, 1], [2, 5]]
    some = energies("atom", Labels(["system", "atom"], torch.tensor(pairs)))
    assert sorted(some.samples.values.tolist()) == sorted(pairs)
    everything = energies("atom")
    rows = {
        tuple(s.tolist()): v
        for s, v in zip(everything.samples.values, everything.values, strict=True)
    }
    for sample, value in zip(some.samples.values, some.values, strict=True):
        assert float(value) == float(rows[tuple(sample.tolist())])


def _rows(block) -> dict[tuple[int, ...], float]:
    samples = block.samples.values.tolist()
    return {tuple(s): v for s, v in zip(samples, block.values.flatten().tolist(), strict=True)}


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "metatomic.torch", None)
    with pytest.raises(sg.InputError, match="pip install metatomic-torch"):
        export.to_metatomic(potential_of().eval(), tmp_path / "model.pt")


def test_torch_functions_of_pyg_come_back():
    before = torch.index_select
    with torch_functions():
        pass
    assert torch.index_select is before

"""The ASE calculator: the potential's numbers, kept neighbor lists, and dynamics with them."""

import ase.db
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_stress
from hypothesis import given, settings
from hypothesis import strategies as st

import schnetgeo as sg
from schnetgeo.simulate import verlet_list
from schnetgeo.train.fit import cover
from tests.nn.weights import randomize
from tests.processes import PROCESSES


def potential(seed=0, scale=1.0, **options):
    options = {"channels": 8, "num_layers": 2, "num_basis": 12, "cutoff": 4.0, **options}
    torch.manual_seed(seed)
    return sg.Potential(randomize(sg.SchNet(**options)).double(), scale=scale).eval()


def silicon():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture
def built(monkeypatch):
    """How many lists have been built, as the length of a list."""
    calls = []

    def count(data, cutoff):
        calls.append(cutoff)
        return with_edges(data, cutoff)

    with_edges = verlet_list.with_edges
    monkeypatch.setattr(verlet_list, "with_edges", count)
    return calls


def assert_as_potential(atoms, of):
    fresh = sg.data.atoms.geometry(atoms)
    expected = of(fresh, stress=atoms.cell.rank == 3)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy.item(), rel=1e-12)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_forces(False), expected.forces, rtol=0, atol=1e-12)
    if atoms.cell.rank == 3:
        stress = voigt_6_to_full_3x3_stress(atoms.get_stress(apply_constraint=False))
        np.testing.assert_allclose(stress, expected.stress[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("skin", [0.0, 0.6])
@pytest.mark.parametrize("envelope", [sg.nn.CosineCutoff, sg.nn.StepCutoff])
@pytest.mark.parametrize("atoms", [molecule("CH3CONH2"), silicon()], ids=["molecule", "crystal"])
def test_gives_what_the_potential_gives_wherever_atoms_go(atoms, envelope, skin, built):
    of = potential(cutoff_fn=envelope)
    atoms.calc = sg.Calculator(of, skin=skin)
    for seed in range(12):
        assert_as_potential(atoms, of)
        atoms.rattle(0.05, seed=seed)
    assert len(built) == 12 if skin == 0 else 1 < len(built) < 12


def test_a_file_and_its_potential_agree(tmp_path):
    of = potential()
    of.save(tmp_path / "model.safetensors")
    atoms = molecule("H2O")
    atoms.calc = sg.Calculator(tmp_path / "model.safetensors")
    assert_as_potential(atoms, of)


@pytest.mark.parametrize("atoms", [molecule("CH3CONH2"), silicon()], ids=["molecule", "crystal"])
def test_tabulated_potentials(atoms):
    tabulated = potential().tabulate(1e-6)
    atoms.calc = sg.Calculator(tabulated, skin=0.6)
    for _ in range(2):
        assert_as_potential(atoms, tabulated)
        atoms.rattle(0.02, seed=3)


def test_float32_models_give_float64_arrays():
    atoms = silicon()
    atoms.calc = sg.Calculator(potential().float())
    assert isinstance(atoms.get_potential_energy(), float)
    assert atoms.get_forces().dtype == atoms.get_stress().dtype == np.float64


def test_list_is_kept_until_an_atom_has_moved_by_half_the_skin(built):
    atoms = molecule("CH3CH2OH")
    atoms.calc = sg.Calculator(potential(), skin=0.4)
    for step, expected in ((0.0, 1), (0.19, 1), (0.02, 2), (0.19, 2)):
        atoms.positions[3, 1] += step
        atoms.get_forces()
        assert len(built) == expected
    assert built == [4.4, 4.4]


def of_cell(atoms):
    atoms.set_cell(atoms.cell * 1.2)


def of_pbc(atoms):
    atoms.pbc = [True, True, False]


def of_elements(atoms):
    atoms.numbers[0] = 6


def of_wrapping(atoms):
    atoms.positions[0] += atoms.cell[1]


@pytest.mark.parametrize("change", [of_cell, of_pbc, of_elements, of_wrapping])
def test_changes_rebuild_the_list(change, built):
    atoms, of = silicon(), potential()
    atoms.calc = sg.Calculator(of, skin=1.0)
    assert_as_potential(atoms, of)
    change(atoms)
    assert_as_potential(atoms, of)
    assert len(built) == 2


def test_one_calculator_for_different_atoms():
    of = potential()
    calc = sg.Calculator(of)
    for atoms in (molecule("H2O"), silicon(), molecule("CH4"), molecule("H2O")):
        atoms.calc = calc
        assert_as_potential(atoms, of)


def test_after_an_error_the_next_numbers_are_right():
    atoms, of = molecule("H2O"), potential(max_z=20)
    atoms.calc = sg.Calculator(of)
    atoms.get_forces()
    atoms.numbers[0] = 30
    with pytest.raises(sg.InputError, match="z.0. = 30 is not an atomic number from 1 to 19"):
        atoms.get_forces()
    atoms.numbers[0] = 16
    assert_as_potential(atoms, of)
    atoms.positions[1, 2] = np.nan
    with pytest.raises(sg.InputError, match="pos.1, 2. is nan"):
        atoms.get_forces()


def test_stress_without_a_volume_is_refused_as_ase_does():
    atoms = molecule("H2O")
    atoms.calc = sg.Calculator(potential())
    with pytest.raises(PropertyNotImplementedError):
        atoms.calc.get_property("stress", atoms)
    assert atoms.get_forces().shape == (3, 3)


def test_constraints_and_info_do_not_matter():
    atoms, of = silicon(), potential()
    atoms.set_constraint(FixAtoms([0]))
    atoms.info["comment"] = {"any": "thing"}
    atoms.calc = sg.Calculator(of)
    assert_as_potential(atoms, of)
    assert not atoms.get_forces()[0].any()


def test_models_without_edges():
    of = sg.Potential(sg.Baseline().double())
    atoms = molecule("H2O")
    atoms.calc = sg.Calculator(of)
    assert_as_potential(atoms, of)


def test_energy_is_conserved(built):
    """Velocity Verlet errs as the square of its step; a wrong force or list would drift."""
    spread = []
    for step in (0.5, 0.25):
        atoms = Atoms("Ar8", positions=3.0 * np.argwhere(np.ones((2, 2, 2))), cell=[6.4] * 3)
        atoms.pbc = True
        atoms.rattle(0.1, seed=3)
        thermal = np.sqrt(atoms.get_masses()[:, None] * units.kB * 900)
        atoms.set_momenta(thermal * np.random.default_rng(0).normal(size=(8, 3)))
        atoms.calc = sg.Calculator(potential(scale=0.3), skin=0.3)
        dynamics = VelocityVerlet(atoms, step * units.fs)
        energies, kinetic = [], []
        for _ in range(int(100 / step)):
            dynamics.run(1)
            energies.append(atoms.get_total_energy())
            kinetic.append(atoms.get_kinetic_energy())
        spread.append(np.ptp(energies) / np.ptp(kinetic))
    assert 3 < len(built) < 300
    assert spread[0] < 1e-4
    assert spread[1] < 0.35 * spread[0]


def test_cells_relax_with_one_evaluation_a_step(monkeypatch):
    atoms, of = silicon(), potential()
    atoms.calc = sg.Calculator(of)
    before = np.abs(atoms.get_stress()).max()
    calls, forward = [], of.forward
    monkeypatch.setattr(of, "forward", lambda *a, **o: calls.append(o) or forward(*a, **o))
    relaxation = BFGS(FrechetCellFilter(atoms), logfile=None)
    assert relaxation.run(fmax=1e-4, steps=60)
    assert np.abs(atoms.get_stress()).max() < 0.1 * before
    assert len(calls) == relaxation.nsteps


@pytest.mark.parametrize("name", ["initial_charges", "initial_magnetic_moments"])
def test_what_no_model_knows_does_not_recompute(name, monkeypatch):
    atoms, of = molecule("H2O"), potential()
    atoms.calc = sg.Calculator(of)
    forces = atoms.get_forces()
    monkeypatch.setattr(of, "forward", None)
    getattr(atoms, f"set_{name}")([1.0, 0.5, 0.5])
    np.testing.assert_array_equal(atoms.get_forces(), forces)


def test_databases_say_what_computed_a_row(tmp_path):
    path = tmp_path / "water.safetensors"
    potential().save(path)
    atoms = molecule("H2O")
    atoms.calc = sg.Calculator(path, skin=0.2)
    atoms.get_forces()
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(atoms)
    row = ase.db.connect(tmp_path / "a.db").get(1)
    assert row.calculator == "schnetgeo"
    assert row.calculator_parameters == {
        "source": str(path), "model": "SchNet", "cutoff": 4.0, "skin": 0.2,
        "version": sg.__version__,
    }  # fmt: skip
    expected = f"Calculator(SchNet, cutoff=4.0, skin=0.2, device='cpu', source={str(path)!r})"
    assert repr(atoms.calc) == expected


def test_a_tabulated_potential_is_written_by_its_model():
    calc = sg.Calculator(potential().tabulate())
    assert calc.parameters.model == "SchNet, tabulated"
    assert repr(calc).startswith("Calculator(SchNet, tabulated, cutoff=4.0")


def test_a_model_alone_is_refused():
    with pytest.raises(sg.InputError, match="got the model SchNet; pass Potential.model."):
        sg.Calculator(sg.SchNet(channels=4, num_layers=1))


def test_another_skin_counts_and_is_written(built):
    atoms = molecule("H2O")
    atoms.calc = sg.Calculator(potential(), skin=0.2)
    atoms.get_forces()
    atoms.calc.skin = 0.5
    assert atoms.calc.parameters.skin == 0.5
    atoms.rattle(0.001, seed=0)
    atoms.get_forces()
    assert built == [4.2, 4.5]
    with pytest.raises(sg.InputError, match="skin must be a distance in Å, 0 or more, got -1"):
        atoms.calc.skin = -1
    assert atoms.calc.skin == 0.5


def test_tabulated_potentials_stay_on_the_cpu():
    with pytest.raises(sg.InputError, match="runs on the CPU, got device='cuda:0'; leave device"):
        sg.Calculator(potential().tabulate(), device="cuda:0")


def test_skin_must_be_a_distance():
    with pytest.raises(sg.InputError, match="skin must be a distance in Å, 0 or more, got -0.1"):
        sg.Calculator(potential(), skin=-0.1)


def heads(*names):
    targets = [sg.targets.known_target(name) for name in names]
    readout = sg.nn.readout_for(*targets)
    model = randomize(sg.SchNet(channels=8, num_layers=1, cutoff=4.0, readout=readout)).double()
    return sg.Potential(model, targets=targets).eval()


def test_dipole_and_charges():
    of = heads("energy", "dipole", "charges")
    atoms = molecule("H2O", calculator=sg.Calculator(of))
    data = sg.data.atoms.geometry(atoms)
    np.testing.assert_allclose(atoms.get_dipole_moment(), of(data)["dipole"][0].detach())
    assert atoms.get_charges().sum() == pytest.approx(0, abs=1e-12)
    atoms.info["charge"] = 1  # noticed without another change
    assert atoms.get_charges().sum() == pytest.approx(1, abs=1e-12)


def test_what_a_model_does_not_predict():
    atoms = molecule("H2O", calculator=sg.Calculator(heads("energy", "charges")))
    with pytest.raises(PropertyNotImplementedError, match="dipole: this model gives energy, free"):
        atoms.get_dipole_moment()
    with pytest.raises(sg.InputError, match=r"predicts gap \(eV\), but a calculator needs energ"):
        sg.Calculator(heads("gap"))


@pytest.mark.parametrize("atoms", [molecule("CH3CONH2"), silicon()], ids=["molecule", "crystal"])
@pytest.mark.parametrize("readout", [sg.nn.SumReadout, sg.nn.MeanReadout])
@pytest.mark.parametrize("how", ["spline", "exact", "tabulated"])
def test_energies_of_atoms_add_up(atoms, readout, how):
    references = torch.linspace(-3, 4, 101)[: sg.SchNet(channels=4).max_z]
    of = potential(readout=readout, scale=1.7)
    of = sg.Potential(of.model, references, 1.7, "exact" if how == "exact" else "spline").eval()
    of = of.tabulate(1e-6) if how == "tabulated" else of
    atoms.calc = sg.Calculator(of)
    energies = atoms.get_potential_energies()
    assert energies.shape == (len(atoms),)
    assert np.ptp(energies) > 1e-5
    assert energies.sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    atoms.positions[1] += 0.1
    assert atoms.get_potential_energies().sum() == pytest.approx(
        atoms.get_potential_energy(), abs=1e-10
    )


def test_an_atom_far_away_has_the_energy_that_it_has_alone():
    of = potential()
    far = molecule("CH4") + Atoms("O", [[50.0, 0, 0]])
    far.calc, alone = sg.Calculator(of), Atoms("O", calculator=sg.Calculator(of))
    assert far.get_potential_energies()[-1] == pytest.approx(alone.get_potential_energy())


def test_a_model_without_atomic_values_has_no_energies_of_atoms():
    atoms = molecule("H2O", calculator=sg.Calculator(sg.Potential(sg.Baseline().double())))
    with pytest.raises(PropertyNotImplementedError, match="energies: this model gives"):
        atoms.get_potential_energies()
    with pytest.raises(sg.InputError, match="atomic_energies: what Baseline predicts is no sum"):
        atoms.calc.potential(sg.from_ase(molecule("H2O")), energies=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.12), st.booleans())
def test_the_list_is_exact_under_strain(seed, size, shear):
    """Whatever cells and atoms do, forces are those of a list that is new."""
    rng, of = np.random.default_rng(seed), SHARED
    atoms = silicon()
    atoms.calc = sg.Calculator(of, skin=0.8)
    atoms.get_forces()
    for _ in range(4):
        strain = rng.normal(size=(3, 3)) * size * (1 if shear else np.eye(3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain / 2), scale_atoms=rng.random() < 0.7)
        atoms.rattle(0.05, rng=rng)
        assert_as_potential(atoms, of)


SHARED = potential()


def test_a_list_is_kept_under_a_small_strain(built):
    atoms = silicon()
    atoms.calc = sg.Calculator(potential(), skin=0.4)
    for _ in range(10):
        atoms.set_cell(atoms.cell * 1.002, scale_atoms=True)
        atoms.get_stress()
    assert len(built) == 1
    for _ in range(60):
        atoms.set_cell(atoms.cell * 0.998, scale_atoms=True)
        atoms.get_stress()
    assert 1 < len(built) < 8


def test_stress_in_both_forms():
    atoms = silicon()
    atoms.calc = sg.Calculator(potential())
    full = atoms.get_stress(voigt=False)
    np.testing.assert_array_equal(full, voigt_6_to_full_3x3_stress(atoms.get_stress()))


def test_an_ensemble_has_standard_deviations(tmp_path):
    members = [potential(seed) for seed in range(3)]
    for seed, member in enumerate(members):
        member.save(tmp_path / f"{seed}.safetensors")
    files = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    atoms = molecule("H2O")
    energies, forces = [], []
    for member in members:
        atoms.calc = sg.Calculator(member)
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    atoms.calc = sg.Calculator(files)
    assert atoms.get_potential_energy() == pytest.approx(np.mean(energies))
    std = atoms.calc.get_property("energy_std", atoms)
    assert std == pytest.approx(np.std(energies, ddof=1))
    expected = np.std(forces, axis=0, ddof=1)
    np.testing.assert_allclose(atoms.calc.results["forces_std"], expected, atol=1e-12)
    assert atoms.get_potential_energies().sum() == pytest.approx(np.mean(energies))
    assert atoms.calc.parameters.model == "3 of SchNet"
    with pytest.raises(sg.InputError, match="an ensemble is not tabulated"):
        sg.Calculator(files, tolerance=1e-5)


def test_an_ensemble_of_different_targets_is_refused():
    with pytest.raises(sg.InputError, match="model 2 of the ensemble has other targets"):
        sg.Calculator([potential(), heads("energy", "dipole")])


def test_a_calibrated_model_has_standard_deviations():
    dataset = sg.datasets.Demo("ethanol")
    of = potential()
    sg.train.calibrate(of, dataset[:60], dataset[60:100])
    atoms = sg.to_ase(dataset[3])
    atoms.calc = sg.Calculator(of)
    expected = of(sg.data.atoms.geometry(atoms), uncertainty="forces").uncertainty
    assert atoms.calc.get_property("energy_std", atoms) == pytest.approx(float(expected.energy))
    atoms.calc = sg.Calculator(of, uncertainty="forces")
    std = atoms.calc.get_property("forces_std", atoms)
    np.testing.assert_allclose(std, expected.forces)
    with pytest.raises(sg.InputError, match="this model was not calibrated"):
        sg.Calculator(potential(), uncertainty="energy")


def test_elements_that_training_never_saw_are_refused():
    of = potential()
    cover(of, sg.datasets.Demo("ethanol")[:10])
    atoms = molecule("CH3Cl", calculator=sg.Calculator(of))
    with pytest.raises(sg.InputError, match="Cl"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("tolerance", [None, 1e-6])
def test_calculators_reach_other_processes(tolerance):
    atoms = molecule("CH3CH2OH", calculator=sg.Calculator(potential(), tolerance=tolerance))
    expected = atoms.get_forces()
    with PROCESSES.Pool(1) as pool:
        energy, forces = pool.map(computed, [atoms])[0]
    # the number of threads there may be another
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(forces, expected, rtol=0, atol=1e-12)


def computed(atoms):
    atoms.calc.reset()
    return atoms.get_potential_energy(), atoms.get_forces()


def test_a_tolerance_tabulates():
    atoms = molecule("CH3CH2OH")
    atoms.calc = sg.Calculator(potential(), tolerance=1e-6)
    exact = sg.Potential(potential().model, filters="exact").eval()
    assert atoms.calc.parameters.tolerance == 1e-6
    assert atoms.calc.parameters.model == "SchNet, tabulated"
    forces = exact(sg.data.atoms.geometry(atoms)).forces
    np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=1e-4)

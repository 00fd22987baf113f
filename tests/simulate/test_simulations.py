"""Relaxation, dynamics, vibrations, scans and paths against ASE and against physics."""

import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.vibrations import Infrared, Vibrations

import schnetgeo as sg
from schnetgeo.simulate import (
    Calculator,
    DynamicsConfig,
    exact_potential,
    frequencies,
    neb,
    relax,
    run_dynamics,
    scan,
)
from schnetgeo.simulate.scan import moved_side
from tests.nn.weights import randomize
from tests.simulate.models import potential, springs

MORSE = springs()


def water(seed=1):
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=seed)
    return atoms


def silicon(strain=0.0):
    atoms = bulk("Si", "diamond", 5.4 * (1 + strain), cubic=True)
    atoms.rattle(0.03, seed=2)
    return atoms


def relaxed(atoms, fmax=1e-6):
    return relax(atoms, MORSE, fmax=fmax).atoms


@pytest.mark.parametrize("optimizer", ["BFGS", "LBFGS", "FIRE"])
def test_relaxation_ends_where_forces_vanish(optimizer):
    done = relax(water(), MORSE, fmax=1e-4, optimizer=optimizer)
    assert done.converged
    assert np.abs(MORSE(sg.from_ase(done.atoms)).forces).max() < 1e-4
    assert done.energies[-1] == done.energies.min()
    assert len(done.frames) == len(done.energies) == len(done.largest_forces)


def test_constraints_hold():
    atoms = water()
    atoms.set_constraint(FixAtoms([0]))
    done = relax(atoms, MORSE, fmax=1e-4)
    np.testing.assert_array_equal(done.atoms.positions[0], atoms.positions[0])
    assert atoms.calc is None


def test_cells_relax_to_the_same_volume_from_both_sides():
    volumes = [
        relax(silicon(strain), MORSE, fmax=1e-3, cell=True).atoms.get_volume()
        for strain in (-0.03, 0.03)
    ]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-3)
    with pytest.raises(sg.InputError, match="a relaxation of the cell needs a cell with a volume"):
        relax(water(), MORSE, cell=True)


@pytest.mark.parametrize("name", ["H2O", "CO2", "CH4"])
def test_frequencies_are_those_of_finite_differences(name, tmp_path):
    atoms = relaxed(molecule(name))
    result = frequencies(atoms, MORSE)
    atoms.calc = Calculator(exact_potential(MORSE), skin=0.0)
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=1e-3, nfree=4)
    vibrations.run()
    number = len(result.wavenumbers)
    assert number == 3 * len(atoms) - (5 if name == "CO2" else 6)
    values = vibrations.get_frequencies()
    values = np.sort(np.where(values.imag > 1e-3, -values.imag, values.real))
    rest = sorted(values, key=abs)[3 * len(atoms) - number :] if name != "none" else values
    expected = sorted(rest)
    np.testing.assert_allclose(result.wavenumbers, expected, atol=0.5)
    assert result.zero_point_energy == pytest.approx(
        0.5 * sum(v for v in expected if v > 0) * units.invcm, rel=1e-4
    )


def test_modes_are_orthogonal_in_mass_and_move_no_center():
    atoms = relaxed(molecule("CH4"))
    result = frequencies(atoms, MORSE)
    masses = atoms.get_masses()
    overlap = np.einsum("anx,bnx,n->ab", result.modes, result.modes, masses)
    np.testing.assert_allclose(overlap - np.diag(np.diag(overlap)), 0, atol=1e-8)
    np.testing.assert_allclose(np.einsum("anx,n->ax", result.modes, masses), 0, atol=1e-8)


def test_infrared_intensities_are_those_of_ase(tmp_path):
    targets = [sg.targets.known_target(name) for name in ("energy", "dipole")]
    model = sg.SchNet(channels=8, num_layers=1, cutoff=4.0, readout=sg.nn.readout_for(*targets))
    of = exact_potential(sg.Potential(randomize(model).double(), targets=targets).eval())
    atoms = relax(water(), of, fmax=1e-5, max_steps=300).atoms
    result = frequencies(atoms, of)
    atoms.calc = Calculator(of, skin=0.0)
    infrared = Infrared(atoms, name=str(tmp_path / "ir"), delta=1e-3, nfree=4)
    infrared.run()
    infrared.summary(log=str(tmp_path / "summary"))
    # ASE: (Debye/Å)² / amu; 42.2561 of those are km/mol
    pairs = zip(infrared.get_frequencies(), infrared.intensities, strict=True)
    values = sorted(((-f.imag if f.imag else f.real), i * 42.2561) for f, i in pairs)
    strongest = max(values, key=lambda pair: pair[0])
    assert result.wavenumbers[-1] == pytest.approx(strongest[0], abs=0.5)
    assert result.intensities[-1] == pytest.approx(strongest[1], rel=0.01)


def test_ensembles_and_tables_have_no_hessian():
    with pytest.raises(sg.InputError, match="need a model that can be differentiated twice"):
        frequencies(water(), potential().tabulate())


CONFIG = {"steps": 60, "timestep": 0.5, "temperature": 200.0, "every": 5, "seed": 3}


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_dynamics_go_on_bit_for_bit(ensemble, tmp_path):
    atoms = silicon() if ensemble == "npt" else relaxed(water())
    whole = run_dynamics(atoms, MORSE, DynamicsConfig(ensemble, **CONFIG), tmp_path / "a")
    parts = DynamicsConfig(ensemble, **{**CONFIG, "steps": 25})
    run_dynamics(atoms, MORSE, parts, tmp_path / "b")
    with (tmp_path / "b" / "trajectory.extxyz").open("a") as file:
        file.write("9\nhalf a frame")
    with (tmp_path / "b" / "log.csv").open("a") as file:
        file.write("30,0.01")
    again = run_dynamics(
        atoms, MORSE, DynamicsConfig(ensemble, **CONFIG), tmp_path / "b", resume=True
    )
    np.testing.assert_array_equal(whole.atoms.positions, again.atoms.positions)
    for name in ("trajectory.extxyz", "log.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    frames = ase.io.read(tmp_path / "b" / "trajectory.extxyz", ":")
    assert [atoms.info["step"] for atoms in frames] == list(range(0, 61, 5))
    assert whole.stopped_by == "steps"


def test_energy_errs_as_the_square_of_the_step(tmp_path):
    spread = []
    for step in (0.25, 0.125):
        config = DynamicsConfig("nve", steps=int(50 / step), timestep=step, every=int(1 / step))
        done = run_dynamics(relaxed(water()), MORSE, config, tmp_path / str(step))
        spread.append(np.ptp(done.log["total_eV"]))
    assert spread[0] < 5e-4
    assert 3 < spread[0] / spread[1] < 5


def test_thermostat_has_the_temperature(tmp_path):
    config = DynamicsConfig(
        "nvt", steps=6000, timestep=1.0, temperature=60, friction_time=50, every=20
    )  # the crystal of a pair potential would not stand much more
    done = run_dynamics(relaxed(silicon()), MORSE, config, tmp_path)
    late = done.log["temperature_K"][50:]
    assert late.mean() == pytest.approx(60, rel=0.12)


def test_a_run_that_blows_up_keeps_the_last_good_frame(tmp_path):
    config = DynamicsConfig("nve", steps=2000, timestep=30.0, temperature=900, every=1)
    done = run_dynamics(relaxed(water()), MORSE, config, tmp_path)
    assert "the temperature is" in done.stopped_by
    assert "above 9000 K" in done.stopped_by
    assert done.atoms.get_temperature() < 9000
    assert np.isfinite(done.atoms.positions).all()
    assert (done.log["temperature_K"] < 9000).all()


def test_another_run_does_not_go_on(tmp_path):
    atoms, short = relaxed(water()), {**CONFIG, "steps": 5}
    run_dynamics(atoms, MORSE, DynamicsConfig("nve", **short), tmp_path)
    with pytest.raises(sg.InputError, match="holds a run already; pass --resume"):
        run_dynamics(atoms, MORSE, DynamicsConfig("nve", **short), tmp_path)
    with pytest.raises(sg.InputError, match="is of a run with other options"):
        run_dynamics(atoms, MORSE, DynamicsConfig("nvt", **short), tmp_path, resume=True)
    with pytest.raises(sg.InputError, match="constant pressure needs a cell"):
        run_dynamics(atoms, MORSE, DynamicsConfig("npt"), tmp_path)
    with pytest.raises(sg.InputError, match="timestep must be above 0"):
        DynamicsConfig(timestep=0.0)


def test_scans_set_what_they_say_and_move_one_side():
    atoms = molecule("CH3CH2OH")
    bonds = scan(atoms, MORSE, [0, 1], [1.4, 1.5, 1.7])
    np.testing.assert_allclose([a.get_distance(0, 1) for a in bonds.frames], [1.4, 1.5, 1.7])
    turned = scan(atoms, MORSE, [3, 2, 0, 1], np.arange(0, 360, 60))
    angles = [a.get_dihedral(3, 2, 0, 1) % 360 for a in turned.frames]
    np.testing.assert_allclose(np.cos(np.radians(angles)), np.cos(np.radians(turned.values)))
    side = moved_side(atoms, [0, 1])
    assert side.sum() in (4, 5)
    for frame in bonds.frames:
        inside = frame.get_all_distances()[np.ix_(side, side)]
        np.testing.assert_allclose(inside, atoms.get_all_distances()[np.ix_(side, side)])
    energies = [MORSE(sg.from_ase(a, drop=("results",))).energy.item() for a in bonds.frames]
    np.testing.assert_allclose(bonds.energies, energies)


def test_relaxed_scans_lie_below_rigid_ones():
    atoms = relaxed(molecule("CH3CH2OH"), 1e-3)
    angles = [100.0, 118.0]
    rigid = scan(atoms, MORSE, [1, 0, 2], angles)
    soft = scan(atoms, MORSE, [1, 0, 2], angles, relaxed=True)
    assert (soft.energies <= rigid.energies + 1e-6).all()
    assert (soft.energies < rigid.energies - 1e-3).any()
    for frame, angle in zip(soft.frames, angles, strict=True):
        assert frame.get_angle(1, 0, 2) == pytest.approx(angle, abs=1e-3)


def test_atoms_of_a_ring_move_alone():
    assert moved_side(molecule("C6H6"), [0, 1]).sum() == 1
    with pytest.raises(sg.InputError, match="indices must be 2 atoms of a bond"):
        scan(molecule("H2O"), MORSE, [0, 3], [1.0])


def test_a_path_between_mirror_images_leads_over_a_saddle_point():
    start = relaxed(molecule("NH3"), 1e-4)
    end = start.copy()
    end.positions[:, 2] *= -1
    end.positions += start.positions[1:].mean(0) - end.positions[1:].mean(0)
    path = neb(start, end, MORSE, images=5, fmax=0.03)
    assert path.converged
    assert path.energies[0] == pytest.approx(path.energies[-1], abs=1e-6)
    saddle = path.frames[path.energies.argmax()]
    assert np.linalg.norm(saddle.get_forces(), axis=1).max() < 0.05
    assert path.barrier > 0.1
    assert frequencies(saddle, MORSE).wavenumbers[0] < -50
    with pytest.raises(sg.InputError, match="must have the same atoms in the same order"):
        neb(start, molecule("H2O"), MORSE)

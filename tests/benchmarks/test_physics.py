"""Physical quality: what each check says of potentials whose answer is known."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.morse import MorsePotential
from ase.io import write
from torch import nn

import schnetgeo as sg
from benchmarks.physics.__main__ import main
from benchmarks.physics.bonds import find_bond, find_bonds, lengths
from benchmarks.physics.dynamics import STEP_FS, drift, stability
from benchmarks.physics.limits import cutoff_jump, extensivity
from benchmarks.physics.scans import dihedral, dissociation
from benchmarks.physics.spread import spread
from benchmarks.physics.start import relaxed
from schnetgeo.datasets import Demo
from schnetgeo.errors import InputError
from tests.nn.weights import randomize


class Given(Calculator):
    """Energy and forces of a function of the atoms."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, function):
        super().__init__()
        self.function = function

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces = self.function(self.atoms)
        self.results = {"energy": energy, "forces": forces}


def with_energy(energy):
    return Given(lambda atoms: (energy(atoms), np.zeros((len(atoms), 3))))


def dimer(calculator, length=1.4):
    return Atoms("C2", [[0, 0, 0], [length, 0, 0]], calculator=calculator)


def morse(depth=5.0):
    return MorsePotential(epsilon=depth, r0=1.4, rho0=2.8, rcut1=20.0, rcut2=21.0)


def value(checked, quantity):
    (found,) = [f.value for f in checked.findings if f.quantity == quantity]
    return found


def said(checked):
    return " ".join(f.done for f in checked.findings)


# bonds


def test_bonds_are_those_of_chemistry():
    ethanol = molecule("CH3CH2OH")
    bonds = find_bonds(ethanol)
    assert sorted(np.bincount(bonds.pairs.ravel())) == [1] * 6 + [2, 4, 4]
    assert lengths(bonds, ethanol).max() < 1.6
    chosen = find_bond(ethanol)
    assert sorted(ethanol.symbols[[chosen.fixed, chosen.moved]]) == ["C", "C"]
    assert chosen.turns
    assert chosen.side.sum() == 4
    assert chosen.side[chosen.moved]
    assert not chosen.side[chosen.fixed]


def test_lengths_reach_across_cells_also_after_atoms_left_theirs():
    diamond = bulk("C", cubic=True)
    bonds = find_bonds(diamond)
    assert len(bonds.pairs) == 16
    expected = np.full(16, 3.57 * np.sqrt(3) / 4)
    np.testing.assert_allclose(lengths(bonds, diamond), expected, atol=1e-12)
    diamond.translate((50.0, -7.0, 3.0))
    np.testing.assert_allclose(lengths(bonds, diamond), expected, atol=1e-12)


def test_a_bond_of_another_choice_a_ring_and_none():
    ethanol, benzene = molecule("CH3CH2OH"), molecule("C6H6")
    sides = [find_bond(ethanol, given).side.tolist() for given in ([1, 2], [2, 1])]
    assert sides[0] == sides[1]
    assert not find_bond(benzene).turns
    with pytest.raises(InputError, match="part of a ring"):
        find_bond(benzene, [0, 1])
    with pytest.raises(InputError, match="bond 0 3 is none; there are 0 1, "):
        find_bond(benzene, [0, 3])
    assert find_bond(Atoms("H")) is None
    vinyls = molecule("butadiene")
    middle = find_bond(vinyls)
    assert middle.turns
    assert middle.side.sum() == 5
    for given, length in ((None, 1.46), ([0, 1], 1.34)):  # single bonds come first
        bond = find_bond(vinyls, given)
        assert vinyls.get_distance(bond.fixed, bond.moved) == pytest.approx(length, abs=0.01)


# dynamics


def test_drift_is_the_slope_that_was_put_in():
    """Free atoms whose energy grows by 1 µeV at each evaluation, one a step."""
    count = [0]

    def energy(atoms):
        count[0] += 1
        return 1e-6 * count[0]

    found = drift(dimer(with_energy(energy)), 400)
    assert value(found, "slope") == pytest.approx(1e-3 / 2 / (STEP_FS / 1000), rel=1e-6)
    assert value(found, "fluctuation") < 1e-6
    np.testing.assert_allclose(found.curve.x[-1], 400 * STEP_FS / 1000)


@pytest.mark.slow
def test_conserved_energy_does_not_drift_and_a_curl_does():
    conserved = drift(dimer(morse()), 4000)
    assert abs(value(conserved, "slope")) < 0.1
    assert 0 < value(conserved, "fluctuation") < 20
    base = morse()

    def curl(atoms):
        pair = atoms.copy()
        pair.calc = base
        around = np.cross([0, 0, 1.0], atoms.positions - atoms.positions.mean(0))
        return pair.get_potential_energy(), pair.get_forces() + 0.3 * around

    assert abs(value(drift(dimer(Given(curl)), 4000), "slope")) > 10


def test_positions_that_are_lost_are_said_to_be():
    lost = Given(lambda atoms: (0.0, np.full((2, 3), np.nan)))
    found = drift(dimer(lost), 100)
    assert found.findings[0].value is None
    assert "positions were lost after 0.00 ps" in said(found)
    found = stability(dimer(lost), 300, max_ps=0.1)
    assert value(found, "time at 300 K") == 0
    assert "positions were lost" in said(found)


@pytest.mark.slow
def test_a_strong_bond_lasts_and_a_weak_one_breaks():
    strong = stability(dimer(morse(depth=8.0)), 500, max_ps=1.0)
    assert value(strong, "time at 500 K") == 1.0
    assert "stable to the end" in said(strong)
    weak = stability(dimer(morse(depth=0.02)), 500, max_ps=5.0)
    assert 0 < value(weak, "time at 500 K") < 5.0
    assert "C0–C1 was off by more than 0.5 Å" in said(weak)


def test_a_force_that_pulls_breaks_the_bond_when_mechanics_says():
    """Constant forces F: each atom goes F t² / 2m, faster than heat or friction matter."""
    pull = np.array([[-50.0, 0, 0], [50.0, 0, 0]])
    found = stability(dimer(Given(lambda atoms: (0.0, pull))), 1.0, max_ps=1.0)
    expected = np.sqrt(0.5 * dimer(None).get_masses()[0] / 50.0) / units.fs / 1000
    assert value(found, "time at 1 K") == pytest.approx(expected, abs=0.006)


def test_relaxation_finds_the_minimum_and_does_without_where_there_is_none():
    atoms, found = relaxed(dimer(morse(), 1.5), morse())
    assert atoms.get_distance(0, 1) == pytest.approx(1.4, abs=1e-3)
    assert value(found, "largest change of a bond") == pytest.approx(0.1, abs=1e-3)
    falling = Given(lambda atoms: (0.0, np.array([[-1.0, 0, 0], [1.0, 0, 0]])))
    atoms, found = relaxed(dimer(falling, 1.5), falling)
    assert atoms.get_distance(0, 1) == 1.5
    assert "begin unrelaxed" in said(found)


# scans


def test_dissociation_of_a_morse_molecule():
    atoms = dimer(morse(5.0))
    found = dissociation(atoms, find_bond(atoms), None)
    assert abs(value(found, "shift of the minimum")) < 0.02
    assert value(found, "energy to break") == pytest.approx(5.0, abs=0.02)
    assert value(found, "depth below the bond's minimum") == 0
    assert value(found, "other minima") == 0
    assert found.curve.y.min() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(("depth", "below"), [(4.0, 0.0), (8.0, 3.0)])
def test_a_hole_is_found(depth, below):
    base = morse(5.0)

    def hollow(atoms):
        pair = atoms.copy()
        pair.calc = base
        r = atoms.get_distance(0, 1)
        return pair.get_potential_energy() - depth * np.exp(-((r - 4.5) ** 2) / 0.1)

    atoms = dimer(with_energy(hollow))
    found = dissociation(atoms, find_bond(atoms), None)
    assert value(found, "other minima") == 1
    assert value(found, "depth below the bond's minimum") == pytest.approx(below, abs=0.05)


def test_a_collapse_at_short_distance_is_a_hole():
    atoms = dimer(with_energy(lambda atoms: -1 / atoms.get_distance(0, 1) ** 2))
    found = dissociation(atoms, find_bond(atoms), None)
    expected = 1 / (0.6 * 1.4) ** 2 - 1 / (0.8 * 1.4) ** 2
    assert value(found, "depth below the bond's minimum") == pytest.approx(expected, rel=0.05)


def test_energies_that_are_not_finite_are_counted():
    short = with_energy(lambda a: np.nan if a.get_distance(0, 1) > 5.001 else 0.0)
    found = dissociation(dimer(short), find_bond(dimer(None)), None)
    assert found.findings[0].value is None
    assert "energies are not finite" in said(found)


@pytest.mark.parametrize("folds", [1, 2, 3, 6])
def test_minima_and_barrier_of_a_turn(folds):
    ethane = molecule("C2H6")
    bond = find_bond(ethane)
    ends = [int(np.flatnonzero(bond.side == part)[-1]) for part in (False, True)]
    places = ends[0], bond.fixed, bond.moved, ends[1]

    def energy(atoms):
        return 0.05 * (1 + np.cos(np.radians(folds * atoms.get_dihedral(*places))))

    ethane.calc = with_energy(energy)
    found = dihedral(ethane, bond)
    assert value(found, "minima") == folds
    assert value(found, "barrier") == pytest.approx(0.1, rel=0.02)
    assert value(found, "change after a turn") < 1e-9


def test_a_turn_leaves_both_sides_rigid():
    ethanol = molecule("CH3CH2OH")
    bond, seen = find_bond(ethanol), []
    ethanol.calc = with_energy(lambda atoms: seen.append(atoms.copy()) or 0.0)
    dihedral(ethanol, bond, step=90)
    for atoms in seen:
        for side in (bond.side, ~bond.side):
            np.testing.assert_allclose(
                atoms[side].get_all_distances(), ethanol[side].get_all_distances(), atol=1e-12
            )
    np.testing.assert_allclose(seen[0].positions, ethanol.positions, atol=1e-12)
    assert np.abs(seen[1].positions - ethanol.positions).max() > 1


def test_nothing_to_turn():
    water = molecule("H2O")
    water.calc = morse()
    found = dihedral(water, find_bond(water))
    assert found.findings[0].value is None
    assert found.curve is None


# limits


class Linear(nn.Module):
    """An envelope with a kink at the cutoff: the energy does not jump, the force does."""

    def __init__(self, cutoff):
        super().__init__()
        self.cutoff = cutoff

    def forward(self, distance):
        return (1 - distance / self.cutoff).clamp(min=0)


def schnet(envelope, seed=0):
    torch.manual_seed(seed)
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, cutoff=3.0, cutoff_fn=envelope)
    return sg.Potential(randomize(model, seed)).double().eval()


def test_jumps_at_the_cutoff():
    water = molecule("H2O")
    jumps = []
    for envelope in (sg.nn.CosineCutoff, Linear, sg.nn.StepCutoff):
        water.calc = sg.Calculator(schnet(envelope))
        found = cutoff_jump(water, 3.0)
        jumps.append([value(found, f"jump of the {name}") for name in ("energy", "force")])
    smooth, kinked, broken = jumps
    assert smooth[0] < 1e-10
    assert smooth[1] < 1e-6
    assert kinked[0] < 1e-10
    assert kinked[1] > 1e-3
    assert broken[0] > 1e-3


def test_the_jump_is_the_one_that_was_put_in():
    def energy(atoms):
        return 0.25 * (atoms.get_all_distances()[np.triu_indices(len(atoms), 1)] < 3.0).sum()

    atoms = dimer(with_energy(energy))
    assert value(cutoff_jump(atoms, 3.0), "jump of the energy") == pytest.approx(0.25)
    assert value(cutoff_jump(atoms, 2.9), "jump of the energy") == 0
    assert cutoff_jump(atoms, None).findings[0].value is None


def test_extensivity():
    water = molecule("H2O")
    water.calc = sg.Calculator(schnet(sg.nn.CosineCutoff))
    assert value(extensivity(water, 3.0), "difference") < 1e-10
    water.calc = with_energy(lambda atoms: len(atoms) ** 2)
    assert value(extensivity(water, 3.0), "difference") == 18


# spread


def test_spread_is_that_of_the_models():
    data = Demo("ethanol")[:5]
    model = schnet(sg.nn.CosineCutoff)
    shifted = sg.Potential(model.model, torch.full((100,), 0.01), scale=float(model.scale)).eval()
    found = spread([model, shifted], data)
    kcal = units.kcal / units.mol
    assert value(found, "energy") == pytest.approx(9 * 0.01 / np.sqrt(2) / kcal, rel=1e-6)
    assert value(found, "forces") == 0
    other = schnet(sg.nn.CosineCutoff, seed=1)
    forces = [sg.train.predict(p, data).forces.numpy() for p in (model, shifted, other)]
    expected = np.std(forces, axis=0, ddof=1).mean() / kcal
    assert value(spread([model, shifted, other], data), "forces") == pytest.approx(expected)


# the command


@pytest.fixture
def models(tmp_path):
    paths = []
    for seed in (0, 1):
        potential = schnet(sg.nn.CosineCutoff, seed).float()
        potential.atomic_references.values[[1, 6, 8]] = -10.0
        paths.append(tmp_path / f"seed{seed}" / "model.safetensors")
        potential.save(paths[-1])
    return [str(path) for path in paths]


FEW = ["--steps", "40", "--max-ps", "0.02", "--out"]
CHECKS = {"relaxation", "drift", "stability", "cutoff", "extensivity", "dissociation", "dihedral"}


@pytest.mark.slow
def test_one_command_makes_table_file_and_picture(models, tmp_path, capsys):
    main([*models, *FEW, str(tmp_path / "out")])
    rows = json.loads((tmp_path / "out" / "physics.json").read_text())
    assert {row["check"] for row in rows if row["model"] == "seed0"} == CHECKS
    assert {row["check"] for row in rows if row["model"] == "seed1"} == CHECKS
    assert [row["check"] for row in rows if row["model"] == "all"] == ["spread", "spread"]
    assert {row["check"] for row in rows if row["value"] is None} <= {"relaxation"}
    assert all(row["done"] for row in rows)
    assert "Demo ethanol, structure 0" in rows[0]["structure"]
    assert (tmp_path / "out" / "physics.png").read_bytes().startswith(b"\x89PNG")
    table = capsys.readouterr().out
    assert table.count("\n| ") == len(rows) + 1
    assert "tabulated potential" in table


def test_own_structures_and_crystals(models, tmp_path):
    water = molecule("H2O")
    write(tmp_path / "water.xyz", [water, water])
    main([models[0], "--data", str(tmp_path / "water.xyz"), *FEW, str(tmp_path / "a")])
    rows = json.loads((tmp_path / "a" / "physics.json").read_text())
    assert [row["value"] for row in rows if row["check"] == "dihedral"] == [None]
    write(tmp_path / "ice.extxyz", Atoms(water, cell=[4, 4, 4], pbc=True))
    main([models[0], "--data", str(tmp_path / "ice.extxyz"), *FEW, str(tmp_path / "b")])
    rows = json.loads((tmp_path / "b" / "physics.json").read_text())
    assert {row["done"] for row in rows if row["value"] is None} == {"for molecules only"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("lost.safetensors", "lost.safetensors: no such file"),
        ("MODEL --data lost.xyz", "lost.xyz: no such file"),
        (
            "MODEL --data NH3",
            "atoms of Z = 7, which the model model was not trained on; give other",
        ),
        ("MODEL --index 5000", "index 5000 selects none of the 1200 structures"),
        ("MODEL --bond 0 3", "bond 0 3 is none; there are"),
        ("MODEL --steps 0", "--steps"),
        ("MODEL --max-ps -1", "--max-ps"),
    ],
)
def test_bad_input_is_one_line(models, tmp_path, capsys, options, message):
    write(tmp_path / "nh3.xyz", molecule("NH3"))
    places = {"MODEL": models[0], "NH3": str(tmp_path / "nh3.xyz")}
    words = [places.get(word, word) for word in options.split()]
    with pytest.raises(SystemExit) as exit:
        main([*words, "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()

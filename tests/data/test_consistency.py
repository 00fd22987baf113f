"""Faults that are planted into data without faults, each found with its cause."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential

from schnetgeo.cli import main
from schnetgeo.data import block_split, from_ase, random_split
from schnetgeo.data.consistency import check_data
from schnetgeo.data.consistency.frames import groups
from schnetgeo.data.consistency.pairs import nearest, steps
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import AtomsFile, Demo
from schnetgeo.datasets.write import write_dataset
from schnetgeo.units import BOHR, GIGAPASCAL, HARTREE, KCAL_MOL
from tests.shared_data import shared

FILES = (
    "iso17_equilibrium_sample", "md17_ethanol", "md17_ethanol_trajectory", "md17_recovered_aspirin",
    "md17_recovered_ethanol", "md17_recovered_malonaldehyde", "md17_recovered_salicylic_acid",
    "md17_recovered_toluene", "md17_recovered_uracil", "ni_crystal", "qm7x_sample", "rmd17_aspirin",
    "rmd17_ethanol", "sgdml_aspirin", "sgdml_ethanol", "sgdml_malonaldehyde",
    "sgdml_salicylic_acid", "sgdml_toluene", "sgdml_uracil", "si_crystal", "water_periodic",
    "water_trimer_mp2",
)  # fmt: skip
ENERGIES = ("qm7", "qm9_all_properties", "qm9_u0_part1", "qm9_u0_part2", "qm9_u0_part3")


@pytest.fixture(scope="module")
def molecules():
    return Demo("ethanol")


@pytest.fixture(scope="module")
def crystals():
    """Copper by effective medium theory, rattled and strained."""
    generator, structures = np.random.default_rng(0), []
    for _ in range(60):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        strain = generator.normal(scale=0.01, size=(3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        atoms.positions += generator.normal(scale=0.004, size=atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        structures.append(from_ase(atoms, drop=("energies", "stresses", "free_energy")))
    return StructureDataset.from_list(structures)


def planted(dataset, fault):
    """A copy with a fault."""
    structures, sizes = dataset.materialize()
    generator = np.random.default_rng(1)
    fault(structures, sizes, generator)
    return StructureDataset(structures, sizes, dataset.name, validated=True)


def scaled(**factors):
    def fault(structures, sizes, generator):
        for name, factor in factors.items():
            structures[name] = structures[name] * factor

    return fault


def shuffled_energies(structures, sizes, generator):
    structures.energy = structures.energy[generator.permutation(len(sizes)).tolist()]


def permuted_atoms(share):
    def fault(structures, sizes, generator):
        parts = list(structures.forces.split(sizes.tolist()))
        for k in generator.choice(len(parts), int(share * len(parts)), replace=False):
            parts[k] = parts[k].roll(1, 0)
        structures.forces = torch.cat(parts)

    return fault


def other_settings(structures, sizes, generator):
    structures.energy[[7, 30]] += 2.0


def constraint(structures, sizes, generator):
    forces = torch.stack(structures.forces.split(sizes.tolist()))
    forces[:, :2] = 0
    structures.forces = forces.flatten(0, 1)


MOLECULES = {
    "energies in kcal/mol": (scaled(energy=1 / KCAL_MOL), "energies in kcal/mol are read as eV"),
    "energies in Hartree": (scaled(energy=1 / HARTREE), "energies in Hartree are read as eV"),
    "energies in eV": (scaled(energy=KCAL_MOL), "energies in eV are read as kcal/mol"),
    "forces in kcal": (scaled(forces=1 / KCAL_MOL), "forces in kcal/mol/Å are read as eV/Å"),
    "forces of atomic units": (
        scaled(forces=BOHR / HARTREE), "forces in Hartree/Bohr are read as eV/Å",
    ),
    "forces per Bohr": (scaled(forces=BOHR), "forces in eV/Bohr are read as eV/Å"),
    "positions in Bohr": (scaled(pos=1 / BOHR), "positions in Bohr are read as Å"),
    "gradient": (scaled(forces=-1.0), "--forces-key=-NAME"),
    "shuffled energies": (shuffled_energies, "rows in another order"),
    "permuted atoms": (permuted_atoms(1.0), "in another order"),
    "some permuted atoms": (permuted_atoms(0.05), "in another order"),
    "constraint": (constraint, "constraints set them to zero"),
    "other settings": (other_settings, "other settings"),
}  # fmt: skip
CRYSTALS = {
    "GPa": (scaled(stress=1 / GIGAPASCAL), "stresses in GPa are read as eV/Å"),
    "kbar": (scaled(stress=10 / GIGAPASCAL), "stresses in kbar are read as eV/Å"),
    "pressure": (scaled(stress=-1.0), "--stress-key=-NAME"),
    "virial": (
        lambda s, sizes, g: s.update(
            {"stress": -s.stress * torch.linalg.det(s.cell).abs().reshape(-1, 1, 1)}
        ),
        "not divided by the volume",
    ),
    "energies in kcal/mol": MOLECULES["energies in kcal/mol"],
    "gradient": MOLECULES["gradient"],
    "forces per Bohr": MOLECULES["forces per Bohr"],
    "shuffled energies": MOLECULES["shuffled energies"],
}


def test_molecules_without_faults(molecules):
    report = check_data(molecules)
    assert report.findings == []
    assert "energies change 1" in report.facts[0] or "energies change 0.9" in report.facts[0]


@pytest.mark.parametrize("name", MOLECULES)
def test_faults_of_molecules(molecules, name):
    fault, cause = MOLECULES[name]
    report = check_data(planted(molecules, fault))
    assert any(cause in finding.cause for finding in report.findings), str(report)


def test_crystals_without_faults(crystals):
    report = check_data(crystals)
    assert report.findings == []
    assert len(report.facts) == 2


@pytest.mark.parametrize("name", CRYSTALS)
def test_faults_of_crystals(crystals, name):
    fault, cause = CRYSTALS[name]
    report = check_data(planted(crystals, fault))
    assert any(cause in finding.cause for finding in report.findings), str(report)


def computed(atoms, calculator, number=30, rattle=0.05, keep=lambda atoms: atoms):
    """Rattled structures with labels, without stress."""
    generator, structures = np.random.default_rng(1), []
    for _ in range(number):
        rattled = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        rattled.positions += generator.normal(scale=rattle, size=rattled.positions.shape)
        rattled.calc = calculator
        energy, forces = rattled.get_potential_energy(), rattled.get_forces()
        structure = from_ase(keep(rattled.copy()))
        structure.energy = torch.tensor([energy], dtype=torch.float64)
        structure.forces = torch.from_numpy(forces)
        structures.append(structure)
    return structures


def slab():
    return fcc111("Cu", (2, 2, 3), vacuum=6.0)


def wrapped(atoms):
    """Atoms that have left through one side and come in through the other."""
    atoms.positions += [1.0, 2.0, 0.0]
    atoms.wrap()
    return atoms


def wire():
    return Atoms("Cu4", [[0, 0, 2.5 * k] for k in range(4)], cell=[0, 0, 10], pbc=[0, 0, 1])


def symmetric_copper():
    """Crystals of four layers, two of which move apart, so that the others stay without force."""
    structures = []
    for step in np.linspace(0.01, 0.1, 12):
        atoms = bulk("Cu", cubic=True) * (1, 1, 2)
        atoms.positions[[1, 5], 2] += [step, -step]
        (structure,) = computed(atoms, EMT(), 1, 0.0)
        structure.forces[structure.forces.abs() < 1e-6] = 0.0
        structures.append(structure)
    return structures


def nitrogen():
    """Stretched by up to 0.3 Å; the force constant of this bond is 143 eV/Å²."""
    bond = MorsePotential(epsilon=9.8, rho0=2.96, r0=1.1, rcut1=40, rcut2=50)
    lengths = np.linspace(1.0, 1.3, 40)
    return [computed(Atoms("N2", [[0, 0, 0], [0, 0, r]]), bond, 1, 0.0)[0] for r in lengths]


def argon():
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 1, 1)
    return computed(atoms, LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0, smooth=True), 20, 0.1)


def partly_with_stress():
    """Crystals of one cell, two of which have a stress."""
    structures = computed(bulk("Cu", cubic=True), EMT())
    for structure in structures[:2]:
        structure.stress = torch.zeros(1, 3, 3, dtype=torch.float64)
    return structures


@pytest.mark.parametrize(
    "make",
    [
        lambda: computed(slab(), EMT()),
        lambda: computed(slab(), EMT(), keep=wrapped),
        lambda: computed(wire(), EMT()),
        symmetric_copper,
        nitrogen,
        argon,
        partly_with_stress,
    ],
    ids=["slab", "wrapped slab", "wire", "symmetry", "N2", "argon", "some stresses"],
)
def test_structures_of_all_kinds_without_faults(make):
    report = check_data(StructureDataset.from_list(make()))
    assert report.findings == []
    assert "energies change" in report.facts[0]


@pytest.mark.parametrize("make", [slab, wire])
def test_faults_of_slabs_and_wires(make):
    dataset = StructureDataset.from_list(computed(make(), EMT()))
    report = check_data(planted(dataset, scaled(forces=-1.0)))
    assert any("--forces-key=-NAME" in finding.cause for finding in report.findings)


def test_all_in_another_unit_without_atoms_to_compare_with(molecules):
    """Energies that are counted from their mean, so that only force constants tell."""

    def fault(structures, sizes, generator):
        structures.energy = (structures.energy - structures.energy.mean()) / KCAL_MOL
        structures.forces = structures.forces / KCAL_MOL

    report = check_data(planted(molecules, fault))
    assert any("--force-unit" in finding.cause for finding in report.findings)


def test_structures_of_a_fault_are_named(molecules):
    report = check_data(planted(molecules, other_settings))
    assert [finding.structures for finding in report.findings] == [(7, 30)]


def test_work_is_the_change_of_energy(crystals):
    """To third order of the step, in forces and strain."""
    frames = next(groups(crystals))
    near = nearest(frames)[:, 0]
    step = steps(frames, np.arange(frames.size), near)
    error = step.energy - step.work - step.strain_work
    assert np.abs(error).max() < 0.03 * np.abs(step.energy).max()


def test_work_between_turned_and_mirrored_molecules(molecules):
    frames = next(groups(molecules[:50]))
    first, second = np.arange(49), np.arange(1, 50)
    right = steps(frames, first, second)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    for side in (turn, -turn):
        turned = frames._replace(
            pos=np.concatenate([frames.pos[:25], frames.pos[25:] @ side + 3.0]),
            forces=np.concatenate([frames.forces[:25], frames.forces[25:] @ side]),
        )
        np.testing.assert_allclose(steps(turned, first, second).work, right.work, atol=1e-9)


def test_copies_with_other_energies(molecules):
    structures = [molecules[k] for k in (0, 1, 2, 0)]
    structures[3] = structures[3].clone()
    structures[3].energy += 0.1
    (finding,) = check_data(StructureDataset.from_list(structures)).findings
    assert (finding.kind, finding.structures) == ("copies", (0, 3))


def test_splits_that_cut_a_trajectory_at_random():
    file = shared("md17_ethanol_trajectory.npz")
    dataset = AtomsFile(file)
    (finding,) = check_data(dataset, random_split(1000, 800, 100)).findings
    assert "--split blocks" in finding.cause
    assert check_data(dataset, block_split(1000, 600, 100)).findings == []


PUBLISHED = {"md17_ethanol": MOLECULES, "rmd17_aspirin": MOLECULES, "si_crystal": CRYSTALS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fault"), [(name, fault) for name, faults in PUBLISHED.items() for fault in faults]
)
def test_faults_of_published_labels(name, fault):
    plant, cause = PUBLISHED[name][fault]
    report = check_data(planted(AtomsFile(shared(f"{name}.npz")), plant))
    assert any(cause in finding.cause for finding in report.findings), str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_published_labels_have_no_faults(name):
    assert check_data(AtomsFile(shared(f"{name}.npz"))).findings == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ENERGIES)
def test_published_energies_have_no_faults(name):
    file, key = shared(f"{name}.npz"), "E" if name == "qm7" else "U0"
    report = check_data(AtomsFile(file, energy_key=key, energy_unit="Hartree"))
    assert (report.findings, report.untested) == (
        [],
        ["there are no forces to compare the energies with"],
    )
    wrong = check_data(AtomsFile(file, energy_key=key, energy_unit="eV"))
    assert "energies in Hartree are read as eV" in wrong.findings[0].cause


def test_the_command(molecules, tmp_path, capsys):
    write_dataset(tmp_path / "right.npz", [molecules])
    main(["data", "check", str(tmp_path / "right.npz")])
    assert "no faults" in capsys.readouterr().out
    wrong = planted(molecules, scaled(energy=1 / KCAL_MOL))
    write_dataset(tmp_path / "wrong.npz", [wrong])
    with pytest.raises(SystemExit, match="1"):
        main(["data", "check", str(tmp_path / "wrong.npz"), "--json", str(tmp_path / "out.json")])
    findings = json.loads((tmp_path / "out.json").read_text())["findings"]
    assert "energies in kcal/mol are read as eV" in findings[0]["cause"]


def test_structures_alone_are_not_tested(tmp_path):
    report = check_data(Demo("molecules")[:1])
    assert report.untested
    assert report.findings == []

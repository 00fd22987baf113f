"""Periodic systems: energies per atom, forces and stress in one table."""

import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks import crystals

SMALL = (
    "--num-train 6 --num-val 2 --max-steps 4 --validate-every 2 --device cpu --progress false "
    "--model.channels 8 --model.num-layers 1 --model.num-basis 8"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Strained copper and aluminum, the second without stress."""
    folder, rng = tmp_path_factory.mktemp("crystals"), np.random.default_rng(0)
    for element in ("Cu", "Al"):
        frames = []
        for _ in range(12):
            atoms = bulk(element, cubic=True)
            atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
            atoms.rattle(0.05, rng=rng)
            atoms.calc = EMT()
            labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
            if element == "Cu":
                labels["stress"] = atoms.get_stress()
            atoms.calc = SinglePointCalculator(atoms, **labels)
            frames.append(atoms)
        ase.io.write(folder / f"{element}.extxyz", frames)
    return folder


def test_stress_is_trained_and_tested(files, tmp_path, capsys):
    crystals.main(f"--systems Cu --data {files}/Cu.extxyz --out {tmp_path} {SMALL}".split())
    row = json.loads((tmp_path / "results.json").read_text())[-1]
    assert (row["system"], row["num_test"]) == ("Cu", 4)
    assert row["task"] == "energy/atom:100 forces:1 stress:1000"
    for name in ("energy_mae_per_atom_kcal_mol", "force_mae_kcal_mol_A", "stress_mae_GPa"):
        assert row[name] > 0
    header = capsys.readouterr().out.splitlines()[0]
    for words in ("energy per atom, kcal/mol (meV)", "stress, GPa (meV/Å³)"):
        assert words in header
    assert "stress MAE, GPa (meV/Å³)" in (tmp_path / "report.html").read_text()


def test_systems_without_stress_have_the_other_losses(files, tmp_path):
    data = f"{files}/Al.extxyz {files}/Cu.extxyz"
    crystals.main(f"--systems Al Cu --data {data} --out {tmp_path} {SMALL}".split())
    rows = json.loads((tmp_path / "results.json").read_text())
    assert {row["task"] for row in rows} == {"energy/atom:100 forces:1"}
    assert [row["system"] for row in rows] == ["Al", "Al", "Cu", "Cu"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--systems a b --data x.npz", "data names 1 files for 2 systems; give one for each"),
        ("--systems a", "data names 0 files for 1 systems"),
    ],
)
def test_files_are_named(options, message, capsys):
    with pytest.raises(SystemExit) as end:
        crystals.main([*options.split(), *SMALL.split()])
    assert end.value.code == 2
    assert message in capsys.readouterr().err

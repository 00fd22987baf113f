"""The Python of docs/programs.md, each block where its program is installed."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import ase.io
import pytest
from ase.build import molecule

import schnetgeo as sg
from tests.engine.potentials import potential_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "programs.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PACKAGES = ("metatomic_ase", "lammps", "openmmml", "openmm", "ipi", "aoti_load_package")
BEFORE = """import ase.io
import schnetgeo as sg
atoms = ase.io.read("start.xyz")
"""
WATER = """units metal
atom_style atomic
region box block 0 12 0 12 0 12
create_box 2 box
mass 1 16
mass 2 1
pair_style zero 2.0
pair_coeff * *
timestep 0.0002
create_atoms 1 single 6 6 6
create_atoms 2 single 6.76 6.59 6
create_atoms 2 single 5.24 6.59 6
"""
PDB = """HETATM    1  O   HOH A   1       0.000   0.000   0.119  1.00  0.00           O
HETATM    2  H1  HOH A   1       0.000   0.763  -0.477  1.00  0.00           H
HETATM    3  H2  HOH A   1       0.000  -0.763  -0.477  1.00  0.00           H
END
"""


def block(package: str) -> str:
    """The first block that names a package."""
    return next(code for code in BLOCKS if re.search(rf"\b{package}\b", code))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the page takes for granted."""
    path = tmp_path_factory.mktemp("programs")
    potential_of().eval().save(path / "model.safetensors")
    ase.io.write(path / "start.xyz", molecule("H2O"), format="extxyz")
    (path / "in.water").write_text(WATER)
    (path / "molecule.pdb").write_text(PDB)
    return path


def run(code: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=None, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_block_is_known():
    """Those of the socket and of the compiled package have tests of their own."""
    assert len(BLOCKS) == 7
    assert all(any(name in code for name in (*PACKAGES, "tabulate")) for code in BLOCKS)


def test_ase(folder):
    run(BEFORE + BLOCKS[0] + "assert atoms.get_forces().shape == (3, 3)", folder)


def test_metatomic(folder):
    if not find_spec("metatomic_ase"):
        pytest.skip("pip install metatomic-torch")
    code = (
        'import schnetgeo as sg; sg.export.to_metatomic(sg.load("model.safetensors"), "model.pt")'
    )
    run(code, folder)
    code = f"{block('metatomic_ase')}\nassert atoms.get_forces().shape == (3, 3)"
    first, _, rest = code.partition("\n")
    run(f"{first}\n{BEFORE}{rest}", folder)


def test_lammps(folder):
    from schnetgeo.simulate import lammps

    try:
        lammps.start().close()
    except sg.InputError as error:
        pytest.skip(str(error))
    run(block("lammps") + "\nassert lmp.get_natoms() == 3", folder)


def test_openmm(folder):
    if not find_spec("openmm"):
        pytest.skip("pip install 'openmm>=8.4'")
    code = block("openmm") + "\nassert system.getNumForces() == 1\n"
    if find_spec("openmmml"):
        code = BEFORE + code + block("openmmml") + "\nassert system.getNumParticles() == 3"
    run(code, folder)

"""MD22, in the format of its authors, which MD17 has too."""

import numpy as np
import pytest

from schnetgeo.datasets import MD22, load_data
from schnetgeo.datasets.md22 import MOLECULES, SOURCE, MoleculeEntry
from schnetgeo.datasets.source import File
from schnetgeo.errors import InputError
from tests.datasets.published import md17_npz
from tests.datasets.server import serve

FIRST = -4214.774627792057  # eV: -97195.01189948035 kcal/mol of the first frame
FORCE = 1.13747024  # eV/Å: 26.23068692 kcal/mol/Å of its first atom along x
ETHANOL = {1: 6, 6: 2, 8: 1}


@pytest.fixture
def small(monkeypatch):
    """Real frames of ethanol under the name of a larger molecule."""
    monkeypatch.setitem(MOLECULES, "DHA", MoleculeEntry("alcohol", ETHANOL))


@pytest.mark.usefixtures("small")
def test_units(tmp_path):
    (tmp_path / "md22_DHA.npz").write_bytes(md17_npz())
    dataset = MD22(molecule="DHA", file=tmp_path / "md22_DHA.npz")
    assert dataset.name == "MD22 DHA"
    assert len(dataset) == 6
    assert float(dataset[0].energy) == pytest.approx(FIRST, abs=1e-9)
    assert float(dataset[0].forces[0, 0]) == pytest.approx(FORCE, abs=1e-8)


@pytest.mark.usefixtures("small")
def test_downloads_once_from_the_folder_that_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve({"/older/md22_DHA.npz": md17_npz()}) as server:
        url = f"{server.url}{{}}/md22_DHA.npz"
        file = File("md22_DHA.npz", url.format("newer"), (url.format("older"),))
        monkeypatch.setitem(SOURCE.files, "DHA", file)
        for _ in range(2):
            train, _, _ = load_data("MD22", root=tmp_path, molecule="DHA", num_train=4, num_val=1)
            assert len(train.dataset) == 4
    assert server.asked == ["/newer/md22_DHA.npz", "/older/md22_DHA.npz"]
    assert (tmp_path / "MD22" / "DHA.store").is_dir()


def test_file_of_another_molecule(tmp_path):
    (tmp_path / "own.npz").write_bytes(md17_npz())
    with pytest.raises(InputError, match="structure 0 is C2H6O, but DHA is C22H32O2; it is the"):
        MD22(molecule="DHA", file=tmp_path / "own.npz")
    with pytest.raises(InputError, match="unknown molecule 'ethanol'; known: Ac-Ala3-NHMe, DHA"):
        MD22(molecule="ethanol")


def test_file_without_forces(tmp_path):
    np.savez(tmp_path / "own.npz", z=[1, 1], R=np.zeros((1, 2, 3)) + [[0], [0.7]], E=[[-700.0]],
             name="H2", r_unit="Ang", e_unit="kcal/mol")  # fmt: skip
    with pytest.raises(InputError, match="own.npz: has no forces; it is not a file of MD22"):
        MD22(molecule="AT-AT", file=tmp_path / "own.npz")


def test_addresses():
    files = SOURCE.files
    folder = "www.quantum-machine.org/gdml/"
    assert files["AT-AT"].url == f"https://{folder}repo/datasets/md22_AT-AT.npz"
    nanotube = files["double-walled_nanotube"]
    assert nanotube.url.endswith("repo/datasets/md22_double-walled_nanotube.npz")
    assert f"http://{folder}data/npz/md22_dw_nanotube.npz" in nanotube.mirrors


@pytest.mark.parametrize(
    ("molecule", "atoms"), [("Ac-Ala3-NHMe", 42), ("DHA", 56), ("stachyose", 87)]
)
def test_compositions(molecule, atoms):
    assert sum(MOLECULES[molecule].composition.values()) == atoms

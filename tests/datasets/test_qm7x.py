"""QM7-X, real records in the published format."""

import lzma

import numpy as np
import pytest

from schnetgeo.datasets import QM7X, AtomsFile, load_data
from schnetgeo.datasets.qm7x import DUPLICATES, SOURCE
from schnetgeo.errors import InputError
from tests.datasets.server import serve
from tests.shared_data import shared

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
NUMBER = 40  # structures, of four molecules


def records():
    """z, R, E, F and molecule of each structure."""
    with np.load(shared("qm7x_sample.npz")) as file:
        ends = np.cumsum(file["N"].astype(int))[:NUMBER]
        rows = [slice(int(end) - int(n), int(end)) for end, n in zip(ends, file["N"], strict=False)]
        return [(file["Z"][r], file["R"][r], float(e), file["F"][r], int(m)) for r, e, m in zip(
            rows, file["E"], file["mol"], strict=False)]  # fmt: skip


@pytest.fixture
def published(tmp_path):
    """The file of the first molecules, and a list with one of their equilibria."""
    path = tmp_path / "published" / "1000.hdf5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        for k, (z, pos, energy, forces, molecule) in enumerate(records()):
            name = f"Geom-m{molecule}-i1-c{k % 10 // 5 + 1}-{'opt' if k % 5 == 0 else k % 5}"
            group = file.create_group(f"{molecule:04d}/{name}")
            content = {"atNUM": z, "atXYZ": pos, "ePBE0+MBD": [energy], "totFOR": forces,
                       "hCHG": np.zeros((len(z), 1)), "eMBD": [1.0]}  # fmt: skip
            for key, value in content.items():
                group[key] = value
    duplicate = f"Geom-m{records()[0][4]}-i1-c2-opt"
    (path.parent / "DupMols.dat").write_text(f"{duplicate}\n")
    return path


def by_energy(energies):
    return sorted(float(energy) for energy in energies)


def test_real_records(tmp_path, published):
    dataset = QM7X(tmp_path / "data", keep_duplicates=True, file=published)
    expected = {energy: (z, pos, f, m) for z, pos, energy, f, m in records()}
    assert by_energy(dataset.get_property("energy")) == sorted(expected)
    for data in dataset:
        z, pos, forces, molecule = expected[float(data.energy)]
        assert data.z.tolist() == z.tolist()
        np.testing.assert_allclose(data.pos.numpy(), pos)
        np.testing.assert_allclose(data.forces.numpy(), forces)
        assert int(data.molecule) == molecule
    assert not (tmp_path / "data").exists()
    energies = AtomsFile(published).get_property("energy")
    assert by_energy(energies) == by_energy(dataset.get_property("energy"))


def test_duplicates_are_left_out(tmp_path, published):
    dataset = QM7X(tmp_path / "data", file=published)
    assert len(dataset) == NUMBER - 5
    first = records()[0][4]
    assert int((dataset.get_property("molecule") == first).sum()) == 5


def test_downloads_once(tmp_path, monkeypatch, published):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    listed = (published.parent / "DupMols.dat").read_bytes()
    answers = {"/1000": lzma.compress(published.read_bytes()), f"/{DUPLICATES}": listed}
    with serve(answers) as server:
        for key, file in dict(SOURCE.files).items():
            small = file._replace(url=server.url + key, checksum=None)
            if f"/{key}" in answers:
                monkeypatch.setitem(SOURCE.files, key, small)
            else:
                monkeypatch.delitem(SOURCE.files, key)
        for _ in range(2):
            train, _, test = load_data("QM7X", root=tmp_path / "d", num_train=20, num_val=5)
            assert (len(train.dataset), len(test.dataset)) == (20, 10)
    assert server.asked == ["/1000", "/DupMols"]


def test_files_that_cannot_be(tmp_path, published):
    broken = tmp_path / "published" / "2000.xz"
    broken.write_bytes(lzma.compress(published.read_bytes())[:-100])
    with pytest.raises(InputError, match="2000.xz: is damaged .*; get a fresh copy"):
        QM7X(tmp_path / "data", file=broken)
    with pytest.raises(InputError, match="lost.hdf5: no such file; check the name"):
        QM7X(tmp_path / "data", file=tmp_path / "lost.hdf5")
    (tmp_path / "text.hdf5").write_text("QM7-X")
    with pytest.raises(InputError, match="text.hdf5: is no file of QM7-X .*; get a fresh copy"):
        QM7X(keep_duplicates=True, file=tmp_path / "text.hdf5")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["ethanol/atomic_numbers/a"] = [1]
    with pytest.raises(InputError, match="other.hdf5, /ethanol/atomic_numbers: has no atNUM"):
        QM7X(keep_duplicates=True, file=tmp_path / "other.hdf5")
    with h5py.File(published, "a") as file:
        group = file[next(iter(file))]
        name = next(iter(group))
        del group[name]["totFOR"]
    with pytest.raises(InputError, match=f"{name}: has no totFOR; get a fresh copy"):
        QM7X(tmp_path / "data", keep_duplicates=True, file=published)

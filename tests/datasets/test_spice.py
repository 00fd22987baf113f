"""SPICE and ANI-1x in the format of their files."""

import numpy as np
import pytest

from schnetgeo.datasets import SPICE, ANI1x, ani1x, load_data, spice
from schnetgeo.errors import InputError
from schnetgeo.units import BOHR, HARTREE
from tests.datasets.archives import ENERGY, FORCE, FRAMES, ethanol
from tests.datasets.server import serve

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::schnetgeo.notes.DataNote")


def write(path, groups, units):
    with h5py.File(path, "w") as file:
        for name, arrays in groups.items():
            for key, values in arrays.items():
                data = file.create_dataset(f"{name}/{key}", data=values)
                if key in units:
                    data.attrs["units"] = units[key]
    return path


def spice_file(path):
    """Ethanol and hydrogen, with some of what SPICE has beside energies and gradients."""
    arrays, hydrogen = ethanol(), np.array([[[0.0, 0, 0], [0, 0, 0.74]]])
    groups = {
        "ethanol": (arrays["z"], arrays["R"], arrays["E"], -arrays["F"]),
        "h2": ([1, 1], hydrogen, [-31.8], np.zeros((1, 2, 3))),
    }
    names = ("conformations", "dft_total_energy", "dft_total_gradient")
    scales = (BOHR, HARTREE, HARTREE / BOHR)
    content = {
        molecule: {
            "atomic_numbers": values[0],
            **{n: np.asarray(v) / s for n, v, s in zip(names, values[1:], scales, strict=True)},
            "smiles": np.array([molecule], "S"),
            "subset": np.array([b"SPICE PubChem Set 1 Single Points Dataset v1.3"]),
            "mbis_charges": np.zeros((len(values[1]), len(values[0]), 1)),
            "scf_dipole": np.zeros((len(values[1]), 3)),
        }
        for molecule, values in groups.items()
    }
    units = {"conformations": "bohr", "dft_total_energy": "hartree",
             "dft_total_gradient": "hartree/bohr"}  # fmt: skip
    return write(path, content, units)


def ani1x_file(path, lacking=2):
    """Ethanol, one of whose energies was not computed."""
    arrays = ethanol()
    energy = np.where(np.arange(FRAMES) == lacking, np.nan, arrays["E"]) / HARTREE
    content = {
        "atomic_numbers": arrays["z"],
        "coordinates": arrays["R"],
        "wb97x_dz.energy": energy,
        "wb97x_dz.forces": arrays["F"] / HARTREE,
        "wb97x_tz.forces": arrays["F"] / HARTREE + 1,
        "wb97x_dz.cm5_charges": np.zeros((FRAMES, 9)),
        **{name: np.full(FRAMES, np.nan) for name in ani1x.OTHER_LEVELS if name != "path"},
        "path": np.array([b"GDB"] * FRAMES),
    }
    return write(path, {"C2H6O1": content}, {})


def test_spice(tmp_path):
    dataset = SPICE(tmp_path / "data", spice_file(tmp_path / "own.hdf5"))
    assert dataset.num_atoms.tolist() == [9] * FRAMES + [2]
    assert float(dataset[0].energy) == pytest.approx(ENERGY)
    assert float(dataset[0].forces[0, 0]) == pytest.approx(FORCE)
    assert dataset.get_property("smiles") == ["ethanol"] * FRAMES + ["h2"]
    assert not (tmp_path / "data").exists()


def test_ani1x(tmp_path):
    dataset = ANI1x(tmp_path / "data", ani1x_file(tmp_path / "own.h5"))
    assert len(dataset) == FRAMES
    assert float(dataset[0].energy) == pytest.approx(ENERGY)
    assert float(dataset[0].forces[0, 0]) == pytest.approx(FORCE)
    assert dataset.get_property("energy_mask").tolist() == [k != 2 for k in range(FRAMES)]
    assert {"energy", "forces", "z", "pos"} <= set(dataset.packed.keys())
    assert not any("." in name for name in dataset.packed.keys())


@pytest.mark.parametrize(
    ("module", "name", "key", "write_file"),
    [(spice, "SPICE", "2.0.1", spice_file), (ani1x, "ANI1x", "release", ani1x_file)],
)
def test_downloads_once(tmp_path, monkeypatch, module, name, key, write_file):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    content = write_file(tmp_path / "own.hdf5").read_bytes()
    file = module.SOURCE.files[key]
    with serve({"/file": content}) as server:
        changes = {"url": server.url + "file", "mirrors": (), "size": len(content)}
        monkeypatch.setitem(module.SOURCE.files, key, file._replace(**changes))
        with pytest.raises(InputError, match=f"md5 checksum .* but {file.name} has"):
            load_data(name, root=tmp_path / "data", num_train=3, num_val=1)
        monkeypatch.setitem(module.SOURCE.files, key, file._replace(**changes, checksum=None))
        for _ in range(2):
            train, val, _ = load_data(name, root=tmp_path / "data", num_train=3, num_val=1)
            assert (len(train.dataset), len(val.dataset)) == (3, 1)
    assert server.asked == ["/file"] * 2


@pytest.mark.parametrize(
    ("dataset", "file", "message"),
    [
        (
            SPICE,
            ani1x_file,
            "group /C2H6O1: has no 'dft_total_energy'; it has atomic_n",
        ),
        (
            ANI1x,
            spice_file,
            "group /ethanol: has no 'wb97x_dz.energy'; it has atomic_n",
        ),
    ],
)
def test_file_of_another_set(tmp_path, dataset, file, message):
    with pytest.raises(InputError, match=message):
        dataset(file=file(tmp_path / "own.hdf5"))

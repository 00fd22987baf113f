"""HDF5 in the layouts of ANI, SPICE and QM7-X."""

import tracemalloc

import numpy as np
import pytest
import torch

from schnetgeo.datasets import AtomsFile
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from schnetgeo.units import BOHR, HARTREE
from tests.datasets.archives import ENERGY, FORCE, FRAMES, ethanol

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
HYDROGEN = np.array([[[0.0, 0, 0], [0, 0, 0.74]]])  # Å


def molecule(**names):
    """Ethanol in Hartree and Bohr, arrays by the names that are given."""
    arrays = ethanol()
    values = {
        "z": arrays["z"], "R": arrays["R"] / BOHR, "E": arrays["E"] / HARTREE,
        "F": arrays["F"] / HARTREE * BOHR, "R_A": arrays["R"], "F_A": arrays["F"] / HARTREE,
    }  # fmt: skip
    return {name: values[key] for name, key in names.items()}


def write(path, groups, units=None):
    with h5py.File(path, "w") as file:
        for name, arrays in groups.items():
            group = file.create_group(name)
            for key, values in arrays.items():
                data = group.create_dataset(key, data=values)
                if units and key in units:
                    data.attrs["units"] = units[key]
    return path


def spice(path, **more):
    arrays = molecule(atomic_numbers="z", conformations="R", dft_total_energy="E")
    arrays["dft_total_gradient"] = -molecule(F="F")["F"]
    hydrogen = {
        "atomic_numbers": [1, 1],
        "conformations": HYDROGEN / BOHR,
        "dft_total_energy": [-1.17],
        "dft_total_gradient": np.zeros((1, 2, 3)),
    }
    for group, name in ((arrays, "ethanol"), (hydrogen, "h2")):
        group |= {"smiles": np.array([name], "S"), "subset": np.array([b"demo"])}
        group["mbis_charges"] = np.zeros((len(group["conformations"]), 9, 1))
    units = {"conformations": "bohr", "dft_total_energy": "hartree",
             "dft_total_gradient": "hartree/bohr"}  # fmt: skip
    return write(path, {"ethanol": arrays, "h2": hydrogen}, units | more)


def test_spice(tmp_path):
    with pytest.warns(DataNote, match=r"spice.hdf5: left out mbis_charges of 7 of 7 structures"):
        dataset = AtomsFile(spice(tmp_path / "spice.hdf5"))
    assert dataset.num_atoms.tolist() == [9] * FRAMES + [2]
    assert dataset.get_property("smiles") == ["ethanol"] * FRAMES + ["h2"]
    first = dataset[0]
    assert float(first.energy) == pytest.approx(ENERGY)
    assert float(first.forces[0, 0]) == pytest.approx(FORCE)
    torch.testing.assert_close(first.pos, torch.from_numpy(ethanol()["R"][0]))
    torch.testing.assert_close(dataset[FRAMES].pos, torch.from_numpy(HYDROGEN[0]))


def test_stated_units_come_first(tmp_path):
    path = spice(tmp_path / "spice.hdf5", dft_total_energy="meV")
    assert float(AtomsFile(path)[0].energy) == pytest.approx(ENERGY / HARTREE / 1000)
    with pytest.raises(InputError, match="group /ethanol: states 'hartree' as unit of its energ"):
        AtomsFile(spice(tmp_path / "spice.hdf5"), energy_unit="eV")


def test_ani1x_without_some_labels(tmp_path):
    arrays = molecule(
        **{"atomic_numbers": "z", "coordinates": "R_A", "wb97x_dz.energy": "E",
           "wb97x_dz.forces": "F_A"}
    )  # fmt: skip
    arrays["wb97x_dz.energy"] = np.where(np.arange(FRAMES) == 2, np.nan, arrays["wb97x_dz.energy"])
    hydrogen = {
        "atomic_numbers": [1, 1],
        "coordinates": HYDROGEN,
        "wb97x_dz.energy": [np.nan],
        "wb97x_dz.forces": np.zeros((1, 2, 3)),
    }
    path = write(tmp_path / "ani1x.h5", {"C2H6O": arrays, "H2": hydrogen})
    with pytest.warns(DataNote) as notes:
        dataset = AtomsFile(path)
    texts = " ".join(str(n.message) for n in notes)
    assert f"of {FRAMES + 1} structures 2 have no energy; they are kept" in texts
    assert "taken in Hartree, " in texts
    assert "as ANI-1x is published" in texts
    assert dataset.get_property("energy_mask").tolist() == [
        k not in (2, FRAMES) for k in range(FRAMES + 1)
    ]
    assert not dataset.has_property("forces_mask")
    assert float(dataset[0].energy) == pytest.approx(ENERGY)
    assert float(dataset[0].forces[0, 0]) == pytest.approx(FORCE)


def test_ani1_has_symbols(tmp_path):
    arrays = molecule(coordinates="R_A", energies="E") | {"energiesHE": np.zeros(0)}
    arrays["species"] = np.array([b"C", b"C", b"O"] + [b"H"] * 6)
    path = write(tmp_path / "ani1.h5", {"gdb11_s03/gdb11_s03-1": arrays})
    assert float(AtomsFile(path, drop=("energiesHE2",))[0].energy) == pytest.approx(ENERGY)


def test_single_structures(tmp_path):
    arrays = {k: v[0] if k != "atNUM" else v for k, v in molecule(atNUM="z", atXYZ="R_A").items()}
    labels = {"ePBE0+MBD": [ENERGY], "totFOR": ethanol()["F"][0]}
    path = write(tmp_path / "qm7x.hdf5", {"0001/Geom-m1-i1-c1-opt": arrays | labels})
    data = AtomsFile(path)[0]
    assert float(data.energy) == pytest.approx(ENERGY)
    assert float(data.forces[0, 0]) == pytest.approx(FORCE)


RAGGED = {
    "Z": [1, 1, 8, 1, 1],
    "R": np.eye(5, 3) * 9 + np.arange(5)[:, None],
    "N": [2, 3],
    "F": np.arange(15.0).reshape(5, 3),
}
UNITS = dict(energy_unit="eV", force_unit="eV/Angstrom", length_unit="Angstrom")


def test_ragged_without_energies_is_several_structures(tmp_path):
    path = write(tmp_path / "own.h5", {"a": RAGGED})
    dataset = AtomsFile(path, force_unit="eV/Angstrom", length_unit="Angstrom")
    assert dataset.num_atoms.tolist() == [2, 3]
    assert dataset[1].z.tolist() == [8, 1, 1]
    np.testing.assert_array_equal(dataset[1].forces, RAGGED["F"][2:])


@pytest.mark.parametrize("label", ["E", "F"])
def test_labels_that_are_nan_are_left_out_by_a_mask(tmp_path, label):
    arrays = RAGGED | {"E": np.array([-1.0, -2.0]), "F": RAGGED["F"].copy()}
    arrays[label][0] = np.nan  # of the forces, those of one atom
    path = write(tmp_path / "own.h5", {"a": arrays, "b": RAGGED | {"E": np.array([-3.0, -4.0])}})
    name = {"E": "energy", "F": "forces"}[label]
    with pytest.warns(DataNote, match=f"of 4 structures 1 have no {name}; they are kept"):
        dataset = AtomsFile(path, **UNITS)
    assert dataset.num_atoms.tolist() == [2, 3] * 2
    assert [k for k in ("energy", "forces") if dataset.has_property(f"{k}_mask")] == [name]
    assert dataset.get_property(f"{name}_mask").tolist() == [False, True, True, True]
    assert bool(dataset[0][name].isnan().all())
    np.testing.assert_array_equal(dataset[1].forces, RAGGED["F"][2:])
    assert dataset.get_property("energy")[1:].tolist() == [-2, -3, -4]


def test_a_label_that_is_infinite_is_refused(tmp_path):
    path = write(tmp_path / "own.h5", {"a": RAGGED | {"E": [np.inf, -2.0]}})
    with pytest.raises(InputError, match="structure 0: energy is inf"):
        AtomsFile(path, **UNITS)


def test_labels_of_later_groups_are_reviewed(tmp_path):
    arrays = molecule(z="z", R="R_A", E="E", F="F")
    first = {k: v for k, v in arrays.items() if k != "F"} | {"E": ethanol()["E"]}
    path = write(tmp_path / "own.h5", {"a": first, "b": first | {"F": arrays["F"] * 1e4}})
    with pytest.warns(DataNote, match="group /b: half of the forces are above"):
        dataset = AtomsFile(path, **UNITS)
    assert dataset.get_property("forces_mask").tolist() == [False] * FRAMES + [True] * FRAMES


def test_group_of_one_atom(tmp_path):
    """A single structure of one atom has arrays like those of one conformation, an axis less."""
    atom = {"Z": [8], "R": np.ones((1, 3)), "E": [-5.0], "F": np.zeros((1, 3)), "charges": [0.5]}
    water = {"Z": [8, 1, 1], "R": np.eye(3), "E": [-7.0], "F": np.eye(3), "charges": np.ones(3)}
    path = write(tmp_path / "own.h5", {"a": atom, "b": water})
    with pytest.warns(DataNote, match=r"left out charges of 2 of 2"):
        dataset = AtomsFile(path, **UNITS)
    assert dataset.num_atoms.tolist() == [1, 3]
    assert dataset[0].pos.tolist() == [[1, 1, 1]]
    assert dataset.get_property("energy").tolist() == [-5, -7]


def test_known_set_without_its_forces(tmp_path):
    path = spice(tmp_path / "spice.hdf5")
    dataset = AtomsFile(path, drop=("dft_total_gradient",))
    assert float(dataset[0].energy) == pytest.approx(ENERGY)
    assert not dataset.has_property("forces")
    with pytest.raises(InputError, match="no group of this HDF5 file holds both atomic numbers"):
        AtomsFile(path, drop=("conformations",))


def test_flat_file_with_names_and_units_given(tmp_path):
    path = write(tmp_path / "own.h5", {"/all": molecule(z="z", R="R", U="E", grad="F")})
    options = dict(energy_key="U", forces_key="-grad")
    with pytest.raises(InputError, match="own.h5, group /all: does not state the unit of its pos"):
        AtomsFile(path, **options)
    units = dict(energy_unit="Hartree", force_unit="Hartree/Bohr", length_unit="Bohr")
    data = AtomsFile(path, **options, **units)[0]
    assert float(data.energy) == pytest.approx(ENERGY)
    assert float(data.forces[0, 0]) == pytest.approx(-FORCE)


def test_what_is_refused(tmp_path):
    path = tmp_path / "own.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 200)
    with pytest.raises(InputError, match="own.h5: cannot be read as HDF5"):
        AtomsFile(path)
    write(path, {"a": {"x": [1.0]}})
    with pytest.raises(InputError, match="no group of this HDF5 file holds both atomic numbers"):
        AtomsFile(path)
    with pytest.raises(InputError, match="lost.h5: no such file"):
        AtomsFile(tmp_path / "lost.h5")


def test_what_claims_more_than_is_stored(tmp_path):
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file["z"] = [1, 1]
        file.create_dataset("R", (10**10, 2, 3), chunks=(10**5, 2, 3))
    with pytest.raises(InputError, match="own.h5, group /: R claims 240,000,000,000 bytes"):
        AtomsFile(path)


def test_links_to_other_files_are_not_followed(tmp_path):
    write(tmp_path / "other.h5", {"a": molecule(z="z", R="R", E="E")})
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["b"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/a")
    with pytest.raises(InputError, match="no group of this HDF5 file"):
        AtomsFile(tmp_path / "own.h5")


def with_texts(path, texts, kind=None):
    """Water in as many conformations as there are texts, or as 20,000."""
    count = len(texts) if isinstance(texts, list) else 20_000
    with h5py.File(path, "w") as file:
        group = file.create_group("water")
        group["atomic_numbers"] = [8, 1, 1]
        pos = np.tile(np.array([[0, 0, 0.1], [0, 0.8, -0.5], [0, -0.8, -0.5]]), (count, 1, 1))
        group.create_dataset("positions", data=pos, compression="gzip")
        group.create_dataset("energy", data=np.zeros(count), compression="gzip")
        group.create_dataset("text", data=texts, dtype=kind or h5py.string_dtype())
        group["energy"].attrs["units"] = "eV"
        group["positions"].attrs["units"] = "Angstrom"
        return group["text"].id.get_offset()


@pytest.mark.filterwarnings("ignore")
def test_a_long_text_makes_others_no_longer(tmp_path):
    texts = ["x" * 10**5] + [str(k) for k in range(999)]
    with_texts(tmp_path / "a.h5", texts)
    tracemalloc.start()
    dataset = AtomsFile(tmp_path / "a.h5")
    assert tracemalloc.get_traced_memory()[1] < 2e7  # 4e8 in an array of NumPy's
    tracemalloc.stop()
    assert dataset.get_property("text") == texts


def test_texts_in_one_place_of_the_file_are_refused(tmp_path):
    """Each a reference of 16 bytes to the same 100,000 letters."""
    path = tmp_path / "a.h5"
    place = with_texts(path, ["x" * 10**5] + ["y"] * 5000)
    content = bytearray(path.read_bytes())
    content[place : place + 16 * 5001] = content[place : place + 16] * 5001
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"group /water: text holds longer texts than the file"):
        AtomsFile(path)


@pytest.mark.parametrize("kind", [None, "S10000"])
def test_one_text_for_very_many_is_refused(tmp_path, kind):
    with_texts(tmp_path / "a.h5", "x" * 10**4, kind)
    with pytest.raises(InputError, match=r"text holds longer texts than the file can; .*drop"):
        AtomsFile(tmp_path / "a.h5")
    assert len(AtomsFile(tmp_path / "a.h5", drop=("text",))) == 20_000


def test_lists_of_different_lengths_are_left_out(tmp_path):
    lists = [np.arange(k) for k in range(3)]
    with_texts(tmp_path / "a.h5", lists, h5py.vlen_dtype(np.int64))
    with pytest.warns(DataNote, match=r"left out text of 3 of 3"):
        dataset = AtomsFile(tmp_path / "a.h5")
    assert not dataset.has_property("text")


@pytest.mark.parametrize("longest", ["C", "x" * 10**6])
def test_symbols_as_texts(tmp_path, longest):
    path = tmp_path / "a.h5"
    with_texts(path, ["a"])
    with h5py.File(path, "a") as file:
        del file["water/atomic_numbers"]
        file["water"].create_dataset("species", data=["O", "H", longest], dtype=h5py.string_dtype())
    if longest == "C":
        assert AtomsFile(path).get_property("z").tolist() == [8, 1, 6]
    else:
        with pytest.raises(InputError, match="species holds 'xxxx.*no symbol of an element"):
            AtomsFile(path)

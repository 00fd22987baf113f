"""Labels of any target from every kind of file, by name and unit."""

import json

import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from torch_geometric.data import Data

import schnetgeo as sg
from schnetgeo.cli import main
from schnetgeo.data import Structure, from_ase, to_ase
from schnetgeo.data.further_labels import Label
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.store import OnDiskDataset
from schnetgeo.datasets import AtomsFile, from_pyg
from schnetgeo.datasets.write import write_dataset
from schnetgeo.errors import InputError
from schnetgeo.targets import Target
from schnetgeo.units import BOHR, DEBYE, HARTREE

NAMES = ("H2O", "CH3CH2OH", "CH4")
SIZES = (3, 9, 5)
SHIFT = Target("shift", "ppm", per="atom", extensive=False)
LABELS = (
    "dipole=mu_ref:Debye",
    "charges=hirshfeld:e",
    "gap=HOMO_LUMO:Hartree",
    Label("polarizability", "alpha_tensor", "Å^3"),
    Label(SHIFT, "-nmr", "ppm"),
)


def values():
    """What the files say of each structure, in their units."""
    generator = np.random.default_rng(0)
    return [
        {
            "mu_ref": generator.normal(size=3),
            "hirshfeld": generator.normal(size=size).round(6),  # of eight decimals that ASE writes
            "HOMO_LUMO": float(generator.normal()),
            "alpha_tensor": np.arange(9.0).reshape(3, 3) + size,  # not symmetric
            "nmr": generator.normal(size=size).round(6),
        }
        for size in SIZES
    ]


def frames(rows):
    molecules = []
    for name, row in zip(NAMES, rows, strict=True):
        atoms = molecule(name)
        for key, value in row.items():
            if np.shape(value)[:1] == (len(atoms),) and key in ("hirshfeld", "nmr"):
                atoms.arrays[key] = value
            else:
                atoms.info[key] = value
        molecules.append(atoms)
    return molecules


def extxyz(path, rows):
    ase.io.write(path / "own.extxyz", frames(rows), format="extxyz")
    return path / "own.extxyz"


def database(path, rows):
    with connect(path / "own.db", use_lock_file=False) as rows_of:
        for atoms, row in zip(frames(rows), rows, strict=True):
            rows_of.write(atoms, data=row)
    return path / "own.db"


def schnetpack(path, rows):
    file = database(path, rows)
    units = {"mu_ref": "Debye", "hirshfeld": "e", "HOMO_LUMO": "Hartree",
             "alpha_tensor": "Ang^3", "nmr": "ppm"}  # fmt: skip
    connect(file, use_lock_file=False).metadata = {
        "_property_unit_dict": units, "_distance_unit": "Ang",
    }  # fmt: skip
    return file


def ragged(path, rows):
    atoms = [molecule(name) for name in NAMES]
    arrays = {key: np.stack([row[key] for row in rows]) for key in rows[0] if key not in
              ("hirshfeld", "nmr")}  # fmt: skip
    arrays |= {key: np.concatenate([row[key] for row in rows]) for key in ("hirshfeld", "nmr")}
    np.savez(
        path / "own.npz", N=SIZES, Z=np.concatenate([one.numbers for one in atoms]),
        R=np.concatenate([one.positions for one in atoms]), r_unit="Angstrom", **arrays,
    )  # fmt: skip
    return path / "own.npz"


def hdf5(path, rows):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(path / "own.h5", "w") as file:
        for k, (name, row) in enumerate(zip(NAMES, rows, strict=True)):
            group = file.create_group(f"{k}")
            group["atomic_numbers"] = molecule(name).numbers
            group["coordinates"] = molecule(name).positions
            group["coordinates"].attrs["units"] = "Angstrom"
            for key, value in row.items():
                group[key] = value
    return path / "own.h5"


def store(path, rows):
    structures = []
    for atoms, row in zip(frames(rows), rows, strict=True):
        data = from_ase(atoms, drop=tuple(row))
        for key, value in row.items():
            per_atom = key in ("hirshfeld", "nmr")
            data[key] = torch.from_numpy(np.array(value if per_atom else [value]))
        structures.append(data)
    write_dataset(path / "own.store", [StructureDataset.from_list(structures)])
    return path / "own.store"


FILES = [extxyz, database, schnetpack, ragged, hdf5, store]


def read(file, labels=LABELS):
    if file.suffix == ".store":
        from schnetgeo.data.dataset_labels import with_labels
        from schnetgeo.data.further_labels import label_readers

        return with_labels(OnDiskDataset(file), label_readers(labels))
    return AtomsFile(file, labels=labels)


def check(dataset, rows):
    expected = [("dipole", "mu_ref", DEBYE), ("gap", "HOMO_LUMO", HARTREE),
                ("polarizability", "alpha_tensor", BOHR**-3)]  # fmt: skip
    for name, key, factor in expected:
        right = torch.from_numpy(np.stack([row[key] for row in rows])) * factor
        torch.testing.assert_close(dataset.get_property(name), right, rtol=1e-12, atol=0)
    for name, key, factor in (("charges", "hirshfeld", 1.0), ("shift", "nmr", -1.0)):
        right = torch.from_numpy(np.concatenate([row[key] for row in rows])) * factor
        torch.testing.assert_close(dataset.get_property(name), right, rtol=1e-12, atol=0)
    batch = dataset.batch([2, 0])
    assert batch.shift.shape == (8,)
    assert batch.dipole.shape == (2, 3)
    torch.testing.assert_close(batch[1].shift, -torch.from_numpy(rows[0]["nmr"]))
    names = {"dipole", "charges", "gap", "polarizability", "shift"}
    assert {target.name for target in dataset.labels} == names


@pytest.mark.filterwarnings("ignore::schnetgeo.notes.DataNote")
@pytest.mark.parametrize("write", FILES)
def test_labels_of_any_target(tmp_path, write):
    rows = values()
    check(read(write(tmp_path, rows)), rows)


@pytest.mark.filterwarnings("ignore::schnetgeo.notes.DataNote")
@pytest.mark.parametrize("write", FILES)
@pytest.mark.parametrize("ending", [".extxyz", ".db", ".npz", ".store"])
def test_labels_are_written_with_their_units(tmp_path, write, ending):
    rows = values()
    write_dataset(tmp_path / f"again{ending}", [read(write(tmp_path, rows))])
    again = read(
        tmp_path / f"again{ending}",
        ("dipole", "charges", "gap", "polarizability", Label(SHIFT)),
    )
    check(again, rows)


@pytest.mark.filterwarnings("ignore::schnetgeo.notes.DataNote")
@pytest.mark.parametrize("write", [extxyz, database, schnetpack, hdf5])
def test_labels_that_some_structures_lack_have_a_mask(tmp_path, write):
    rows = values()
    lacking = [dict(rows[0]), rows[1], rows[2]]
    del lacking[0]["mu_ref"], lacking[0]["nmr"]
    if write is schnetpack:
        file = database(tmp_path, lacking)
        connect(file, use_lock_file=False).metadata = {
            "_property_unit_dict": {"hirshfeld": "e"}, "_distance_unit": "Ang",
        }  # fmt: skip
    else:
        file = write(tmp_path, lacking)
    dataset = read(file, ("dipole=mu_ref:Debye", "shift/atom=nmr:ppm", "charges=hirshfeld:e"))
    assert dataset.get_property("dipole_mask").tolist() == [False, True, True]
    assert dataset.get_property("shift_mask").tolist() == [False, True, True]
    assert not dataset.has_property("charges_mask")
    assert len(dataset.get_property("shift")[dataset.mask("shift")]) == 14
    assert to_ase(dataset[0]).calc.results.keys() == {"charges"}


def test_nan_of_hdf5_is_a_label_that_is_not_there(tmp_path):
    rows = values()
    rows[1]["nmr"][4] = np.nan
    dataset = read(hdf5(tmp_path, rows), ("shift/atom=nmr:ppm",))
    assert dataset.get_property("shift_mask").tolist() == [True, False, True]
    with pytest.raises(InputError, match=r"own.npz, structure 1: shift\[4\] is nan"):
        read(ragged(tmp_path, rows), ("shift/atom=nmr:ppm",))


def test_results_of_ase_have_its_units():
    atoms = molecule("H2O")
    results = {"dipole": [0.0, 0.0, 0.4], "charges": [-0.6, 0.3, 0.3], "magmoms": [0.0, 0.1, 0.0]}
    atoms.calc = SinglePointCalculator(atoms, **results)
    data = from_ase(atoms, labels=["dipole", "charges", "magmoms"])
    assert data.dipole.tolist() == [[0.0, 0.0, 0.4]]
    assert data.charges.tolist() == results["charges"]
    assert data.magmoms.tolist() == results["magmoms"]
    data = from_ase(atoms, labels=["dipole:Debye"])
    assert data.dipole[0, 2] == pytest.approx(0.4 * DEBYE)


def test_labels_of_pyg_objects():
    objects = [
        Data(z=torch.tensor([8, 1, 1]), pos=torch.rand(3, 3), y=torch.tensor([[1.0, 0.2]]),
             shift=torch.rand(3, 1), mu_vec=torch.rand(1, 3)),
        Data(z=torch.tensor([1, 1]), pos=torch.rand(2, 3), y=torch.tensor([[2.0, 0.3]]),
             shift=torch.rand(2, 1), mu_vec=torch.rand(1, 3)),
    ]  # fmt: skip
    labels = ["dipole=mu_vec:Debye", "mu=a:e*Bohr", "shift:ppm"]
    dataset = from_pyg(objects, columns=["a", "b"], labels=labels)
    assert dataset.get_property("dipole").shape == (2, 3)
    assert dataset.get_property("shift").shape == (5,)
    assert dataset.get_property("mu").tolist() == pytest.approx([BOHR / DEBYE, 2 * BOHR / DEBYE])
    with pytest.raises(InputError, match="has no gap named 'c'; it has .*b"):
        from_pyg(objects, columns=["a", "b"], labels=["gap=c:eV"])


@pytest.mark.filterwarnings("ignore::schnetgeo.notes.DataNote")
@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("dipole=mu_ref", "dipole .'mu_ref'. has no unit in the file; give it, such as e·Å"),
        ("dipole=mu_ref:eV", "dipole .'mu_ref'.: 'eV' cannot be converted to 'e·Å'"),
        ("dipole=mu_ref:furlong", "unknown unit 'furlong'"),
        ("dipole=mu_re:Debye", "has no dipole named 'mu_re'; it has .*mu_ref"),
        ("dipole=nmr:Debye", r"dipole .'nmr'. must be three numbers .* got shape"),
        ("charges=mu_ref:e", r"charges .'mu_ref'. must be one number for each atom, got"),
        ("nothing", "has no nothing named 'nothing'; it has"),
        ("energy=HOMO_LUMO:Hartree", "give energy_key"),
        ("9lives", "'9lives' cannot be the name of a field"),
    ],
)
@pytest.mark.parametrize("write", FILES)
def test_what_is_wrong_with_a_label_is_said(tmp_path, write, label, message):
    if write is schnetpack:
        label = label.partition(":")[0]  # as these files state units
        if label in ("dipole=mu_ref", "dipole=nmr", "charges=mu_ref"):
            return
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, values()), (label,))


def test_a_unit_must_not_contradict_the_file(tmp_path):
    path = schnetpack(tmp_path, values())
    with pytest.raises(InputError, match="is in 'Debye' by its file, but in 'e\\*Bohr' by"):
        read(path, ("dipole=mu_ref:e*Bohr",))


def test_a_target_twice(tmp_path):
    with pytest.raises(InputError, match="'gap' is there twice"):
        read(extxyz(tmp_path, values()), ("gap=HOMO_LUMO:Hartree", "gap=mu_ref:eV"))


def test_three_numbers_of_three_atoms_are_not_guessed(tmp_path):
    water = molecule("H2O")
    np.savez(
        tmp_path / "water.npz", z=water.numbers, R=np.stack([water.positions] * 4),
        value=np.ones((4, 3)), r_unit="Angstrom",
    )  # fmt: skip
    with pytest.raises(InputError, match="value for each atom or each structure; say which"):
        read(tmp_path / "water.npz", ("own=value:ppm",))
    dataset = read(tmp_path / "water.npz", ("own/atom=value:ppm",))
    assert dataset.get_property("own").shape == (12,)
    dataset = read(tmp_path / "water.npz", ("own/structure=value:ppm",))
    assert dataset.get_property("own").shape == (4, 3)


@pytest.mark.filterwarnings("ignore::schnetgeo.notes.DataNote")
@pytest.mark.parametrize("write", FILES)
def test_labels_from_the_shell(tmp_path, write, capsys):
    rows = values()
    out = tmp_path / "out.store"
    labels = ["dipole=mu_ref:Debye", "charges=hirshfeld:e", "shift/atom=-nmr:ppm"]
    main(["data", "convert", str(write(tmp_path, rows)), "--labels", *labels, "--out", str(out)])
    converted = OnDiskDataset(out)
    assert [target.name for target in converted.labels] == ["dipole", "charges", "shift"]
    assert converted.labels[2] == Target("shift", "ppm", per="atom")
    main(["data", "info", str(out), "--json", str(tmp_path / "info.json")])
    facts = {
        field["name"]: field for field in json.loads((tmp_path / "info.json").read_text())["fields"]
    }
    assert (facts["shift"]["per"], facts["shift"]["unit"]) == ("atom", "ppm")
    assert facts["dipole"]["unit"] == "e·Å"


def test_attributes_of_atoms_of_any_name_are_batched():
    structures = [
        Structure(z=torch.ones(n, dtype=torch.long), pos=torch.rand(n, 3), mine=torch.rand(n, 3, 3))
        for n in (2, 1, 4)
    ]
    dataset = StructureDataset.from_list(structures)
    assert dataset.is_per_atom("mine")
    for k, structure in enumerate(structures):
        torch.testing.assert_close(dataset[k].mine, structure.mine)
    torch.testing.assert_close(dataset[[2, 1]].get_property("mine")[:4], structures[2].mine)


def test_label_is_public():
    assert sg.Label("dipole").name == "dipole"

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io.extxyz import key_val_dict_to_str

from schnetgeo.data import to_ase
from schnetgeo.datasets import QM9, AtomsFile, ase_file
from schnetgeo.datasets.atoms_file import iter_structures
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from tests.datasets.archives import ENERGY, FORCE, FRAMES, KCAL_MOL, ethanol, fixed, md17, write
from tests.datasets.published import iso17_database, row_forces
from tests.shared_data import shared


def frames(number=3):
    """Ethanol in a box, with the labels of a calculation."""
    arrays = ethanol()
    found = []
    for k in range(number):
        atoms = Atoms(arrays["z"], arrays["R"][k], cell=[9, 10, 11], pbc=True)
        results = dict(energy=arrays["E"][k], forces=arrays["F"][k], stress=np.arange(6) * 1e-3)
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


def bare(**info):
    """The same without a calculation."""
    atoms = frames(1)[0]
    atoms.calc = None
    atoms.info.update(info)
    return atoms


def test_units_of_labels_that_only_some_files_have(tmp_path):
    arrays = {k: v for k, v in fixed().items() if not k.endswith("_unit")}
    write(tmp_path / "p1.npz", arrays)
    write(tmp_path / "p2.npz", {k: v for k, v in arrays.items() if k != "F"})
    paths = [tmp_path / "p2.npz", tmp_path / "p1.npz"]
    units = dict(energy_unit="eV", force_unit="eV/Angstrom", length_unit="Angstrom")
    dataset = AtomsFile(paths, **units)
    assert dataset.get_property("forces_mask").tolist() == [False] * FRAMES + [True] * FRAMES
    with pytest.raises(InputError, match="p2.npz, p1.npz: stress_unit is given, but there are no"):
        AtomsFile(paths, **units, stress_unit="GPa")
    with pytest.raises(InputError, match="p2.npz: force_unit is given, but there are no forces"):
        AtomsFile(paths[:1], **units)


def test_units_of_labels_that_only_later_blocks_have(tmp_path, monkeypatch):
    monkeypatch.setattr(ase_file, "_BLOCK", 2)
    ase.io.write(tmp_path / "own.xyz", [bare(energy=-1.0)] * 3 + frames(1))
    units = dict(energy_unit="eV", length_unit="Angstrom", stress_unit="eV/Angstrom^3")
    dataset = AtomsFile(tmp_path / "own.xyz", force_unit="kcal/mol/Angstrom", **units)
    assert float(dataset[3].forces[0, 0]) == pytest.approx(FORCE * KCAL_MOL, abs=1e-6)


def test_virial_does_not_stand_for_a_stress_that_is_named(tmp_path):
    stress, virial = np.diag([0.01, 0.02, 0.03]), np.diag([1.0, 2.0, 3.0])
    with_name, without = bare(energy=-1.0, my=stress), bare(energy=-1.0, virial=virial)
    ase.io.write(tmp_path / "own.xyz", [with_name, without])
    with pytest.warns(DataNote, match="left out info.'virial'"):
        dataset = AtomsFile(tmp_path / "own.xyz", stress_key="my")
    assert dataset.get_property("stress_mask").tolist() == [True, False]
    dataset = AtomsFile(tmp_path / "own.xyz", stress_key="my", virial_key="virial")
    np.testing.assert_allclose(dataset[0].stress[0], stress)
    np.testing.assert_allclose(dataset[1].stress[0], -virial / 990)


def test_molecule_with_a_virial_among_crystals_has_no_stress(tmp_path):
    crystal, molecule = bare(energy=-1.0, virial=np.eye(3)), bare(energy=-2.0, virial=np.eye(3))
    molecule.pbc = False
    ase.io.write(tmp_path / "own.xyz", [crystal, molecule])
    with pytest.warns(DataNote, match="left out 'virial' without a periodic cell of 1 of 2"):
        dataset = AtomsFile(tmp_path / "own.xyz")
    assert dataset.get_property("stress_mask").tolist() == [True, False]
    ase.io.write(tmp_path / "own.xyz", [molecule])
    with pytest.raises(InputError, match="own.xyz: virial needs a periodic cell, .* or leave vir"):
        AtomsFile(tmp_path / "own.xyz", virial_key="virial")


def assert_labels(dataset):
    first = dataset[0]
    assert len(dataset) == 3
    assert float(first.energy) == pytest.approx(ENERGY, abs=1e-6)
    assert float(first.forces[0, 0]) == pytest.approx(FORCE, abs=1e-6)
    full = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]]) * 1e-3
    np.testing.assert_allclose(first.stress[0], full, atol=1e-12)
    assert first.cell.diagonal(dim1=1, dim2=2).tolist() == [[9, 10, 11]]
    assert bool(first.pbc.all())
    assert first.energy.dtype == torch.float64


@pytest.mark.parametrize("name", ["own.xyz", "own.extxyz", "own.traj", "own.json"])
def test_formats_of_ase(tmp_path, name):
    ase.io.write(tmp_path / name, frames())
    assert_labels(AtomsFile(tmp_path / name))


def test_database(tmp_path):
    with connect(tmp_path / "own.db") as database:
        for atoms in frames():
            database.write(atoms)
    assert_labels(AtomsFile(str(tmp_path / "own.db")))


def test_labels_that_a_database_has_by_name(tmp_path):
    path = iso17_database(tmp_path / "iso17.db", slice(0, 3))
    dataset = AtomsFile(path, energy_key="total_energy", forces_key="atomic_forces")
    assert float(dataset[0].energy) == -11505.647279852
    assert dataset[2].forces.tolist() == row_forces(2)
    with pytest.raises(InputError, match="structure 0: the per-atom array 'atomic_forces' of shap"):
        AtomsFile(path, energy_key="total_energy")
    assert not AtomsFile(path, drop=("atomic_forces",)).has_property("forces")


def test_names_and_data_of_rows_are_kept(tmp_path):
    with connect(tmp_path / "own.db") as database:
        for k, atoms in enumerate(frames()):
            data = {"H": 1 / 3 + k, "smiles": "CCO", "ids": np.array([k]), "ok": True}
            database.write(atoms, temperature=300.5, data=data)
    dataset = AtomsFile(tmp_path / "own.db")
    assert dataset.get_property("H").tolist() == [1 / 3, 4 / 3, 7 / 3]
    assert dataset.get_property("ids").tolist() == [0, 1, 2]
    assert dataset.get_property("smiles") == ["CCO"] * 3
    assert dataset.get_property("temperature").tolist() == [300.5] * 3
    assert dataset.get_property("ok").dtype == torch.bool


def write_database(path, atoms_list):
    """ASE's databases take what is in `info` as data; as names they refuse H, U, C and others."""
    with connect(path) as database:
        for atoms in atoms_list:
            database.write(atoms, data=atoms.info)


def write_extxyz(path, atoms_list):
    """Extended XYZ with all digits; ASE's own writer keeps eight decimals."""
    lines = []
    for atoms in atoms_list:
        columns = {"pos": atoms.positions, "forces": atoms.get_forces()}
        about = atoms.info | {"energy": atoms.get_potential_energy(), "pbc": "F F F"}
        kinds = "species:S:1:" + ":".join(f"{name}:R:3" for name in columns)
        lines += [str(len(atoms)), f"Properties={kinds} {key_val_dict_to_str(about)}"]
        rows = np.hstack(list(columns.values())).tolist()
        lines += [" ".join([s, *map(repr, r)]) for s, r in zip(atoms.symbols, rows, strict=True)]
    path.write_text("\n".join([*lines, ""]))


@pytest.mark.slow
@pytest.mark.parametrize("write_to", [write_database, write_extxyz])
def test_round_trip_is_exact(tmp_path, write_to):
    molecules = list(QM9(file=shared("qm9_all_properties.npz"))[:50])
    rng = np.random.default_rng(0)
    for data in molecules:
        data.pos = data.pos.double() * (1 + 1e-9 * rng.random())
        data.forces = torch.from_numpy(rng.normal(size=data.pos.shape))
    path = tmp_path / ("own.db" if write_to is write_database else "own.extxyz")
    write_to(path, [to_ase(data) for data in molecules])
    again = AtomsFile(path)
    assert len(again) == len(molecules)
    for mine, theirs in zip(molecules, again, strict=True):
        assert set(theirs.keys()) == set(mine.keys()) | {"cell", "pbc"}
        for name, value in mine.to_dict().items():
            same = torch.equal(theirs[name], value) if torch.is_tensor(value) else None
            assert theirs[name] == value if same is None else same, name


def test_files_are_read_one_after_the_other(tmp_path):
    ase.io.write(tmp_path / "a.xyz", frames(3))
    ase.io.write(tmp_path / "b.traj", frames(2))
    dataset = AtomsFile([tmp_path / "a.xyz", tmp_path / "b.traj"])
    assert len(dataset) == 5
    assert dataset.name == "a.xyz, b.traj"
    assert float(dataset[3].energy) == pytest.approx(ENERGY, abs=1e-6)


def test_blocks_of_one_file(tmp_path, monkeypatch):
    ase.io.write(tmp_path / "a.xyz", frames(5))
    whole = AtomsFile(tmp_path / "a.xyz")
    monkeypatch.setattr("schnetgeo.datasets.ase_file._BLOCK", 2)
    parts = list(iter_structures(tmp_path / "a.xyz"))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert AtomsFile(tmp_path / "a.xyz").fingerprint == whole.fingerprint
    assert AtomsFile([tmp_path / "a.xyz"] * 2).fingerprint == whole[[0, 1, 2, 3, 4] * 2].fingerprint


def test_blocks_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    """So that the first ones are there although the file breaks off later."""
    monkeypatch.setattr("schnetgeo.datasets.ase_file._BLOCK", 2)
    ase.io.write(tmp_path / "a.xyz", frames(5))
    lines = (tmp_path / "a.xyz").read_text().splitlines()
    lines[4 * 11 + 5] = "H 1.0 many"
    (tmp_path / "a.xyz").write_text("\n".join(lines))
    parts = iter_structures(tmp_path / "a.xyz")
    assert [len(next(parts)), len(next(parts))] == [2, 2]
    with pytest.raises(InputError, match=r"a.xyz, structure 4 \(line 45\): atom 3 has 3 columns"):
        next(parts)


@pytest.mark.parametrize("lacking", [0, 3])
def test_labels_of_later_blocks(tmp_path, monkeypatch, lacking):
    monkeypatch.setattr("schnetgeo.datasets.ase_file._BLOCK", 2)
    atoms = frames(5)
    del atoms[lacking].calc.results["energy"]
    ase.io.write(tmp_path / "own.xyz", atoms)
    with pytest.warns(DataNote, match="own.xyz: of 5 structures 1 have no energy; they are kept"):
        dataset = AtomsFile(tmp_path / "own.xyz")
    assert dataset.get_property("energy_mask").tolist() == [k != lacking for k in range(5)]
    assert torch.equal(
        dataset.get_property("energy").isfinite(), dataset.get_property("energy_mask")
    )
    assert not dataset.has_property("forces_mask")


def test_archives_in_different_units(tmp_path):
    paths = [write(tmp_path / "a.npz", fixed()), write(tmp_path / "b.npz", md17())]
    dataset = AtomsFile(paths)
    assert len(dataset) == 2 * FRAMES
    torch.testing.assert_close(dataset[FRAMES].forces, dataset[0].forces)
    torch.testing.assert_close(dataset[FRAMES].energy, dataset[0].energy)


def test_strings_of_several_files(tmp_path):
    names = np.array(["CCO"] * FRAMES)
    paths = [write(tmp_path / f"{k}.npz", fixed(smiles=names)) for k in range(2)]
    assert AtomsFile(paths).get_property("smiles") == ["CCO"] * 2 * FRAMES


def test_files_with_different_fields(tmp_path):
    paths = [write(tmp_path / "a.npz", fixed()), write(tmp_path / "b.npz", fixed(F=None))]
    with pytest.warns(DataNote, match=f"{2 * FRAMES} structures {FRAMES} have no forces"):
        dataset = AtomsFile(paths)
    assert dataset.get_property("forces_mask").tolist() == [True] * FRAMES + [False] * FRAMES
    with pytest.raises(InputError, match="name at least one file"):
        AtomsFile([])


def test_energy_of_info_in_hartree(tmp_path):
    atoms = bare(U0=ENERGY / 27.211386245988, charge=1, smiles="CCO")
    atoms.arrays["gradient"] = -ethanol()["F"][0] * 0.529177210903 / 27.211386245988
    ase.io.write(tmp_path / "own.xyz", atoms)
    options = dict(energy_unit="Hartree", force_unit="Hartree/Bohr", forces_key="gradient")
    data = AtomsFile(tmp_path / "own.xyz", energy_key="U0", **options)[0]
    assert float(data.energy) == pytest.approx(ENERGY, abs=1e-6)
    assert float(data.forces[0, 0]) == pytest.approx(-FORCE, abs=1e-6)
    assert data.charge.tolist() == [1]
    assert data.smiles == "CCO"
    assert "U0" not in data


def test_units_of_all_that_a_calculation_gave(tmp_path):
    atoms = frames(1)[0]
    atoms.calc.results["free_energy"] = -10.0
    ase.io.write(tmp_path / "own.xyz", atoms)
    units = dict(energy_unit="Hartree", force_unit="Hartree/Bohr", length_unit="Bohr")
    units["stress_unit"] = "Hartree/Bohr^3"
    data = AtomsFile(tmp_path / "own.xyz", **units)[0]
    assert float(data.free_energy) == pytest.approx(-272.11386245988)
    assert float(data.forces[0, 0]) == pytest.approx(FORCE * 51.42206747632, rel=1e-6)
    assert float(data.stress[0, 1, 1]) == pytest.approx(1e-3 * 183.6315353, rel=1e-8)
    assert float(data.cell[0, 0, 0]) == pytest.approx(9 * 0.529177210903)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(energy_unit="Hartree"), "own.xyz: does not state the unit of its forces; give forc"),
        (dict(force_unit="eV/Bohr"), "own.xyz: does not state the unit of its energies; give ener"),
    ],
)
def test_one_unit_of_two(tmp_path, options, message):
    ase.io.write(tmp_path / "own.xyz", frames())
    with pytest.raises(InputError, match=message):
        AtomsFile(tmp_path / "own.xyz", **options)


def test_the_unit_of_the_only_label(tmp_path):
    atoms = frames(1)[0]
    del atoms.calc.results["forces"], atoms.calc.results["stress"]
    ase.io.write(tmp_path / "own.xyz", atoms)
    data = AtomsFile(tmp_path / "own.xyz", energy_unit="meV")[0]
    assert float(data.energy) == pytest.approx(1e-3 * ENERGY)


def test_paths_start_from_the_root(tmp_path):
    ase.io.write(tmp_path / "a.xyz", frames())
    ase.io.write(tmp_path / "b.xyz", frames(1))
    assert len(AtomsFile(["a.xyz", tmp_path / "b.xyz"], root=tmp_path)) == 4


def test_named_labels_that_ase_found_itself(tmp_path):
    ase.io.write(tmp_path / "own.xyz", frames())
    assert_labels(AtomsFile(tmp_path / "own.xyz", energy_key="energy", forces_key="forces"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(energy_key="U0"), r"own.xyz: has no energy named 'U0'; it has HF"),
        (dict(forces_key="grad"), "has no forces named 'grad'; it has HF"),
        (dict(energy_unit="erg"), "unknown energy unit 'erg'; known: eV, meV, Hartree"),
        (dict(force_unit="eV"), "unknown force unit 'eV'; known: energy/length, such as"),
    ],
)
def test_refuses_options(tmp_path, options, message):
    ase.io.write(tmp_path / "own.xyz", bare(HF=1.0))
    with pytest.raises(InputError, match=message):
        AtomsFile(tmp_path / "own.xyz", **options)


def test_energy_that_is_text(tmp_path):
    ase.io.write(tmp_path / "own.xyz", bare(HF="failed"))
    with pytest.raises(
        InputError, match="own.xyz, structure 0: energy 'failed', named 'HF', is no"
    ):
        AtomsFile(tmp_path / "own.xyz", energy_key="HF")


def test_missing_number_is_named(tmp_path):
    atoms = frames()
    atoms[1].calc.results["forces"][4, 2] = np.nan
    ase.io.write(tmp_path / "own.xyz", atoms)
    message = r"^own.xyz, structure 1: forces\[4, 2\] is nan, but must be finite; mend or remove"
    with pytest.raises(InputError, match=message):
        AtomsFile(tmp_path / "own.xyz")


def test_what_cannot_be_kept(tmp_path):
    atoms = frames(1)[0]
    atoms.set_constraint(FixAtoms([0]))
    ase.io.write(tmp_path / "own.traj", atoms)
    with pytest.raises(InputError, match=r"own.traj, structure 0: the constraint .*'constraints'"):
        AtomsFile(tmp_path / "own.traj")
    assert len(AtomsFile(tmp_path / "own.traj", drop=("constraints",))) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("own.npz", b"1\n\nH 0 0 0\n"),
        ("own.xyz", None),
        ("own.xyz", b""),
        ("own.xyz", b"two\natoms\n"),
        ("own.traj", b"H 0 0 0\n"),
        ("own.db", b"1\n\nH 0 0 0\n"),
        ("own.unknown", b"H 0 0 0\n"),
    ],
)
def test_wrong_endings(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(
        write(tmp_path / "a.npz", fixed()).read_bytes() if content is None else content
    )
    with pytest.raises(
        InputError,
        match=rf"{name}(:|, structure 0).*(not an .npz|not an ASE|be read|expected|no str|kn)",
    ):
        AtomsFile(path)


def test_absent_file(tmp_path):
    for name in ("absent.xyz", "absent.npz"):
        with pytest.raises(InputError, match=f"{name}: no such file"):
            AtomsFile(tmp_path / name)


def test_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="is a folder, not a file; name the files in it"):
        AtomsFile(tmp_path)


@pytest.mark.parametrize("name", ["a.xyz@300K", "run@1.xyz", "a@0:2.traj"])
def test_an_at_sign_belongs_to_the_name(tmp_path, name):
    ase.io.write(
        tmp_path / "plain.traj" if name.endswith("traj") else tmp_path / "a.xyz", frames(3)
    )
    content = tmp_path / ("plain.traj" if name.endswith("traj") else "a.xyz")
    ase.io.write(content, frames(2))
    content.rename(tmp_path / name)
    ase.io.write(tmp_path / "a.xyz", frames(3))
    assert len(AtomsFile(tmp_path / name)) == 2


@pytest.mark.parametrize("name", ["POSCAR_1.xyz", "x.exyz", "x.txt", "x.data", "x", "frames.pdb"])
def test_format(tmp_path, name):
    ase.io.write(tmp_path / "own.xyz", frames())
    (tmp_path / "own.xyz").rename(tmp_path / name)
    if name != "frames.pdb":
        assert_labels(AtomsFile(tmp_path / name))
    assert_labels(AtomsFile(tmp_path / name, format="extxyz"))
    with pytest.raises(InputError, match=f"{name}: unknown format 'exrxyz'; give format='extxyz'"):
        AtomsFile(tmp_path / name, format="exrxyz")


@pytest.mark.parametrize("name", ["own.json", "own.db", "own.sqlite"])
def test_rows_of_any_database(tmp_path, name):
    with connect(tmp_path / name, type="json" if "json" in name else "db") as database:
        for k in range(3):
            data = {"f": np.full((9, 3), k), "label": f"{k:03d}"}
            database.write(bare(), e_dft=-1.0 - k, data=data)
    dataset = AtomsFile(tmp_path / name, energy_key="e_dft", forces_key="f")
    assert dataset.get_property("energy").tolist() == [-1, -2, -3]
    assert dataset.get_property("forces")[-1].tolist() == [2, 2, 2]
    assert dataset.get_property("label") == ["000", "001", "002"]


@pytest.mark.parametrize("data", [{"positions": np.zeros((9, 3))}, {"numbers": [1] * 9}])
def test_a_row_has_one_geometry(tmp_path, data):
    with connect(tmp_path / "own.db") as database:
        database.write(bare(), data=data)
    with pytest.raises(InputError, match=f"'{next(iter(data))}' seems to hold geometry"):
        AtomsFile(tmp_path / "own.db")


def test_labels_among_the_data_of_a_row_are_to_be_named(tmp_path):
    with connect(tmp_path / "own.db") as database:
        database.write(bare(), data={"forces": np.ones((9, 3)), "energy": -1.0})
    with pytest.raises(InputError, match=r"data has 'forces' .* forces_key='forces'"):
        AtomsFile(tmp_path / "own.db", energy_key="energy")
    dataset = AtomsFile(tmp_path / "own.db", energy_key="energy", forces_key="forces")
    assert dataset.get_property("energy").tolist() == [-1]
    assert dataset.get_property("forces")[0].tolist() == [1, 1, 1]


def test_units_that_a_file_states(tmp_path):
    atoms = bare(energy_unit="Hartree", stress_unit="GPa")
    atoms.calc = SinglePointCalculator(atoms, energy=-2.0, stress=np.full(6, 160.2176634))
    ase.io.write(tmp_path / "own.extxyz", [atoms] * 2)
    dataset = AtomsFile(tmp_path / "own.extxyz")
    assert dataset.get_property("energy").tolist() == pytest.approx([-54.422772491976] * 2)
    torch.testing.assert_close(dataset.get_property("stress"), torch.ones(2, 3, 3).double())
    assert not dataset.has_property("energy_unit")
    with pytest.raises(InputError, match="states 'Hartree' as unit of its energies, but energy_un"):
        AtomsFile(tmp_path / "own.extxyz", energy_unit="eV")


def test_energy_that_looks_like_one_is_suggested(tmp_path):
    ase.io.write(tmp_path / "own.xyz", bare(REF_energy=-70.5))
    with pytest.warns(DataNote, match="own.xyz: has no energy; .* pass energy_key='REF_energy'"):
        dataset = AtomsFile(tmp_path / "own.xyz")
    assert dataset.get_property("REF_energy").tolist() == [-70.5]


def test_what_is_left_out_is_counted_in_one_note(tmp_path):
    atoms = [bare(vector=[1.0, 2.0]), bare(), bare(vector=[1.0, 2.0])]
    for one in atoms:
        one.calc = SinglePointCalculator(one, energy=-1.0, dipole=np.zeros(3))
    ase.io.write(tmp_path / "own.traj", atoms)
    with pytest.warns(DataNote) as notes:
        AtomsFile(tmp_path / "own.traj")
    (text,) = [str(note.message) for note in notes]
    assert text == (
        "own.traj: left out the calculator's result 'dipole' of 3, info['vector'] (neither text "
        "nor a number of 64 bits) of 2 of 3 structures"
    )

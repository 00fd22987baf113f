"""Files and objects of SchNetPack, and its readers beside ours on the same published files."""

import contextlib
import json
import shutil
import sqlite3
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.db import connect
from torch.utils.data import ConcatDataset, Subset

from benchmarks.speed.peers import provide_removed_names
from schnetgeo.datasets import ISO17, MD17, QM9, AtomsFile, RevisedMD17, from_schnetpack
from schnetgeo.datasets import qm9 as qm9_module
from schnetgeo.datasets import rmd17 as rmd17_module
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from schnetgeo.units import HARTREE
from tests.datasets.archives import ENERGY, FORCE, FRAMES, KCAL_MOL, ethanol
from tests.datasets.published import (
    index_csv,
    iso17_database,
    md17_npz,
    qm9_files,
    rmd17_npz,
    uncharacterized_txt,
    write_tar,
)
from tests.shared_data import shared

UNITS = {
    "energy": "kcal/mol",
    "forces": "kcal/mol/Ang",
    "gap": "Ha",
    "dipole": "Debye",
    "charges": None,
}
BOHR = 0.529177210903  # Å


def row(k):
    """Data of a row as SchNetPack has them: arrays, a scalar as one of a single number."""
    arrays = ethanol()
    return {
        "energy": np.array([arrays["E"][k] / KCAL_MOL]),
        "forces": arrays["F"][k] / KCAL_MOL,
        "gap": np.array([0.25 + k]),
        "dipole": np.array([[0.1, 0.2, 0.3 + k]]),
        "charges": np.linspace(-1, 1, 9).reshape(9, 1),
        "volumes": np.linspace(1, 2, 9),
    }


def database(path, units=UNITS, length="Ang", scale=1.0, change=None):
    """A database as SchNetPack 2 writes them; `change` is other data for row 3."""
    arrays = ethanol()
    with connect(path) as out:
        out.metadata = {"_property_unit_dict": units, "_distance_unit": length, "atomrefs": {}}
        for k in range(FRAMES):
            data = {name: row(k)[name] for name in units}
            data |= (change or {}) if k == 2 else {}
            out.write(Atoms(arrays["z"], arrays["R"][k] * scale), data=data)
    return path


def test_units_of_the_metadata(tmp_path):
    dataset = AtomsFile(database(tmp_path / "own.db"))
    assert len(dataset) == FRAMES
    first = dataset[0]
    assert float(first.energy) == pytest.approx(ENERGY, abs=1e-9)
    assert float(first.forces[0, 0]) == pytest.approx(FORCE, abs=1e-6)
    assert float(first.gap) == pytest.approx(0.25 * 27.211386245988)
    assert first.dipole.tolist() == [[0.1, 0.2, 0.3]]
    assert first.charges.tolist() == pytest.approx(np.linspace(-1, 1, 9).tolist())
    assert not bool(first.pbc.any())
    assert dataset.batch([0, 1]).dipole.shape == (2, 3)


def test_positions_in_bohr(tmp_path):
    path = database(tmp_path / "own.db", length="a0", scale=1 / BOHR)
    np.testing.assert_allclose(AtomsFile(path)[1].pos, ethanol()["R"][1], atol=1e-12)


def test_other_names_and_units(tmp_path):
    path = database(tmp_path / "own.db", dict(UNITS, energy="kcal/mol", gap="kcal/mol"))
    data = AtomsFile(path, energy_key="gap", energy_unit="kcal mol^-1")[1]
    assert float(data.energy) == pytest.approx(1.25 * KCAL_MOL)
    assert "gap" not in data
    with pytest.raises(InputError, match="own.db: states 'kcal/mol' as unit of its energies, but"):
        AtomsFile(path, energy_unit="eV")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(energy_key="U0"), "own.db: has no 'U0'; it has charges, dipole, energy, forces, gap"),
        (dict(forces_key="grad"), "own.db: has no 'grad'"),
        (dict(energy_unit="erg"), "own.db: unknown energy unit 'erg'"),
    ],
)
def test_refuses_options(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        AtomsFile(database(tmp_path / "own.db"), **options)


def test_energy_without_unit(tmp_path):
    path = database(tmp_path / "own.db", dict(UNITS, energy=None))
    with pytest.raises(
        InputError, match="own.db: does not state the unit of its energies; give energy_unit"
    ):
        AtomsFile(path)
    assert AtomsFile(path, energy_unit="kcal/mol").has_property("energy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(forces=np.ones((8, 3))), r"row 3: forces must have 9 rows, got shape \(8, 3\)"),
        (
            dict(gap=np.ones(9)),
            "row 3: gap has a value for each atom, but not in all rows",
        ),
        (dict(energy=np.array([np.nan])), "structure 2: energy is nan"),
    ],
)
def test_broken_rows_are_named(tmp_path, change, message):
    with pytest.raises(InputError, match=f"own.db, {message}"):
        AtomsFile(database(tmp_path / "own.db", change=change))


def test_row_without_a_label(tmp_path):
    path = database(tmp_path / "own.db")
    with connect(path) as out:
        out.update(3, data={"energy": [1.0]}, delete_keys=[])
        atoms = out.get_atoms(3)
        del out[3]
        out.write(atoms, data={"energy": np.array([1.0])})
    with pytest.raises(
        InputError, match=r"own.db, row 7: has no 'forces'; give it to all rows, or"
    ):
        AtomsFile(path)


def test_property_of_atoms_without_a_place(tmp_path):
    path = database(tmp_path / "own.db", dict(UNITS, gap=None), change=dict(gap=np.ones(9)))
    with pytest.raises(InputError, match=r"pass drop=\('gap',\) .* to go on without it"):
        AtomsFile(path)
    assert not AtomsFile(path, drop=("gap",)).has_property("gap")


STRESS = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])


def crystals(path, units, length="Ang", **data):
    """Three crystals of one, two and three atoms."""
    with connect(path) as out:
        out.metadata = {"_property_unit_dict": units, "_distance_unit": length}
        for k in (1, 2, 3):
            atoms = Atoms(f"Al{k}", np.eye(3)[:k] * 2.5, cell=np.eye(3) * 5, pbc=True)
            out.write(atoms, data=data, number=k, source=f"calculation {k}", label=k / 2)
    return path


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("GPa", 1 / 160.2176634),
        ("kbar", 1 / 1602.176634),
        ("kcal/mol/Ang/Ang/Ang", KCAL_MOL),
        ("eV/Ang/Ang/Ang", 1.0),
        ("Ha/Bohr^3", 27.211386245988 / BOHR**3),
        (1.0, 1.0),
        (0.5, 0.5),
    ],
)
@pytest.mark.parametrize("values", [STRESS, STRESS[None], STRESS.flatten(), [1, 2, 3, 4, 5, 6.0]])
def test_stress_in_its_unit(tmp_path, unit, value, values):
    path = crystals(tmp_path / "own.db", {"stress": unit}, stress=np.array(values))
    np.testing.assert_allclose(AtomsFile(path)[1].stress[0], STRESS * value, rtol=1e-12)


def test_virial(tmp_path):
    path = crystals(tmp_path / "own.db", {"virial": "kcal/mol"}, virial=STRESS)
    data = AtomsFile(path, virial_key="virial")[1]
    np.testing.assert_allclose(data.stress[0], -STRESS * KCAL_MOL / 125, rtol=1e-12)


@pytest.mark.parametrize(("unit", "options"), [
    ("eV", {}), (1.0, {}), (None, {"energy_unit": "eV"}),
])  # fmt: skip
def test_virial_in_another_unit_than_the_energy(tmp_path, unit, options):
    units = {"energy": "Hartree" if unit else None, "virial": unit}
    path = crystals(tmp_path / "own.db", units, virial=STRESS, energy=np.array([-1.0]))
    data = AtomsFile(path, virial_key="virial", **options)[1]
    np.testing.assert_allclose(data.stress[0], -STRESS / 125, rtol=1e-12)
    assert float(data.energy) == pytest.approx(-HARTREE if unit else -1.0)


def test_virial_of_the_energys_unit(tmp_path):
    units = {"energy": "Hartree", "virial": None}
    path = crystals(tmp_path / "own.db", units, virial=STRESS, energy=np.array([-1.0]))
    data = AtomsFile(path, virial_key="virial")[1]
    np.testing.assert_allclose(data.stress[0], -STRESS * HARTREE / 125, rtol=1e-12)


def test_silent_energy_is_not_in_the_unit_of_the_virial(tmp_path):
    path = crystals(
        tmp_path / "own.db", {"energy": None, "virial": "eV"}, virial=STRESS, energy=np.array([-1])
    )
    with pytest.raises(InputError, match="does not state the unit of its energies"):
        AtomsFile(path, virial_key="virial")
    data = AtomsFile(path, virial_key="virial", energy_unit="Hartree")[0]
    assert float(data.energy) == pytest.approx(-HARTREE)
    np.testing.assert_allclose(data.stress[0], -STRESS / 125, rtol=1e-12)


def test_units_as_numbers_are_those_of_ase(tmp_path):
    units = {"energy": KCAL_MOL, "gap": None, "forces": 1.0}
    path = database(tmp_path / "own.db", units, length=1.0)
    data = AtomsFile(path)[0]
    assert float(data.energy) == pytest.approx(ENERGY)
    assert float(data.forces[0, 0]) == pytest.approx(FORCE / KCAL_MOL)


def test_unit_of_lengths_is_asked_for(tmp_path):
    path = database(tmp_path / "own.db", {"energy": "kcal/mol"}, length=None)
    with pytest.raises(InputError, match="unit of its positions; give length_unit"):
        AtomsFile(path)
    assert len(AtomsFile(path, length_unit="Ang")) == FRAMES


def test_tensors_of_three_atoms(tmp_path):
    path = crystals(tmp_path / "own.db", {"alpha": "Bohr^3"}, alpha=STRESS)
    assert AtomsFile(path)[2].alpha.tolist() == [STRESS.tolist()]


def test_key_value_pairs_are_kept(tmp_path):
    path = crystals(tmp_path / "own.db", {"stress": "GPa"}, stress=STRESS)
    last = AtomsFile(path, drop=("label",))[2]
    assert (last.number.tolist(), last.source) == ([3], "calculation 3")
    assert "label" not in last
    assert AtomsFile(path).get_property("label").tolist() == [0.5, 1.0, 1.5]


def pairs(path, **pairs):
    """A hydrogen atom with key-value pairs as SQLite has them; `ase.db` refuses some."""
    with connect(path) as out:
        out.metadata = {"_property_unit_dict": {"energy": "eV"}, "_distance_unit": "Ang"}
        out.write(Atoms("H"), data={"energy": np.array([-13.6])})
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE systems SET key_value_pairs = ?", (json.dumps(pairs),))
        database.commit()
    return path


@pytest.mark.parametrize(
    ("name", "value"),
    [("forces", 2), ("tags", 1.0), ("batch", 3), ("void", None), ("id", 2**63)],
)
def test_pairs_without_a_place_are_left_out(tmp_path, name, value):
    path = pairs(tmp_path / "own.db", **{name: value, "spin": 2})
    with pytest.warns(DataNote, match=rf"own.db: left out key_value_pairs\['{name}'\] \("):
        data = AtomsFile(path)[0]
    assert (data.z.tolist(), float(data.energy), data.spin.tolist()) == ([1], -13.6, [2])
    assert set(data.keys()) == {"z", "pos", "cell", "pbc", "energy", "spin"}


@pytest.mark.parametrize(("name", "value"), [("z", 8), ("box", 12.5)])
def test_pairs_that_repeat_the_geometry_are_refused(tmp_path, name, value):
    path = pairs(tmp_path / "own.db", **{name: value})
    with pytest.raises(InputError, match=f"own.db, row 1: '{name}' seems to hold geometry"):
        AtomsFile(path)
    data = AtomsFile(path, drop=(name,))[0]
    assert (data.z.tolist(), "box" in data) == ([1], False)


def test_numbers_of_pairs_keep_their_digits(tmp_path):
    data = AtomsFile(pairs(tmp_path / "own.db", score=0.1234567890123, converged=True))[0]
    assert data.score.tolist() == [0.1234567890123]
    assert data.converged.tolist() == [True]


def test_property_of_all_atoms_is_left_out_with_a_note(tmp_path):
    path = database(tmp_path / "own.db", {"energy": "kcal/mol", "volumes": None})
    with pytest.warns(DataNote, match="own.db: left out volumes, with a value for each atom"):
        assert not AtomsFile(path).has_property("volumes")


def test_other_object():
    with pytest.raises(
        InputError, match="from_schnetpack takes a data set of SchNetPack, got list"
    ):
        from_schnetpack([])


# --- beside SchNetPack itself ---


@pytest.fixture
def schnetpack():
    """The package, or a skipped test."""
    provide_removed_names()
    return pytest.importorskip("schnetpack", reason="SchNetPack cannot be imported")


def serve_files(monkeypatch, module, **paths):
    """Let a module of SchNetPack find files here by the ending of the address it asks for."""

    def urlretrieve(url, target):
        (path,) = [path for end, path in paths.items() if url.replace(".", "_").endswith(end)]
        shutil.copy(path, target)

    monkeypatch.setattr(module, "request", SimpleNamespace(urlretrieve=urlretrieve))


def assert_same(ours, theirs, energy, forces=None, energy_unit=1.0, force_unit=1.0):
    """The same numbers in the same order, theirs times the unit."""
    assert len(ours) == len(theirs)
    for k, a in enumerate(ours):
        b = theirs[k]
        assert torch.equal(a.z, b["_atomic_numbers"])
        assert torch.equal(a.pos, b["_positions"])
        np.testing.assert_allclose(a.energy, b[energy].double() * energy_unit, rtol=1e-15)
        if forces:
            np.testing.assert_allclose(a.forces, b[forces] * force_unit, rtol=1e-12, atol=1e-15)


def test_same_as_schnetpack_on_its_database(tmp_path, schnetpack):
    from schnetpack.data import ASEAtomsData

    path = database(tmp_path / "own.db")
    theirs = ASEAtomsData(str(path))
    assert_same(AtomsFile(path), theirs, "energy", "forces", KCAL_MOL, KCAL_MOL)
    ours, converted = AtomsFile(path), from_schnetpack(theirs)
    assert set(ours[0].keys()) == set(converted[0].keys())
    for name in ours[0].keys():  # noqa: SIM118
        assert torch.equal(ours.get_property(name), converted.get_property(name))


def test_converts_subsets_and_units_of_objects(tmp_path, schnetpack):
    from schnetpack.data import ASEAtomsData

    path = database(tmp_path / "own.db")
    units = dict(property_units={"energy": "kJ/mol", "forces": "Ha/Bohr"}, distance_unit="Bohr")
    part = from_schnetpack(ASEAtomsData(str(path), **units).subset([4, 1]))
    whole = AtomsFile(path)
    assert len(part) == 2
    for mine, theirs in zip((whole[4], whole[1]), part, strict=True):
        for name in ("pos", "energy", "forces"):  # ASE's units differ in the eighth digit
            torch.testing.assert_close(mine[name], theirs[name], rtol=1e-7, atol=0)


def test_parts_of_objects(tmp_path, schnetpack):
    from schnetpack.data import ASEAtomsData

    theirs = ASEAtomsData(str(database(tmp_path / "own.db")))
    energies = from_schnetpack(theirs).get_property("energy")
    part = Subset(Subset(theirs, [1, 3, 4]), [2, 0])
    assert torch.equal(from_schnetpack(part).get_property("energy"), energies[[4, 1]])
    both = ConcatDataset([part, theirs.subset([5])])
    assert torch.equal(from_schnetpack(both).get_property("energy"), energies[[4, 1, 5]])
    assert torch.equal(
        from_schnetpack(Subset(both, [0, 2])).get_property("energy"), energies[[4, 5]]
    )
    few = ASEAtomsData(str(tmp_path / "own.db"), load_properties=["energy"])
    assert set(from_schnetpack(few)[0].keys()) == {"z", "pos", "cell", "pbc", "energy"}


def test_same_as_schnetpack_on_md17(tmp_path, schnetpack, monkeypatch):
    from schnetpack.datasets import md17 as theirs

    (tmp_path / "md17_ethanol.npz").write_bytes(md17_npz())
    serve_files(monkeypatch, theirs, md17_ethanol_npz=tmp_path / "md17_ethanol.npz")
    module = theirs.MD17(str(tmp_path / "spk.db"), "ethanol", 2, num_train=2, num_val=2)
    module.prepare_data()
    ours = MD17(file=tmp_path / "md17_ethanol.npz")
    read = AtomsFile(tmp_path / "spk.db")
    assert torch.equal(read.get_property("energy"), ours.get_property("energy"))
    dataset = theirs.load_dataset(str(tmp_path / "spk.db"), theirs.AtomsDataFormat.ASE)
    assert_same(ours, dataset, "energy", "forces", KCAL_MOL, KCAL_MOL)


def test_same_as_schnetpack_on_revised_md17(tmp_path, schnetpack, monkeypatch):
    from schnetpack.datasets import rmd17 as theirs

    monkeypatch.setattr(rmd17_module, "SPLIT_SIZE", 10)
    facts = rmd17_module.MOLECULES["ethanol"]._replace(frames=40)
    monkeypatch.setitem(rmd17_module.MOLECULES, "ethanol", facts)
    files = {"rmd17/npz_data/rmd17_ethanol.npz": rmd17_npz()}
    for k in range(1, 6):
        files[f"rmd17/splits/index_train_0{k}.csv"] = index_csv(range(k, k + 10))
        files[f"rmd17/splits/index_test_0{k}.csv"] = index_csv(range(k + 10, k + 20))
    archive = write_tar(tmp_path / "rmd17.tar.bz2", files)
    serve_files(monkeypatch, theirs, **{"23950376": archive})
    theirs.rMD17(str(tmp_path / "spk.db"), "ethanol", 2).prepare_data()
    dataset = theirs.load_dataset(str(tmp_path / "spk.db"), theirs.AtomsDataFormat.ASE)
    for k in range(1, 6):
        ours = RevisedMD17(tmp_path / "data", split=k, file=archive)
        splits = dataset.metadata["splits"]
        assert ours.pools.train.tolist() == splits["known"][k - 1]
        assert ours.pools.test.tolist() == splits["test"][k - 1]
    assert_same(ours, dataset, "energy", "forces", KCAL_MOL, KCAL_MOL)


def test_same_as_schnetpack_on_iso17(tmp_path, schnetpack, monkeypatch):
    from schnetpack.datasets import iso17 as theirs

    files = {"iso17/validation_ids.txt": b"1\n"}
    for k, fold in enumerate(theirs.ISO17.existing_folds):
        path = iso17_database(tmp_path / f"{fold}.db", slice(3 * k, 3 * k + 3))
        files[f"iso17/{fold}.db"] = path.read_bytes()
    archive = write_tar(tmp_path / "iso17.tar.gz", files)
    serve_files(monkeypatch, theirs, iso17_tar_gz=archive)
    theirs.ISO17(str(tmp_path / "spk"), "test_other", 2).prepare_data()
    path = tmp_path / "spk" / "iso17" / "test_other.db"
    dataset = theirs.load_dataset(str(path), theirs.AtomsDataFormat.ASE)
    ours = ISO17(tmp_path / "ours", "test_other", file=archive, check_counts=False)
    assert_same(ours, dataset, "total_energy", "atomic_forces")
    again = ISO17(fold="test_other", file=path.parent, check_counts=False)  # what it has rewritten
    assert torch.equal(again.get_property("energy"), ours.get_property("energy"))
    assert torch.equal(AtomsFile(path).get_property("forces"), ours.get_property("forces"))


def test_same_as_schnetpack_on_qm9_in_hartree(tmp_path, schnetpack, monkeypatch):
    from schnetpack.datasets import qm9 as theirs

    monkeypatch.setattr(qm9_module, "SIZE", 12)
    monkeypatch.setattr(qm9_module, "UNCHARACTERIZED", 2)
    files = {name: content.replace(b"InChI", b"I") for name, content in qm9_files(12).items()}
    archive = write_tar(tmp_path / "dsgdb9nsd.xyz.tar.bz2", files)
    (tmp_path / "uncharacterized.txt").write_bytes(uncharacterized_txt([3, 12]))
    rows = [f"{s} 0.0 0.0 0.0 0.0 0.0 2.981" for s in "HCNOF"]
    (tmp_path / "atomref.txt").write_text("\n".join([*["#"] * 5, *rows, ""]))
    serve_files(monkeypatch, theirs, **{
        "3195389": archive, "3195404": tmp_path / "uncharacterized.txt",
        "3195395": tmp_path / "atomref.txt",
    })  # fmt: skip
    without_exponents(monkeypatch, theirs)
    path = tmp_path / "spk.db"
    theirs.QM9(str(path), 2, remove_uncharacterized=True).prepare_data()
    dataset = theirs.load_dataset(str(path), theirs.AtomsDataFormat.ASE)
    ours = QM9(file=archive)
    assert_same(ours, dataset, "energy_U0", energy_unit=27.211386245988)
    read = AtomsFile(path, energy_key="energy_U0")
    assert torch.equal(read.get_property("energy"), ours.get_property("U0"))
    for mine, name in {"mu": "dipole_moment", "gap": "gap", "r2": "electronic_spatial_extent",
                       "Cv": "heat_capacity", "zpve": "zpve"}.items():  # fmt: skip
        torch.testing.assert_close(
            read.get_property(name), ours.get_property(mine), rtol=1e-15, atol=0
        )


def without_exponents(monkeypatch, module):
    """SchNetPack reads `*^` among the atoms, not among the properties."""
    monkeypatch.setitem(
        vars(module), "float", lambda text: float(text.replace("*^", "e"))
    )  # fmt: skip
    assert "schnetpack" in sys.modules


def test_shared_iso17_sample_has_no_forces_to_compare():
    with np.load(shared("iso17_equilibrium_sample.npz")) as file:
        assert not file["F"].any()

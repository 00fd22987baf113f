import zipfile

import numpy as np
import pytest
import torch
from ase.build import bulk

from schnetgeo.data import from_ase, to_ase
from schnetgeo.datasets import AtomsFile
from schnetgeo.datasets.npz import read_npz
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from tests.datasets.archives import (
    ENERGY,
    FORCE,
    FRAMES,
    KCAL_MOL,
    fixed,
    md17,
    ragged,
    revised_md17,
    shuffled_atoms,
    write,
)
from tests.shared_data import shared

BOHR = 0.529177210903  # Å

LAYOUTS = [fixed, shuffled_atoms, ragged, md17, revised_md17]


def read(tmp_path, arrays, **options):
    return AtomsFile(write(tmp_path / "own.npz", arrays), **options)


def refuses(tmp_path, message, arrays, **options):
    with pytest.raises(InputError, match=message):
        read(tmp_path, arrays, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    dataset = read(tmp_path, layout())
    assert len(dataset) == FRAMES
    first = dataset[0]
    assert float(first.energy) == pytest.approx(ENERGY, abs=1e-9)
    assert float(first.forces[0, 0]) == pytest.approx(FORCE, abs=1e-6)
    assert first.z.tolist()[:3] == [6, 6, 8]
    assert sorted(first.z.tolist()) == [1] * 6 + [6, 6, 8]
    assert first.z.dtype == torch.int64
    assert first.energy.dtype == torch.float64
    assert set(first.keys()) - {"old_indices"} == {"z", "pos", "energy", "forces"}


def test_virial_without_energies_has_the_unit_of_energies(tmp_path):
    arrays = {"z": [13], "R": np.zeros((1, 1, 3)), "F": np.zeros((1, 1, 3)), "cell": np.eye(3) * 5,
              "w": np.eye(3)[None]}  # fmt: skip
    options = dict(virial_key="w", force_unit="eV/Angstrom")
    refuses(tmp_path, "unit of its energies; give energy_unit", arrays, **options)
    data = read(tmp_path, arrays, energy_unit="kcal/mol", **options)[0]
    np.testing.assert_allclose(data.stress[0], -np.eye(3) * KCAL_MOL / 125, rtol=1e-12)
    refuses(tmp_path, "stress_unit is given, but there are no stresses", arrays,
            energy_unit="kcal/mol", stress_unit="GPa", **options)  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_atoms_stay_with_their_forces(tmp_path, layout):
    dataset = read(tmp_path, layout())
    whole = read(tmp_path, fixed())
    for data, reference in zip(dataset, whole, strict=True):
        distance = torch.cdist(data.pos, reference.pos)
        atom = distance.argmin(1)
        assert float(distance.min(1).values.max()) < 1e-6
        assert torch.equal(data.z, reference.z[atom])
        torch.testing.assert_close(data.forces, reference.forces[atom])


def test_shared_md17_in_ev():
    dataset = read_npz(shared("md17_ethanol.npz"))
    # −97195.01189948035 kcal/mol, 26.23068692 kcal/mol/Å
    assert float(dataset[0].energy) == pytest.approx(-4214.774628, abs=1e-6)
    assert float(dataset[0].forces[0, 0]) == pytest.approx(1.13747024, abs=1e-8)


def test_shared_qm9_in_ev():
    options = dict(energy_key="U0", energy_unit="Hartree")
    with pytest.warns(DataNote, match="positions are taken in Angstrom, in which its nearest"):
        dataset = AtomsFile(shared("qm9_u0_part1.npz"), **options)
    assert len(dataset) == 36248
    assert float(dataset[0].energy) == pytest.approx(-56.525887 * 27.211386245988, abs=1e-9)
    assert dataset[0].z.tolist() == [7, 1, 1, 1]
    assert int(dataset[0].id) == 2


def test_shared_crystals():
    dataset = read_npz(shared("ni_crystal.npz"))
    crystal = dataset[0]
    assert crystal.pbc.tolist() == [[True, True, True]]
    assert crystal.group == dataset.get_property("group")[0]
    assert float(crystal.energy) == pytest.approx(-177.35740265)
    assert float(crystal.stress[0, 0, 0]) == pytest.approx(0.01381004, abs=1e-8)
    assert crystal.stress.shape == crystal.cell.shape == (1, 3, 3)


def test_shared_iso17_and_water():
    isomers = read_npz(shared("iso17_equilibrium_sample.npz"))
    assert len({tuple(data.z.tolist()) for data in isomers}) > 1
    assert not isomers.get_property("forces").any()
    water = read_npz(shared("water_periodic.npz"))
    assert water.get_property("energy").dtype == torch.float64
    assert water[0].z.tolist() == [8] * 64 + [1] * 128


@pytest.mark.parametrize(
    "extra",
    [
        dict(name="ethanol", theory="DFT PBE+vdW-TS", md5="d41d8cd98f00b204", type="d"),
        dict(name=np.array("Ethanol"), theory=np.array(b"unknown"), E_min=-1.0, perms=np.eye(9)),
    ],
)
def test_notes_about_the_file_are_left_out(tmp_path, extra):
    dataset = read(tmp_path, md17(**extra))
    assert float(dataset[0].energy) == pytest.approx(ENERGY, abs=1e-9)
    assert set(dataset[0].keys()) == {"z", "pos", "energy", "forces"}


def test_old_labels_of_revised_md17_are_left_out(tmp_path):
    first = read(tmp_path, revised_md17())[0]
    assert set(first.keys()) == {"z", "pos", "energy", "forces", "old_indices"}
    given = read(tmp_path, revised_md17(), energy_key="energies", forces_key="forces")
    assert float(given[0].energy) == pytest.approx(ENERGY, abs=1e-9)


def test_rows_for_structures_are_kept(tmp_path):
    arrays = fixed(mol=np.arange(FRAMES, dtype=np.int16), smiles=np.array(["CCO"] * FRAMES))
    dataset = read(tmp_path, {**arrays, "mu": np.ones(FRAMES, ">f4")})
    assert dataset[3].mol.tolist() == [3]
    assert dataset[3].smiles == "CCO"
    assert dataset[3].mu.dtype == torch.float64


def test_given_key_and_unit(tmp_path):
    arrays = fixed(e_unit=None, E=None, U0=fixed()["E"] / 27.211386245988)
    dataset = read(tmp_path, arrays, energy_key="U0", energy_unit="Hartree")
    assert float(dataset[0].energy) == pytest.approx(ENERGY, abs=1e-9)
    assert not dataset.has_property("U0")


def test_lower_case_names_are_labels_with_a_unit(tmp_path):
    arrays = fixed(E=None, F=None, energy=fixed()["E"], forces=fixed()["F"])
    arrays |= dict(e_unit=None)
    dataset = read(tmp_path, arrays, energy_unit="kcal/mol")
    assert float(dataset[0].energy) == pytest.approx(ENERGY * 0.0433641042418, abs=1e-9)
    assert dataset[0].forces.shape == (9, 3)
    refuses(tmp_path, "does not state the unit of its energies", arrays)


@pytest.mark.parametrize("layout", [fixed, md17, revised_md17])
def test_stated_units_win_over_the_layout(tmp_path, layout):
    arrays = layout(e_unit="meV", f_unit="meV/Bohr", r_unit="Bohr")
    data = read(tmp_path, arrays)[0]
    factor = 1 if layout is fixed else 1 / KCAL_MOL
    assert float(data.energy) == pytest.approx(ENERGY * factor / 1000)
    force = FORCE * factor / 1000 / BOHR
    assert float(data.forces[0, 0]) == pytest.approx(force, rel=1e-6)
    torch.testing.assert_close(data.pos, torch.from_numpy(fixed()["R"][0]) * BOHR)
    message = "own.npz: states 'meV' as unit of its energies, but energy_unit is 'eV'; leave"
    refuses(tmp_path, message, arrays, energy_unit="eV")


@pytest.mark.parametrize("layout", [md17, revised_md17])
def test_a_layout_does_not_hold_for_half_of_the_labels(tmp_path, layout):
    message = "does not state the unit of its forces; give force_unit"
    refuses(tmp_path, message, layout(e_unit="eV"))
    refuses(tmp_path, message, layout(), energy_unit="eV")
    data = read(tmp_path, layout(e_unit="eV", r_unit="Ang"))[0]
    assert float(data.forces[0, 0]) == pytest.approx(FORCE / KCAL_MOL, rel=1e-6)


def test_lengths_in_bohr_are_asked_for(tmp_path):
    arrays = fixed(r_unit=None, R=fixed()["R"] / BOHR)
    options = dict(energy_unit="eV", force_unit="eV/Bohr")
    arrays |= dict(e_unit=None, f_unit=None)
    refuses(tmp_path, "unit of its positions; give length_unit", arrays, **options)
    data = read(tmp_path, arrays, **options, length_unit="Bohr")[0]
    torch.testing.assert_close(data.pos, torch.from_numpy(fixed()["R"][0]))
    with pytest.raises(
        InputError, match="1.8 bond lengths .* as where Bohr are taken for Å .* give"
    ):
        read(tmp_path, arrays, energy_unit="eV", force_unit="eV/Angstrom")


@pytest.mark.parametrize("scale", [0.1, 0.6, 1.3, 1 / BOHR, 100])
def test_lengths_that_may_be_in_other_units_are_asked_for(tmp_path, scale):
    arrays = fixed(r_unit=None, e_unit=None, f_unit=None, R=fixed()["R"] * scale)
    options = dict(energy_unit="eV", force_unit="eV/Bohr")
    refuses(tmp_path, "unit of its positions; give length_unit", arrays, **options)


def test_lengths_of_crystals_are_known_by_their_bonds(tmp_path):
    """Also those of two atoms a cell, which have their neighbors in other cells."""
    silicon = bulk("Si")
    arrays = dict(z=silicon.numbers, R=silicon.positions[None], E=[-9.0], e_unit="Hartree")
    with pytest.warns(DataNote, match="its positions are taken in Angstrom, in which"):
        read(tmp_path, arrays | dict(cell=silicon.cell.array))
    refuses(tmp_path, "give length_unit", arrays | dict(cell=silicon.cell.array, R=arrays["R"] * 2))
    argon = dict(z=[18, 18], R=[[[0, 0, 0], [0, 0, 2.1]]], E=[0.1], e_unit="Hartree")
    refuses(tmp_path, "give length_unit", argon)


def test_lengths_beside_electronvolts_are_in_angstrom(tmp_path):
    """As far as they can be: no program has eV and Bohr."""
    arrays = dict(z=[1, 1], R=[[[0, 0, 0], [0, 0, 1.8]]], E=[-20.0], e_unit="eV")
    with pytest.warns(DataNote, match="taken in Angstrom, as follows from its unit of energies"):
        assert float(read(tmp_path, arrays)[0].pos[1, 2]) == pytest.approx(1.8)
    arrays = fixed(r_unit=None, f_unit=None, F=None, R=fixed()["R"] / BOHR)
    refuses(tmp_path, "as where Bohr are taken for Å .* give length_unit", arrays)


def test_a_column_of_energies_is_not_yet_md17(tmp_path):
    refuses(tmp_path, "does not state the unit of its energies", md17(name=None), length_unit="Ang")


def test_units_that_have_no_effect_are_refused(tmp_path):
    arrays = fixed(E=None, energies_of_xtb=fixed()["E"], e_unit=None)
    refuses(tmp_path, "energy_unit is given, but there are no energies; name .* energy_key",
            arrays, energy_unit="Ha")  # fmt: skip


def test_stress(tmp_path):
    cell, stress = np.tile(np.eye(3) * 12.0, (FRAMES, 1, 1)), np.tile(np.eye(3), (FRAMES, 1, 1))
    arrays = fixed(cell=cell, stress=stress)
    assert float(read(tmp_path, arrays)[0].stress[0, 0, 0]) == 1.0
    data = read(tmp_path, arrays | dict(stress_unit="GPa"))[0]
    assert float(data.stress[0, 0, 0]) == pytest.approx(1 / 160.2176634)
    data = read(tmp_path, arrays | dict(stress=None, W=-stress * 1728), virial_key="W")[0]
    assert float(data.stress[0, 0, 0]) == pytest.approx(1.0)
    voigt = np.tile([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (FRAMES, 1))
    data = read(tmp_path, arrays | dict(stress=voigt))[0]
    assert data.stress.tolist() == [[[1, 6, 5], [6, 2, 4], [5, 4, 3]]]
    asked = arrays | dict(e_unit=None, f_unit=None)
    refuses(tmp_path, "unit of its stresses; give stress_unit", asked, energy_unit="eV",
            force_unit="eV/Å")  # fmt: skip


def test_types_of_other_machines(tmp_path):
    arrays = fixed()
    swapped = {name: arrays[name].astype(">f8") for name in "REF"}
    assert float(read(tmp_path, {**arrays, **swapped})[0].energy) == pytest.approx(ENERGY)
    assert read(tmp_path, fixed(R=arrays["R"].astype(np.float32)))[0].pos.dtype == torch.float32
    whole = read(tmp_path, fixed(R=np.round(arrays["R"] * 100).astype(int), r_unit="pm"))
    assert whole[0].pos.dtype == torch.float64


def test_cells(tmp_path):
    cell = np.tile(np.eye(3) * 12.0, (FRAMES, 1, 1))
    data = read(tmp_path, fixed(cell=cell))[1]
    assert data.pbc.tolist() == [[True, True, True]]
    pbc = np.tile([True, False, True], (FRAMES, 1))
    data = read(tmp_path, fixed(cell=cell, pbc=pbc, stress=cell))[1]
    assert data.pbc.tolist() == [[True, False, True]]
    assert data.cell.shape == data.stress.shape == (1, 3, 3)
    data = read(tmp_path, fixed(cell=cell, r_unit="nm"))[1]
    assert float(data.cell[0, 0, 0]) == 120.0


@pytest.mark.parametrize("name", ["cell", "lattice", "box"])
@pytest.mark.parametrize("layout", [fixed, ragged, md17, revised_md17])
def test_one_cell_for_all_and_other_names(tmp_path, layout, name):
    cell = np.diag([12.0, 13.0, 14.0])
    for values in (cell, cell.diagonal(), cell.reshape(9), np.tile(cell, (FRAMES, 1, 1))):
        data = read(tmp_path, layout(**{name: values}))[1]
        assert data.cell.tolist() == [cell.tolist()]
        assert data.pbc.tolist() == [[True, True, True]]
    sheared = cell + np.eye(3, k=1)
    if name == "cell":
        assert read(tmp_path, layout(cell=sheared))[1].cell.tolist() == [sheared.tolist()]
    else:
        refuses(tmp_path, f"{name} is not symmetric.* save it as cell", layout(**{name: sheared}))


def test_cells_of_zeros_are_no_cells(tmp_path):
    assert not read(tmp_path, fixed(cell=np.zeros((3, 3))))[0].pbc.any()


def test_padding(tmp_path):
    whole = read(tmp_path, ragged())
    sizes = ragged()["N"]
    z, rest = np.zeros((FRAMES, 9), np.uint8), np.zeros((2, FRAMES, 9, 3))
    for k, data in enumerate(whole):
        z[k, : sizes[k]], rest[0, k, : sizes[k]], rest[1, k, : sizes[k]] = (
            data.z, data.pos, data.forces,
        )  # fmt: skip
    charges = (z > 0) * 0.5
    arrays = fixed(z=None, Z=z, R=rest[0], F=rest[1], charges=charges, Q=np.zeros(FRAMES))
    for counts in (None, sizes):
        dataset = read(tmp_path, arrays | dict(N=counts))
        for name in ("z", "pos", "forces", "energy"):
            assert torch.equal(dataset.get_property(name), whole.get_property(name))
        assert dataset.get_property("charges").unique().tolist() == [0.5]
        assert dataset.has_property("Q")
    message = "structure 2: atomic numbers are 0 as in padding, but not at the end"
    z[2, 1] = 0
    refuses(tmp_path, message, arrays)
    refuses(tmp_path, "or not where N says", arrays | dict(N=np.full(FRAMES, 3)))


def test_symbols_of_elements(tmp_path):
    symbols = np.array(["C", "C", "O", *"HHHHHH"])
    for values in (symbols, symbols.astype("S2")):
        assert read(tmp_path, fixed(z=None, species=values))[0].z.tolist()[:3] == [6, 6, 8]
    refuses(tmp_path, "species holds 'Xy', which is no symbol", fixed(z=None, species=["Xy"] * 9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(e_unit=None),
            r"state the unit of its energies; give energy_unit \(--energy-unit\), such as eV",
        ),
        (dict(f_unit=None, r_unit=None), "does not state the unit of its .*; give .*_unit"),
        (dict(energy_unit="meV"), "states two units of its energies, 'eV' and 'meV'"),
        (dict(e_unit="eV per cell"), "unknown energy unit 'eV per cell'; known: eV, meV"),
        (dict(R=None), "has no positions, called R or coords or .*, only E, F, e_unit"),
        (dict(z=None), "has no atomic numbers, called z or Z or .*, only E, F, R"),
        (
            dict(z=np.ones(8, int)),
            "must be 54 atomic numbers, as many as atoms in the positions or N; got 8",
        ),
        (dict(z=np.ones(9)), "z must hold integer atomic numbers or symbols .* float64"),
        (dict(z=np.full(9, 2**63, np.uint64)), "z holds 9223372036854775808, which is no atomic"),
        (dict(R=np.ones((9, 3))), r"R must have shape \(structures, atoms, 3\), got \(9, 3\)"),
        (
            dict(R=np.ones((6, 9, 2))),
            r"R must have shape \(structures, atoms, 3\), or .*, got \(6, 9, 2\)",
        ),
        (dict(R=np.ones((0, 9, 3))), r"R must have shape .*, got \(0, 9, 3\)"),
        (dict(E=np.ones(5)), r"E must hold numbers in shape \(6,\) or \(6, 1\), got shape \(5,\)"),
        (dict(E=np.array(["a"] * 6)), "E must hold numbers .* type <U1"),
        (dict(F=np.ones((6, 8, 3))), r"F must hold numbers in shape \(6, 9, 3\), got .*6, 8, 3"),
        (dict(F=np.ones((9, 6, 3))), r"F must .* got shape \(9, 6, 3\)"),
        (dict(cell=np.ones((2, 3, 3))), r"cell must hold numbers in shape \(6, 3, 3\)"),
        (dict(cell=np.eye(3), box=np.eye(3)), "has cell and box, of which only one is read; drop"),
        (dict(energy=np.ones(6)), r"has E and energy, .*drop=\('energy',\) \(--drop energy\)"),
        (dict(energies=np.ones(6)), "has E and energies, of which only one is read"),
        (dict(force=np.ones((6, 9, 3))), "has F and force, of which only one is read"),
        (dict(positions=np.ones((6, 9, 3))), "has R and positions, of which only one is read"),
        (dict(numbers=np.ones(9, int)), "has z and numbers, of which only one is read"),
        (dict(N=np.full(6, 9), natoms=np.full(6, 9)), "has N and natoms, of which only one"),
        (dict(tags=np.ones((6, 8))), r"'tags' has a name that .*, and shape \(6, 8\); rename it"),
        (dict(z=np.array([6, 6, 8, 1, 1, 0, 1, 1, 1])), "structure 0: atomic numbers are 0 as in"),
    ],
)
def test_refuses_fixed(tmp_path, changes, message):
    refuses(tmp_path, message, fixed(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(Z=None), "no atomic numbers"),
        (dict(N=np.full(6, 6)), "there must be 36 atomic numbers, .*; got 39"),
        (
            dict(N=np.array([3.7, 9, 8, 7, 6, 5])),
            "N must hold the number of atoms .* whole num",
        ),
        (dict(N=np.array([-3, 9, 8, 7, 6, 5])), "N must hold the number of atoms .* whole num"),
        (dict(R=np.ones((38, 3))), r"R must hold numbers in shape \(39, 3\), got shape \(38, 3\)"),
        (dict(F=np.ones((13, 3, 3))), r"F must hold numbers in shape \(39, 3\)"),
        (dict(E=np.ones(39)), r"E must hold numbers in shape \(6,\)"),
        (dict(N=np.array([9, 8, 7, 6, 9, 0])), "structure 5: it has no atoms; remove it"),
    ],
)
def test_refuses_ragged(tmp_path, changes, message):
    refuses(tmp_path, message, ragged(**changes))


@pytest.mark.parametrize(
    ("name", "row", "field"),
    [
        ("E", (4,), "structure 4: energy is nan"),
        ("F", (2, 7, 1), r"structure 2: forces\[7, 1\] is nan"),
        ("R", (5, 0, 2), r"structure 5: pos\[0, 2\] is nan"),
    ],
)
def test_missing_number_is_named(tmp_path, name, row, field):
    arrays = fixed()
    arrays[name][row] = np.nan
    refuses(tmp_path, rf"own\.npz, {field}, but must be finite; mend or remove", arrays)


def test_unknown_key(tmp_path):
    message = "has no 'U0'; it has E, F, R, e_unit"
    refuses(tmp_path, message, fixed(), energy_key="U0")
    refuses(tmp_path, "has no 'dE'", fixed(), forces_key="dE")


def test_broken_files(tmp_path):
    path = write(tmp_path / "whole.npz", fixed())
    content = path.read_bytes()
    broken = tmp_path / "broken.npz"
    for text in (content[: len(content) // 2], content[:-1], b"9\n\nC 0 0 0\n", b""):
        broken.write_bytes(text)
        with pytest.raises(InputError, match=r"broken\.npz: not an \.npz archive, or not a whole"):
            read_npz(broken)
    with pytest.raises(InputError, match=r"absent\.npz: no such file"):
        read_npz(tmp_path / "absent.npz")


def test_flipped_bits_never_change_a_number(tmp_path):
    path = write(tmp_path / "own.npz", fixed())
    content, whole = path.read_bytes(), read_npz(path)
    refused = 0
    for place in range(100, len(content), 59):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            dataset = read_npz(path)
        except InputError:
            refused += 1
        else:  # it was a byte that zip archives do not use
            for field in ("pos", "energy", "forces"):
                assert torch.equal(dataset.get_property(field), whole.get_property(field))
    assert refused > 30


def test_pickled_objects_are_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("code of the file was run",))

    arrays = fixed(extra=np.array([Evil()], dtype=object))
    refuses(tmp_path, "cannot be read .*save it again as plain arrays, without pickled", arrays)


def test_single_array_is_no_archive(tmp_path):
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, fixed()["R"])
    with pytest.raises(InputError, match="not an .npz archive"):
        read_npz(tmp_path / "array.npz")


def test_goes_to_ase_and_back(tmp_path):
    data = read(tmp_path, fixed())[2]
    again = from_ase(to_ase(data))
    assert torch.equal(again.energy, data.energy)
    torch.testing.assert_close(again.pos, data.pos)


def test_drop(tmp_path):
    arrays = fixed(mu=np.ones(FRAMES), tags=np.ones((FRAMES, 9), int))
    assert read(tmp_path, arrays)[0].tags.tolist() == [1] * 9
    assert set(read(tmp_path, arrays, drop=("mu", "tags", "F"))[0].keys()) == {"z", "pos", "energy"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones(FRAMES, complex), r"\(type complex128\)"),
        (np.zeros(FRAMES, "M8[s]"), r"\(type datetime64"),
        (np.full(FRAMES, 2**63 + 1, np.uint64), r"\(type uint64\)"),
        (np.ones((2, 2)), r"\(shape \(2, 2\), no row for each structure\)"),
    ],
)
def test_what_is_left_out_is_said(tmp_path, values, reason):
    with pytest.warns(DataNote, match=f"own.npz: left out 'more' {reason}"):
        assert not read(tmp_path, fixed(more=values)).has_property("more")
    with pytest.warns(DataNote, match="left out '../more'"):
        read(tmp_path, fixed(**{"../more": np.ones(FRAMES)}))


def test_bytes_become_text(tmp_path):
    assert read(tmp_path, fixed(group=np.array([b"a"] * FRAMES)))[2].group == "a"


def _header(shape):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00\x76\x00" + text.encode().ljust(117) + b"\n"


@pytest.mark.parametrize(
    "content",
    [
        _header("(10**12,)".replace("10**12", str(10**12))),
        _header(f"({10**12}, {10**12}, {10**12})"),
        _header("(3,)") + b"\0" * 25,
        _header("(3, )").replace(b"<f8", b"<U0"),
        b"\x93NUMPY\x09\x00",
        b"\x93NUM",
        b"",
        b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': ((".ljust(117) + b"\n",
    ],
)
def test_members_that_lie_or_are_none(tmp_path, content):
    path = write(tmp_path / "own.npz", fixed())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", content)
    with pytest.raises(InputError, match="own.npz: array 'more' cannot be read"):
        read_npz(path)
    assert not read_npz(path, drop=("more",)).has_property("more")


def test_empty_arrays_of_many_structures(tmp_path):
    refuses(tmp_path, "R must have shape", fixed(R=np.zeros((10**9, 0, 3))))


def test_text_that_is_not_unicode(tmp_path):
    """NumPy reads it, and raises a SystemError where it becomes a string."""
    letters = np.array([0x41, 0x7FFFFFFF], np.uint32).view("U2")
    np.savez(tmp_path / "a.npz", z=[8], R=np.zeros((1, 1, 3)), name=letters)
    with pytest.raises(InputError, match="array 'name' cannot be read .*not Unicode"):
        AtomsFile(tmp_path / "a.npz", length_unit="Angstrom")

"""ASE atoms to structures and back."""

import re
import warnings

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import BaseCalculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from hypothesis import given, settings
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from schnetgeo.data import from_ase, to_ase, with_edges
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from tests.structures import clusters, crystals

THIRD = 1 / 3  # has no short decimal form


def labeled(atoms=None, seed=0, magmom=()):
    """Atoms with everything that is kept, in numbers that use all bits of a float64."""
    rng = np.random.default_rng(seed)
    atoms = bulk("NaCl", "rocksalt", a=5.64) if atoms is None else atoms
    atoms.rattle(0.1, seed=seed)
    num = len(atoms)
    atoms.set_tags(rng.integers(0, 9, num))
    atoms.set_masses(rng.uniform(1, 9, num))
    atoms.set_momenta(rng.normal(size=(num, 3)))
    atoms.set_initial_charges(rng.normal(size=num))
    atoms.set_initial_magnetic_moments(rng.normal(size=(num, *magmom)))
    atoms.info.update(charge=-1, spin=2, converged=True, gap=THIRD, config_type="bulk")
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=-4209 - THIRD,
        free_energy=-4210 - THIRD,
        magmom=THIRD,
        forces=rng.normal(size=(num, 3)),
        stress=rng.normal(size=6),
    )
    return atoms


def assert_same(one, two):
    """Everything equal to the last bit."""
    assert one.arrays.keys() == two.arrays.keys()
    for name, array in one.arrays.items():
        assert array.dtype == two.arrays[name].dtype
        np.testing.assert_array_equal(array, two.arrays[name], err_msg=name)
    np.testing.assert_array_equal(one.cell.array, two.cell.array)
    assert one.pbc.tolist() == two.pbc.tolist()
    assert one.info == two.info
    assert (one.calc is None) == (two.calc is None)
    if one.calc is not None:
        assert not two.calc.check_state(two)
        assert one.calc.results.keys() == two.calc.results.keys()
        for name, value in one.calc.results.items():
            np.testing.assert_array_equal(value, two.calc.results[name], err_msg=name)


@settings(deadline=None, max_examples=30)
@given(atoms=clusters() | crystals())
def test_round_trip(atoms):
    assert_same(atoms, to_ase(from_ase(atoms)))
    atoms = labeled(atoms, magmom=(3,))
    assert_same(atoms, to_ase(from_ase(atoms)))


@pytest.mark.parametrize("loader", [False, True])
def test_round_trip_through_a_batch(loader):
    atoms = [labeled(seed=k) for k in range(3)]
    structures = [from_ase(a) for a in atoms]
    batch = next(iter(DataLoader(structures, 3))) if loader else Batch.from_data_list(structures)
    assert batch.energy.dtype == torch.float64
    for one, data in zip(atoms, batch.to_data_list(), strict=True):
        assert_same(one, to_ase(data))


def test_structure_has_the_documented_shapes():
    data = from_ase(labeled())
    shapes = {k: (tuple(v.shape), v.dtype) for k, v in data.to_dict().items() if torch.is_tensor(v)}
    assert shapes["z"] == ((2,), torch.int64)
    assert shapes["pos"] == shapes["forces"] == ((2, 3), torch.float64)
    assert shapes["cell"] == shapes["stress"] == ((1, 3, 3), torch.float64)
    assert shapes["pbc"] == ((1, 3), torch.bool)
    assert shapes["energy"] == shapes["gap"] == ((1,), torch.float64)
    assert shapes["charge"] == ((1,), torch.int64)
    assert shapes["converged"] == ((1,), torch.bool)
    assert data.config_type == "bulk"


def test_stress_keeps_its_order_and_sign():
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, stress=[1, 2, 3, 4, 5, 6])  # xx yy zz yz xz xy
    assert from_ase(atoms).stress.tolist() == [[[1, 6, 5], [6, 2, 4], [5, 4, 3]]]
    atoms.calc = SinglePointCalculator(atoms, stress=[[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    assert to_ase(from_ase(atoms)).get_stress().tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (True, True),
        (np.bool_(False), False),
        (-7, -7),
        (2**63 - 1, 2**63 - 1),
        (np.int8(-3), -3),
        (np.uint16(3), 3),
        (THIRD, THIRD),
        (float("inf"), float("inf")),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64(THIRD), THIRD),
        (np.array(4), 4),
        ("", ""),
        ("ethanol", "ethanol"),
        (np.str_("x"), "x"),
    ],
)
def test_info_scalars_come_back(value, kept):
    atoms = Atoms("H", info={"mine": value})
    (again,) = Batch.from_data_list([from_ase(atoms)]).to_data_list()
    back = to_ase(again).info["mine"]
    assert back == kept
    assert type(back) is type(kept)


@pytest.mark.parametrize("name", ["config_index", "batch_id", "surface", "x", "y", "class"])
def test_info_names_mean_nothing_to_a_batch(name):
    """PyG adds offsets to attributes whose names look like indices."""
    structures = [from_ase(Atoms("H2", [[0, 0, 0], [0, 0, 1]], info={name: k})) for k in (5, 6, 7)]
    batch = Batch.from_data_list([with_edges(s, 2.0) for s in structures])
    assert batch[name].tolist() == [5, 6, 7]
    assert batch.num_nodes == 6
    assert batch.edge_reverse.tolist() == [1, 0, 3, 2, 5, 4]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda atoms: atoms.positions.__setitem__((0, 0), 9.0), "positions"),
        (lambda atoms: atoms.set_cell(atoms.cell.array * 1.1), "cell"),
        (lambda atoms: atoms.set_pbc([True, True, False]), "pbc"),
        (lambda atoms: atoms.set_initial_charges([1, -1]), "initial_charges"),
    ],
)
def test_labels_of_other_atoms_are_not_lost_without_a_word(change, what):
    atoms = labeled()
    change(atoms)
    with pytest.raises(InputError, match=rf"energy, .* belong to other {what} .*drop=\('results',"):
        from_ase(atoms)
    data = from_ase(atoms, drop=("results",))
    assert not {"energy", "forces", "stress", "free_energy", "magmom"} & set(data.keys())


def test_results_that_a_calculator_would_compute_anew_are_left_behind():
    atoms = bulk("Cu")
    atoms.calc = EMT()  # has not been asked for anything
    assert "energy" not in from_ase(atoms)
    atoms.get_potential_energy()
    atoms.set_cell(atoms.cell.array * 1.01)
    assert "energy" not in from_ase(atoms)


def test_live_calculator_with_results_of_its_own():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    atoms.rattle(0.1)
    energy = atoms.get_potential_energy()
    with pytest.warns(DataNote, match=r"atoms: left out the calculator's result 'energies'$"):
        data = from_ase(atoms)
    assert data.energy.item() == energy
    np.testing.assert_array_equal(data.forces, atoms.get_forces())
    assert atoms.calc.results["energies"].shape == (4,)  # still there


class Bare(BaseCalculator):
    """A calculator of ASE's newer kind."""

    implemented_properties = ("energy",)

    def calculate(self, atoms, properties, system_changes):
        self.results = {"energy": np.array([THIRD])}


def test_calculators_of_the_newer_kind_are_heard():
    atoms = Atoms("H")
    atoms.calc = Bare()
    atoms.get_potential_energy()
    assert from_ase(atoms).energy.tolist() == [THIRD]


def test_vector_magnetic_moment_is_named():
    atoms = Atoms("H")
    atoms.calc = SinglePointCalculator(atoms, magmom=np.ones(3))
    with pytest.warns(DataNote, match="left out the calculator's result 'magmom'"):
        from_ase(atoms)


def test_forces_of_wrong_shape_are_named():
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, forces=np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"forces must have shape \(3, 3\), got \(2, 3\)"):
        from_ase(atoms)


@pytest.mark.parametrize("value", [[1, 2], np.ones(3), {"a": 1}, None, 1j, b"raw", 2**63, ["a"]])
def test_info_that_cannot_be_kept_is_named(value):
    atoms = Atoms("H", info={"mine": value, "gap": THIRD})
    with pytest.warns(DataNote, match=r"left out info\['mine'\] \(neither text nor a number"):
        data = from_ase(atoms)
    assert data.gap.tolist() == [THIRD]
    assert "mine" not in data


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tags", "taken"),
        ("edge_index", "taken"),
        ("forces_mask", "taken"),
        ("batch", "not one of a field"),
        ("ptr", "not one of a field"),
        ("num_nodes", "not one of a field"),
        ("to", "not one of a field"),
        ("config-type", "not one of a field"),
        ("my key", "not one of a field"),
        ("../x", "not one of a field"),
        (3, "not one of a field"),
    ],
)
def test_names_that_cannot_be_kept(name, reason):
    atoms = Atoms("H", info={name: 1, "gap": THIRD})
    with pytest.warns(DataNote, match=rf"left out info\[{re.escape(repr(name))}\] .*{reason}"):
        data = from_ase(atoms)
    assert "gap" in data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_ase(atoms, drop=(name,))


@pytest.mark.parametrize("name", ["z", "cell", "pbc", "Lattice", "box", "positions"])
def test_geometry_under_another_name_is_refused(name):
    atoms = Atoms("H", info={name: 1})
    with pytest.raises(InputError, match=rf"'{name}' seems to hold geometry.*drop=\('{name}',\)"):
        from_ase(atoms)


def test_formula_units_of_a_cell_are_no_atomic_numbers():
    assert from_ase(Atoms("H", info={"Z": 4})).Z.tolist() == [4]
    with pytest.raises(InputError, match="'Z' seems to hold geometry"):
        from_ase(Atoms("H", info={"Z": [1]}))


def fixed(atoms):
    atoms.set_constraint(FixAtoms([0]))


def displaced(atoms):
    atoms.set_celldisp([0, 0, 1])


@pytest.mark.parametrize(
    ("change", "message", "name"),
    [
        (lambda atoms: atoms.set_array("bfactor", np.ones(3)), "array 'bfactor'", "bfactor"),
        (displaced, "the cell displacement", "celldisp"),
    ],
)
def test_what_cannot_be_kept_is_named(change, message, name):
    atoms = molecule("H2O")
    change(atoms)
    with pytest.warns(DataNote, match=f"left out .*{message}"):
        assert from_ase(atoms).z.tolist() == [8, 1, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_ase(atoms, drop=(name,))


def test_constraints_are_refused_because_forces_may_be_without_them():
    atoms = molecule("H2O")
    fixed(atoms)
    with pytest.raises(InputError, match=r"the constraint FixAtoms .*drop=\('constraints',\)"):
        from_ase(atoms)
    assert from_ase(atoms, drop=("constraints",)).z.tolist() == [8, 1, 1]


def test_labels_in_info_and_arrays():
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], cell=[2, 2, 2], pbc=True)
    atoms.info.update(energy=-31.5, virial=np.diag([8.0, 16.0, 24.0]))
    atoms.arrays["forces"] = np.array([[0, 0, 1.5], [0, 0, -1.5]])
    data = from_ase(atoms)
    assert data.energy.tolist() == [-31.5]
    assert data.forces[0].tolist() == [0, 0, 1.5]
    assert data.stress[0].diagonal().tolist() == pytest.approx([-1, -2, -3])


def test_labels_under_other_names():
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], cell=[2, 2, 2], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, free_energy=2.0)
    atoms.info.update(y="-3.5", pressure=[1, 2, 3, 4, 5, 6], w=-8 * np.eye(3))
    atoms.arrays["gradient"] = np.ones((2, 3))
    names = dict(energy_key="y", forces_key="-gradient", stress_key="-pressure", drop=("w",))
    data = from_ase(atoms, **names)
    assert data.energy.tolist() == [-3.5]
    assert data.forces.tolist() == [[-1] * 3] * 2
    assert data.stress.tolist() == [[[-1, -6, -5], [-6, -2, -4], [-5, -4, -3]]]
    rest = ("pressure", "gradient", "y")
    stress = from_ase(atoms, rest, virial_key="w").stress[0]
    assert stress.diagonal().tolist() == pytest.approx([1, 1, 1])
    assert from_ase(atoms, (*rest, "w"), energy_key="free_energy").energy.tolist() == [2.0]
    with pytest.raises(InputError, match="has no energy named 'Y'; it has energy, free_energy,"):
        from_ase(atoms, ("gradient",), energy_key="Y")


def test_forces_under_another_name_are_not_lost():
    atoms = molecule("H2O")
    atoms.arrays["dft_forces"] = np.ones((3, 3))
    with pytest.raises(InputError, match="would be lost; .* forces_key='dft_forces', else name it"):
        from_ase(atoms)


def test_types_of_lammps_are_no_elements():
    atoms = Atoms([1, 2, 2], np.eye(3))
    atoms.arrays["type"] = np.array([1, 2, 2])
    with pytest.raises(InputError, match="the types of a LAMMPS file, not elements"):
        from_ase(atoms)


@pytest.mark.parametrize("name", ["structures.traj", "structures.db"])
def test_files_in_binary_keep_every_bit(tmp_path, name):
    atoms = labeled(bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    again = to_ase(from_ase(atoms))
    if name.endswith("traj"):
        ase.io.write(tmp_path / name, again)
        assert_same(atoms, ase.io.read(tmp_path / name))
        return
    info = again.info
    with connect(tmp_path / name) as database:
        database.write(again, data=info)
        row = database.get(1)
    read = row.toatoms()
    read.info = row.data
    assert_same(atoms, read)


def test_extxyz_keeps_what_it_prints(tmp_path):
    """Per-atom columns have eight decimals; the cell, the energy and the stress have all bits."""
    path = tmp_path / "structures.extxyz"
    ase.io.write(path, to_ase(from_ase(labeled())))
    read = ase.io.read(path)
    data, original = from_ase(read), from_ase(labeled())
    assert_same(read, to_ase(data))
    for name in ("energy", "free_energy", "cell", "stress", "gap"):
        assert torch.equal(data[name], original[name]), name
    for name in ("pos", "forces"):
        assert torch.allclose(data[name], original[name], rtol=0, atol=0.51e-8), name
    ase.io.write(path, to_ase(data))  # once rounded, nothing is lost any more
    assert_same(read, ase.io.read(path))


def test_edges_and_gradients_do_not_reach_ase():
    data = with_edges(from_ase(labeled()), 3.0)
    data.pos.requires_grad_()
    assert_same(labeled(), to_ase(data))


def test_atoms_do_not_share_memory():
    atoms = labeled()
    data = from_ase(atoms)
    back = to_ase(data)
    data.pos += 1
    data.cell += 1
    data.forces += 1
    data.masses += 1
    assert_same(labeled(), atoms)
    assert_same(labeled(), back)


def test_float32_predictions_become_atoms():
    data = from_ase(molecule("H2O"))
    data.pos, data.forces = data.pos.float(), torch.ones(3, 3)
    assert to_ase(data).get_forces().tolist() == [[1] * 3] * 3


def test_to_ase_refuses_a_batch():
    batch = Batch.from_data_list([from_ase(molecule("H2O"))] * 2)
    with pytest.raises(InputError, match=r"got a batch; call batch.to_data_list\(\) first"):
        to_ase(batch)


@pytest.mark.parametrize(
    ("value", "message"),
    [(torch.ones(2, 2), r"'odd' of shape \(2, 2\)"), (0.5, "'odd' = 0.5"), ([1], r"'odd' = \[1\]")],
)
def test_to_ase_names_what_has_no_place(value, message):
    data = from_ase(molecule("H2O"))
    data.odd = value
    with pytest.raises(InputError, match=f"to_ase has no place for {message}; delete it first"):
        to_ase(data)


def test_structures_without_cell_are_molecules():
    data = from_ase(molecule("H2O"))
    del data.cell, data.pbc
    assert_same(molecule("H2O"), to_ase(data))


def test_broken_atoms_are_refused():
    atoms = molecule("H2O")
    atoms.positions[1] = atoms.positions[2]
    with pytest.raises(InputError, match="atoms, structure 0: atoms 1 and 2 are in one place"):
        from_ase(atoms)
    with pytest.raises(InputError, match="atoms, structure 0: it has no atoms"):
        from_ase(Atoms())

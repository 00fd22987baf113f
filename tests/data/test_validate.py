"""What a structure must fulfill: each rule is broken once, and the message says where and how."""

import re
import time

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from schnetgeo.data import Structure, from_ase, validate
from schnetgeo.data.overlaps import _GENERIC_DIRECTION, MIN_DISTANCE
from schnetgeo.data.validate import check_elements
from schnetgeo.errors import InputError
from schnetgeo.geometry import completed_cell
from tests.structures import clusters, crystals, generators, random_crystal, structure

NAN, INF = float("nan"), float("inf")


def good(num_atoms=4, seed=0, pbc=(True, True, True)):
    """A crystal with all labels."""
    rng = np.random.default_rng(seed)
    return from_ase(random_crystal(rng, num_atoms, pbc)).update(
        {
            "energy": torch.tensor([-1.0], dtype=torch.float64),
            "forces": torch.zeros(num_atoms, 3),
            "stress": torch.zeros(1, 3, 3),
        }
    )


def one_by_one(broken, at):
    """Structures in a batch, the broken one deep inside."""
    return Batch.from_data_list([*(good(3, seed) for seed in range(at)), broken, good(2, 99)])


def packed(broken, at):
    """The same as a packed data set: offsets, but no index for each atom."""
    data = one_by_one(broken, at)
    del data.batch
    return Structure(**data.to_dict())


pack = pytest.mark.parametrize("pack", [one_by_one, packed])


def refused(data, message, **options):
    with pytest.raises(InputError, match=re.escape(message)):
        validate(data, where="file.xyz", **options)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(
    ("field", "index", "name"),
    [
        ("pos", (2, 1), "pos[2, 1]"),
        ("forces", (3, 0), "forces[3, 0]"),
        ("energy", (0,), "energy"),
        ("stress", (0, 2, 2), "stress[2, 2]"),
        ("cell", (0, 1, 0), "cell[1, 0]"),
    ],
)
@pack
def test_numbers_are_finite(pack, field, index, name, value):
    broken = good()
    broken[field][index] = value
    refused(broken, f"file.xyz, structure 0: {name} is {value}, but must be finite")
    refused(pack(broken, 7), f"file.xyz, structure 7: {name} is {value}, but must be finite")


@pytest.mark.parametrize("number", [0, -1, 119, 1000])
@pack
def test_elements_are_in_the_table(pack, number):
    broken = good()
    broken.z[3] = number
    message = f"z[3] = {number} is not an atomic number from 1 to 118; mend it"
    refused(broken, f"file.xyz, structure 0: {message}")
    refused(pack(broken, 7), f"file.xyz, structure 7: {message}")


def test_elements_are_known_to_the_model():
    broken = good()
    broken.z[:] = torch.tensor([1, 1, 17, 18])
    validate(broken, max_z=19)
    message = "structure 5: z[3] = 18 is not an atomic number from 1 to 17; raise max_z"
    batch = one_by_one(broken, 5)
    refused(batch, f"file.xyz, {message}", max_z=18)
    with pytest.raises(InputError, match=re.escape(f"model.pt, {message}")):
        check_elements(batch, 18, "model.pt")
    check_elements(batch, 19)
    validate(structure([1, 118], torch.eye(2, 3)))


@pytest.mark.parametrize("gap", [0.0, 1e-9, 0.9 * MIN_DISTANCE])
@pack
def test_atoms_have_their_own_places(pack, gap):
    broken = good(9)
    broken.pos[6] = broken.pos[2] + torch.tensor([0, gap, 0])
    x, y, z = broken.pos[2].tolist()
    message = f"atoms 2 and 6 are in one place, closer than 0.001 Å: [{x}, {y}, {z}] and "
    refused(broken, f"file.xyz, structure 0: {message}")
    refused(pack(broken, 7), f"file.xyz, structure 7: {message}")


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(rng=generators(), atoms=clusters(6) | crystals(6), far=st.booleans())
def test_two_in_one_place_are_found_wherever_they_are(rng, atoms, far):
    """Also across cell faces, at edges of any grid, and through any number of images."""
    atoms.wrap()  # so that many are near a face, move one onto a corner
    atoms.positions -= atoms.positions[0] if rng.random() < 0.5 else 0
    direction = rng.normal(size=3)
    twin = atoms.positions[0] + 0.99 * MIN_DISTANCE * direction / np.linalg.norm(direction)
    twin += (rng.integers(-3, 4, 3) * far * atoms.pbc) @ atoms.cell.array
    with pytest.raises(InputError, match=f"atoms 0 and {len(atoms)} are in one place"):
        from_ase(atoms + Atoms("H", [twin]))
    twin += 0.02 * MIN_DISTANCE * direction / np.linalg.norm(direction)
    from_ase(atoms + Atoms("H", [twin]))


@pytest.mark.parametrize("start", [0.0, 0.0005, 1.2345, 2.3455, -1e-17, 5.43])
@pytest.mark.parametrize("cells", [1, -1, 4])
def test_periodic_images_have_their_own_places(start, cells):
    atoms = Atoms("H2", [[start, 0, 0], [start + cells * 5.43, 0, 0]], cell=[5.43] * 3, pbc=True)
    with pytest.raises(InputError, match=r"atoms 0 and 1 are in one place.*periodic images"):
        from_ase(atoms)
    atoms.pbc = [False, True, True]
    from_ase(atoms)


def test_places_are_compared_within_structures_only():
    same = [structure([1], [[0, 0, 0]]) for _ in range(3)]
    validate(Batch.from_data_list(same))
    validate(from_ase(Atoms("H", cell=[1, 1, 1], pbc=True)))  # nor with the atom's own images


def test_atoms_elsewhere_do_not_hide_a_pair():
    """The search compares neighbors along a line; here five others lie between the pair."""
    line = np.array(_GENERIC_DIRECTION)
    between = np.linspace(0.1, 0.8, 5)[:, None] * MIN_DISTANCE * line
    aside = np.arange(1, 6)[:, None] * np.cross(line, [0, 0, 1])
    broken = structure(np.ones(7, int), np.vstack([0 * line, between + aside, 0.9e-3 * line]))
    refused(broken, "file.xyz, structure 0: atoms 0 and 6 are in one place")


def test_many_atoms_in_one_plane_do_not_take_forever():
    x, y = np.meshgrid(np.arange(300), np.arange(300))
    plane = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3)
    validate(structure(np.ones(90_000, int), plane))


def plane_across_the_line(number):
    """Points 2 Å apart in the plane whose points are all at one place along the search's line."""
    along, across = np.linalg.svd(np.array([_GENERIC_DIRECTION]))[2][1:]
    grid = np.stack(np.meshgrid(*2 * [np.arange(number)]), axis=-1).reshape(-1, 2)
    return 2.0 * grid @ np.stack([along, across])


def test_atoms_in_a_plane_across_the_line_do_not_take_forever():
    plane = plane_across_the_line(200)
    begin = time.perf_counter()
    validate(structure(np.ones(len(plane), int), plane))
    assert time.perf_counter() - begin < 5  # comparing all with all took 49 s


@settings(deadline=None, max_examples=30)
@given(rng=generators())
def test_two_in_one_place_within_such_a_plane_are_found(rng):
    plane = plane_across_the_line(12) + rng.normal(size=3)
    atom, direction = rng.integers(len(plane)), rng.normal(size=3)
    step = MIN_DISTANCE * direction / np.linalg.norm(direction)
    z = np.ones(len(plane) + 1, int)
    broken = structure(z, np.vstack([plane, plane[atom] + 0.99 * step]))
    refused(broken, f"structure 0: atoms {atom} and {len(plane)} are in one place")
    validate(structure(z, np.vstack([plane, plane[atom] + 1.01 * step])))


@pack
def test_structures_have_atoms(pack):
    none = good(1).update({"z": torch.ones(0).long(), "pos": torch.zeros(0, 3)})
    none.forces = torch.zeros(0, 3)
    refused(none, "file.xyz, structure 0: it has no atoms; remove it")
    refused(pack(none, 4), "file.xyz, structure 4: it has no atoms; remove it")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("pos", torch.zeros(3, 3), "pos must have shape (4, 3), got (3, 3)"),
        ("pos", torch.zeros(4, 2), "pos must have shape (4, 3), got (4, 2)"),
        ("forces", torch.zeros(4), "forces must have shape (4, 3), got (4,)"),
        ("cell", torch.zeros(3, 3), "cell must have shape (1, 3, 3), got (3, 3)"),
        ("pbc", torch.ones(3).bool(), "pbc must have shape (1, 3), got (3,)"),
        ("pbc", torch.ones(1, 3).long(), "pbc must have type torch.bool, got torch.int64"),
        ("energy", torch.tensor(1.0).double(), "energy must have shape (1,), got ()"),
        ("energy", torch.ones(1, 1).double(), "energy must have shape (1,), got (1, 1)"),
        ("energy", torch.ones(1), "energy has type torch.float32, but energies are float64"),
        ("energy", -1.5, "energy must be a tensor, got -1.5; PyG would batch"),
        ("energy", np.ones(1), "energy must be a tensor, got array([1.])"),
        ("stress", torch.zeros(1, 6), "stress must have shape (1, 3, 3), got (1, 6)"),
        ("z", torch.ones(4), "z must hold one integer per atom, shape (N,); it has shape (4,)"),
        ("z", torch.ones(4, 1).long(), "z must hold one integer per atom, shape (N,); it has"),
        ("z", torch.tensor(1), "z must hold one integer per atom, shape (N,); it has shape ()"),
        ("z", [1, 1, 1, 1], "z must be a tensor, got [1, 1, 1, 1]"),
        ("z", None, "z is missing"),
        ("pos", None, "pos is missing"),
        ("cell", None, "pbc is set but cell is missing"),
        ("ptr", torch.tensor([0, 2, 5]), "z must have shape (5,), got (4,)"),
        ("batch", torch.tensor([0, 1, 0, 1]), "batch must be sorted"),
        ("batch", torch.tensor([0, 0, 1]), "z must have shape (3,), got (4,)"),
    ],
)
def test_shapes_and_types_agree(field, value, expected):
    data = good()
    data[field] = value
    refused(data, f"file.xyz: {expected}")


def test_labels_of_a_batch_have_its_size():
    batch = one_by_one(good(), 2)
    batch.energy = batch.energy[:3]
    refused(batch, "file.xyz: energy must have shape (4,), got (3,)")


SINGULAR = {
    "no cell": ([0, 0, 0], (1, 1, 1)),
    "no third vector": ([[3, 0, 0], [0, 3, 0], [0, 0, 0]], (1, 1, 1)),
    "coplanar": ([[3, 0, 0], [0, 3, 0], [3, 3, 0]], (1, 1, 1)),
    "coplanar but for rounding": ([[3, 0, 0], [0, 3, 0], [3, 3, 1e-9]], (1, 1, 1)),
    "collinear": ([[3, 0, 0], [6, 0, 0], [0, 0, 9]], (1, 1, 0)),
    "missing in two": ([[3, 0, 0], [0, 0, 0], [0, 0, 9]], (1, 1, 0)),
    "missing in one": ([[3, 0, 0], [0, 0, 0], [0, 0, 9]], (0, 1, 0)),
    "shorter than atoms may be close": ([[3, 0, 0], [0, 5e-4, 0], [0, 0, 9]], (0, 1, 0)),
}


@pytest.mark.parametrize("name", SINGULAR)
@pack
def test_periodic_cells_have_a_volume(pack, name):
    cell, pbc = SINGULAR[name]
    pbc = [bool(p) for p in pbc]
    broken = good()
    broken.cell = torch.as_tensor(Atoms(cell=cell).cell.array)[None]
    broken.pbc = torch.tensor([pbc])
    message = f"cell is singular although pbc is {pbc}: its periodic vectors"
    refused(broken, f"file.xyz, structure 0: {message}")
    refused(pack(broken, 5), f"file.xyz, structure 5: {message}")
    vectors = broken.cell[0][broken.pbc[0]].tolist()
    refused(broken, f"{vectors} span no volume; set the cell or switch pbc off")


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], (0, 0, 0)),
        ([[0, 0, 0], [0, 1.2, 0], [0, 0, 0]], (0, 1, 0)),
        ([[2.46, 0, 0], [-1.23, 2.13, 0], [0, 0, 0]], (1, 1, 0)),
        ([[2.46, 0, 0], [-1.23, 2.13, 0], [2.46, 0, 0]], (1, 1, 0)),
        ([[300, 0, 0], [0, 1.5, 0], [0, 0, 1.5]], (1, 1, 1)),
        ([[3, 0, 0], [30, 3, 0], [-60, 50, 3]], (1, 1, 1)),  # skewed by far
        ([[3.9, 0, 0], [3.88, 0.4, 0], [3.88, 0.2, 0.35]], (1, 1, 1)),  # angles of six degrees
        ([[0, 3, 3], [3, 0, 3], [3, 3, 0]], (1, 1, 1)),  # left-handed
    ],
)
def test_real_cells_pass(cell, pbc):
    from_ase(Atoms("H", cell=cell, pbc=pbc))


@settings(deadline=None, max_examples=50)
@given(atoms=clusters() | crystals(stray=1000))
def test_random_structures_pass(atoms):
    from_ase(atoms)


def test_structures_from_ase_pass():
    for atoms in (molecule("C60"), bulk("Cu") * 6, bulk("Si", cubic=True) * (1, 5, 2)):
        from_ase(atoms)


@pack
def test_batches_and_packed_data_pass(pack):
    validate(pack(good(5), 8))
    mixed = [good(2, k, pbc) for k, pbc in enumerate([(0, 0, 0), (1, 0, 1), (1, 1, 1)])]
    validate(Batch.from_data_list(mixed))


def test_batch_without_pointers():
    batch = one_by_one(good(9), 3)
    plain = Data(z=batch.z, pos=batch.pos.clone(), batch=batch.batch)
    validate(plain)
    plain.pos[10, 2] = NAN
    refused(plain, "file.xyz, structure 3: pos[1, 2] is nan")


@settings(deadline=None, max_examples=30)
@given(atoms=crystals())
def test_completed_cells_keep_what_is_periodic(atoms):
    cell, pbc = torch.tensor(atoms.cell.array)[None], torch.tensor(atoms.pbc)[None]
    full = completed_cell(cell, pbc)
    added = full[~pbc]
    assert torch.equal(full[pbc], cell[pbc])
    assert torch.allclose(added @ full[pbc].mT, torch.zeros(()).double(), atol=1e-12)
    assert torch.allclose(added @ added.mT, torch.eye(len(added)).double(), atol=1e-12)

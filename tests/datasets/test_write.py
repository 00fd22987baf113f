"""What is written comes back to the last bit."""

import signal
import subprocess
import sys

import ase.io
import numpy as np
import pytest
import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.store import OnDiskDataset
from schnetgeo.datasets import AtomsFile, Demo
from schnetgeo.datasets.write import write_dataset
from schnetgeo.errors import InputError
from schnetgeo.files import file_lock
from tests.data.test_packed import structures
from tests.data.test_store import assert_same

SLOW_WRITER = """
import sys, time
from schnetgeo.datasets import Demo
from schnetgeo.datasets.write import write_dataset

def parts():
    for first in range(0, 1200, 100):
        yield Demo("ethanol")[first : first + 100]
        print("block", flush=True)
        time.sleep(0.3)

write_dataset(sys.argv[1], parts())
"""
FULL_DISK = """
import resource, signal, sys
from schnetgeo.datasets import Demo
from schnetgeo.datasets.write import write_dataset

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
write_dataset(sys.argv[1], [Demo("ethanol")])
"""
FILES = ["own.extxyz", "own.db", "own.npz"]
NUMBERS = np.random.default_rng(0)


def crystals(without=()):
    """Crystals with every kind of field, float64 with all its digits."""
    found = []
    for data in structures(periodic=True):
        count = data.z.numel()
        data.forces = torch.from_numpy(NUMBERS.normal(size=(count, 3)))
        data.energy = torch.from_numpy(NUMBERS.normal(size=1)) * 1e5
        data.stress = (data.stress + data.stress.mT) / 2
        data.tags = torch.arange(count)
        data.momenta = torch.from_numpy(NUMBERS.normal(size=(count, 3)))
        data.charged = torch.tensor([count > 3])
        data.mu = torch.tensor([1 / 3], dtype=torch.float64) * count
        data.name = f"CC(=O)O[{count}] \u00c5 and more"
        found.append(data)
    for data in found:
        for name in without:
            del data[name]
    return StructureDataset.from_list(found, name="own data")


@pytest.mark.parametrize("name", ["own.extxyz", "own.xyz", "own.db", "own.npz", "own", "o.store"])
def test_round_trip(tmp_path, name):
    dataset = crystals()
    write_dataset(tmp_path / name, [dataset[:2], dataset[2:]])
    path = tmp_path / name
    again = OnDiskDataset(path) if path.is_dir() else AtomsFile(path)
    if again.has_property("tags"):
        again.packed.tags = again.packed.tags.long()  # ASE reads other formats in int32
    assert_same(again, dataset)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["own.extxyz", "own.db", "own.npz"])
def test_molecules(tmp_path, name):
    dataset = Demo("molecules")[::50]
    write_dataset(tmp_path / name, [dataset])
    again = AtomsFile(tmp_path / name)
    for key in ("z", "pos", "energy", "forces"):
        assert torch.equal(
            again.get_property(key), dataset.get_property(key).to(again.get_property(key).dtype)
        ), key
    if name != "own.npz":
        assert not again.get_property("pbc").any()
        assert not again.get_property("cell").any()


@pytest.mark.parametrize("name", ["own.extxyz", "own.db"])
def test_ase_reads_it(tmp_path, name):
    dataset = crystals()
    write_dataset(tmp_path / name, [dataset])
    for atoms, data in zip(ase.io.read(tmp_path / name, ":"), dataset, strict=True):
        assert (atoms.get_forces() == data.forces.numpy()).all()
        assert (atoms.get_stress(voigt=False) == data.stress[0].numpy()).all()
        assert (atoms.cell.array == data.cell[0].numpy()).all()
        assert (atoms.positions == data.pos.numpy()).all()
        assert atoms.get_potential_energy() == float(data.energy)


def test_appends_to_a_store(tmp_path):
    dataset = crystals()
    write_dataset(tmp_path / "own", [dataset[:2]])
    write_dataset(tmp_path / "own", [dataset[2:]], append=True)
    assert_same(OnDiskDataset(tmp_path / "own"), dataset)


def test_refuses(tmp_path):
    dataset = crystals()
    with pytest.raises(InputError, match="own.cif: cannot write .cif; known: .extxyz, .xyz, .db"):
        write_dataset(tmp_path / "own.cif", [dataset])
    with pytest.raises(InputError, match="own.npz: only to a store can structures be appended"):
        write_dataset(tmp_path / "own.npz", [dataset], append=True)
    dataset.packed.odd = [0.5] * 6
    with pytest.raises(InputError, match="own data, structure 0: to_ase has no place for 'odd'"):
        write_dataset(tmp_path / "own.db", [dataset])
    assert list(tmp_path.iterdir()) == []
    write_dataset(tmp_path / "own.db", [Demo("ethanol")[:1]])
    before = (tmp_path / "own.db").read_bytes()
    with pytest.raises(InputError, match="own.db: exists already; remove it or choose another"):
        write_dataset(tmp_path / "own.db", [Demo("ethanol")])
    assert (tmp_path / "own.db").read_bytes() == before


@pytest.mark.parametrize("name", FILES)
def test_killed_while_writing(tmp_path, name):
    command = [sys.executable, "-c", SLOW_WRITER, str(tmp_path / name)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "block\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(InputError, match=f"{name}: no such file"):
        AtomsFile(tmp_path / name)
    write_dataset(tmp_path / name, [Demo("ethanol")[:7]])
    assert len(AtomsFile(tmp_path / name)) == 7
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FILES)
def test_full_disk(tmp_path, name):
    """A file size limit is the full disk that needs no administrator."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"InputError: {tmp_path / name}: cannot be written: " in done.stderr
    assert "nothing was left" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_two_processes(tmp_path, name):
    with (
        file_lock(tmp_path / name),
        pytest.raises(InputError, match=f"{name}: another process is wr"),
    ):
        write_dataset(tmp_path / name, [Demo("ethanol")[:1]])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["N", "E", "F", "R", "Z", "e_unit", "r_unit", "energies", "species", "lattice"]
)
def test_names_that_mean_something_else_in_npz(tmp_path, name):
    dataset = crystals()
    dataset.packed[name] = torch.arange(len(dataset))
    message = f"own data: a field is called '{name}', which means something else in .npz; rename"
    with pytest.raises(InputError, match=message):
        write_dataset(tmp_path / "own.npz", [dataset])
    assert not [*tmp_path.glob("*.npz")]


def test_any_other_name_in_npz(tmp_path):
    dataset = crystals()
    dataset.packed.file = torch.arange(len(dataset))
    dataset.packed.arr_0 = torch.arange(len(dataset))
    write_dataset(tmp_path / "own.npz", [dataset])
    again = AtomsFile(tmp_path / "own.npz")
    assert (
        again.get_property("file").tolist()
        == again.get_property("arr_0").tolist()
        == [*range(len(dataset))]
    )


@pytest.mark.parametrize("name", ["own.extxyz", "own.db", "own.npz", "own.store"])
@pytest.mark.filterwarnings("ignore::schnetgeo.notes.DataNote")
def test_labels_that_some_lack(tmp_path, name):
    (tmp_path / "mixed.xyz").write_text(
        "1\nenergy=-1 Properties=species:S:1:pos:R:3:forces:R:3\nH 0 0 0 1 2 3\n"
        "1\nenergy=-2\nH 0 0 0\n"
    )
    write_dataset(tmp_path / name, [AtomsFile(tmp_path / "mixed.xyz")])
    path = tmp_path / name
    again = OnDiskDataset(path) if path.is_dir() else AtomsFile(path)
    assert again.get_property("forces_mask").tolist() == [True, False]
    assert again.get_property("energy").tolist() == [-1, -2]
    assert again.get_property("forces")[0].tolist() == [1, 2, 3]

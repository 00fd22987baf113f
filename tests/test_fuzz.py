"""Damaged and hostile files, some of each kind; SCHNETGEO_FUZZ=1000 tries as many a reader."""

import functools
import gzip
import json
import random
import resource
import shutil
import zlib
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

import schnetgeo as sg
from benchmarks.accuracy.rows import Entry, read_entries, write_entry
from schnetgeo.cli import main, shell
from schnetgeo.data import column_writer, columns
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split
from schnetgeo.data.store import OnDiskDataset
from schnetgeo.data.store_writer import write_on_disk
from schnetgeo.datasets import ISO17, Demo
from schnetgeo.datasets.qm9_archive import read_archive
from schnetgeo.datasets.write import write_dataset
from schnetgeo.errors import InputError
from schnetgeo.potential.model_file import _digest, read_model
from schnetgeo.train.resume import check_resume
from tests.datasets.published import qm9_xyz, write_tar
from tests.fuzz import NUMBER, Broken, mutated, mutated_members, resealed, trial

try:
    import h5py
except ImportError:  # which is optional
    h5py = None

ADDRESS_SPACE = 6 * 2**30  # bytes beyond what the process has
CONFIGURATION = """
data: [good.extxyz]
max_steps: 5
num_train: &n 24
num_val: 6
progress: false
rho: 1e-2
split: random
model: {channels: 8, num_layers: 1, num_basis: 8, cutoff: *n, conv: null}
"""


WATER = molecule("H2O")
ISOMER = Atoms("C7O2H10", [[1.5 * (k % 3), 1.5 * (k // 3 % 3), 1.5 * (k // 9)] for k in range(19)])


class Refused(Exception):
    """A command that ended with exit code 2 and one line."""


def write_rows(path, energy, forces="forces", atoms=WATER, units=None):
    """A database of ASE, or of SchNetPack where there are units."""
    with ase.db.connect(path) as database:
        if units:
            database.metadata = {"_property_unit_dict": units, "_distance_unit": "Ang"}
        for _ in range(4):
            data = {forces: np.zeros((len(atoms), 3))}
            if units:
                database.write(atoms, data={**data, energy: np.array([-14.0])})
            else:
                database.write(atoms, key_value_pairs={energy: -14.0}, data=data)


def write_qm9(path):
    """Water as the archive of QM9 has it."""
    properties = [800.0, 400.0, 300.0, 1.9, 6.3, -0.3, 0.1, 0.4, 19.0, 0.02, *[-76.4] * 4, 6.0]
    files = {
        f"dsgdb9nsd_{k:06d}.xyz": qm9_xyz(k, properties, WATER.numbers, WATER.positions, "O")
        for k in range(1, 4)
    }
    write_tar(path.with_suffix(".tar.gz"), files)
    path.write_bytes(gzip.decompress(path.with_suffix(".tar.gz").read_bytes()))


def write_hdf5(path):
    """Two groups with units."""
    with h5py.File(path, "w") as file:
        for name in ("a", "b"):
            group = file.create_group(name)
            group["atomic_numbers"], group["positions"] = WATER.numbers, WATER.positions[None]
            group["energy"], group["forces"] = [-14.0], np.zeros((1, 3, 3))
            units = {"energy": "eV", "forces": "eV/Angstrom", "positions": "Angstrom"}
            for key, unit in units.items():
                group[key].attrs["units"] = unit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good files of all kinds."""
    path = tmp_path_factory.mktemp("good")
    frames = Demo("ethanol")[:8]
    for name in ("a.extxyz", "a.db", "a.npz", "a.store"):
        write_dataset(path / name, [frames])
    np.savez(
        path / "md17.npz", z=np.array([8, 1, 1]), E=np.zeros((4, 1)), F=np.zeros((4, 3, 3)),
        R=molecule("H2O").positions + np.arange(4)[:, None, None], name=np.array("water"),
    )  # fmt: skip
    write_rows(path / "a.json", "total_energy")
    write_rows(path / "schnetpack.db", "energy", units={"energy": "eV", "forces": "eV/Ang"})
    write_rows(path / "test_eq.db", "total_energy", "atomic_forces", ISOMER)
    write_qm9(path / "qm9.tar")
    water = [molecule("H2O") for _ in range(4)]
    ase.io.write(path / "a.traj", water)
    ase.io.write(path / "a.cif", bulk("NaCl", "rocksalt", a=5.6))
    if h5py is not None:
        write_hdf5(path / "a.h5")
    crystal = sg.from_ase(bulk("Cu"))
    crystal.smiles = "text"
    packed = StructureDataset.from_list([crystal, crystal.clone()])
    write_on_disk(path / "crystal.store", [packed]).with_edges(3.0, on_disk=True)
    potential = sg.Potential(sg.SchNet(channels=4, num_layers=1, num_basis=4, max_z=10))
    potential.save(path / "model.safetensors")
    torch.save(
        {"started_with": {"lr": 1e-3, "model": "x"}, "global_step": 3, "state_dict": {
            k: v for k, v in potential.state_dict().items()}}, path / "last.ckpt")  # fmt: skip
    (path / "run.yaml").write_text(CONFIGURATION)
    Split(*(torch.arange(3 * k, 3 * k + 3) for k in range(3))).save(path / "split.npz", how="x")
    write_entry(path, Entry("|a|b", "c", "d", {"mae": 0.1, "steps": 3}, {"unit": "eV"}))
    return path


@pytest.fixture(autouse=True)
def bounded_memory():
    """What asks for terabytes fails at once, instead of taking what the machine has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(autouse=True)
def one_parser(monkeypatch):
    """Made once for all inputs of a test, which takes longer than to read most of them."""
    monkeypatch.setattr(shell, "_make_parser", functools.cache(shell._make_parser))


def command(capsys, *words):
    """Run it; its one line is what it says on stderr, beside notes."""
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        lines = capsys.readouterr().err.splitlines()
        lines = [line for line in lines if not line.startswith("schnetgeo: note: ")]
        if end.code == 0:
            return
        if end.code != 2 or len(lines) != 1:
            raise Broken(f"exit code {end.code}, {len(lines)} lines: {lines!r:.300}") from None
        raise Refused(lines[0]) from None
    finally:
        capsys.readouterr()


def info(capsys):
    return lambda path: command(capsys, "data", "info", path)


def evaluated(path):
    """Load a model and use it."""
    potential = sg.load(path)
    potential(sg.from_ase(molecule("CH3CH2OH")))


def damaged_text(source, target, rng):
    target.write_bytes(mutated(source.read_bytes(), rng))


def damaged_zip(source, target, rng):
    change = rng.choice((mutated, mutated_members, mutated_members))
    target.write_bytes(change(source.read_bytes(), rng))


def damaged_model(source, target, rng):
    """A changed file, a changed container, or a changed header that is signed rightly."""
    content, kind = source.read_bytes(), rng.randrange(3)
    if kind < 2:
        target.write_bytes((mutated, resealed)[kind](content, rng))
        return
    with safe_open(source, framework="pt") as file:
        text = file.metadata()["schnetgeo"]
    text = mutated(text.encode(), rng).decode(errors="replace")
    tensors = read_model(source)[1]
    target.write_bytes(save(tensors, {"schnetgeo": text, "sha256": _digest(text, tensors)}))


def damaged_store(source, target, rng):
    """Bytes that rotted, or columns and headers with the sums that belong to them."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    path = rng.choice(sorted(p for p in target.rglob("*") if p.is_file()))
    changed = mutated(path.read_bytes(), rng)
    if path.name == columns.HEADER and rng.randrange(2):
        changed = _with_its_sum(changed)
    elif path.name != columns.HEADER and rng.randrange(2):
        header = columns.read_header(path.parent)
        column = header["columns"][path.name]
        size = columns.column_size(column)
        changed = changed[:size].ljust(size, b"\x01")
        column["crc32"] = zlib.crc32(changed)
        column_writer._write_header(path.parent, header["columns"], header)
    path.write_bytes(changed)


def _with_its_sum(content: bytes) -> bytes:
    """A header with the sum that belongs to it, where it still is one."""
    try:
        header = json.loads(content)
    except (ValueError, RecursionError):
        return content
    if not isinstance(header, dict):
        return content
    header.pop("crc32", None)
    return json.dumps({**header, "crc32": columns.header_checksum(header)}).encode()


def read_store(path):
    """Open it and make a batch with edges of it."""
    store = OnDiskDataset(path)
    store.with_edges(3.0).batch(range(len(store)))


def read_iso17(path):
    ISO17(file=path.parent, fold="test_eq", check_counts=False)


def read_qm9(path):
    list(read_archive(path))


def labels(capsys):
    words = ("--energy-key", "total_energy", "--forces-key", "forces")
    return lambda path: command(capsys, "data", "info", path, *words)


def read_checkpoint(path):
    check_resume(path, {"lr": 1e-3, "model": "x"})


def read_split(path):
    Split.load(path).check(100)


KINDS = {
    "extxyz": ("a.extxyz", damaged_text, info),
    "ASE database": ("a.db", damaged_text, info),
    "JSON database": ("a.json", damaged_text, labels),
    "SchNetPack's database": ("schnetpack.db", damaged_text, info),
    "ISO17": ("test_eq.db", damaged_text, lambda capsys: read_iso17),
    "QM9": ("qm9.tar", damaged_text, lambda capsys: read_qm9),
    "trajectory of ASE": ("a.traj", damaged_text, info),
    "CIF": ("a.cif", damaged_text, info),
    "HDF5": ("a.h5", damaged_text, info),
    "npz": ("a.npz", damaged_zip, info),
    "npz of MD17": ("md17.npz", damaged_zip, info),
    "store": ("a.store", damaged_store, info),
    "store with edges": ("crystal.store", damaged_store, lambda capsys: read_store),
    "model": ("model.safetensors", damaged_model, lambda capsys: evaluated),
    "checkpoint": ("last.ckpt", damaged_zip, lambda capsys: read_checkpoint),
    "split": ("split.npz", damaged_zip, lambda capsys: read_split),
    "configuration": (
        "run.yaml",
        damaged_text,
        lambda capsys: lambda path: command(capsys, "train", "--config", path, "--print_config"),
    ),
}


def tried(kind, seed, folder, tmp_path, capsys):
    """What became of a damaged file of this kind."""
    source, damage, read = KINDS[kind]
    target = tmp_path / source
    damage(folder / source, target, random.Random(f"{kind} {seed}"))
    try:
        return trial(read(capsys), target, (InputError, Refused))
    except BaseException as error:
        raise Broken(f"seed {seed}: {type(error).__name__}: {error}") from error


AVAILABLE = [kind for kind in KINDS if h5py is not None or kind != "HDF5"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", AVAILABLE)
def test_damaged_files(kind, folder, tmp_path, capsys):
    outcomes = set()

    @settings(
        max_examples=NUMBER, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(st.integers(0, 2**32))
    def each(seed):
        outcomes.add(tried(kind, seed, folder, tmp_path, capsys) == "read")

    each()
    assert False in outcomes  # at least one was refused


@pytest.mark.parametrize("kind", AVAILABLE)
def test_the_good_file_is_read(kind, folder, capsys):
    source, _, read = KINDS[kind]
    assert trial(read(capsys), folder / source, (InputError, Refused)) == "read"


def test_a_changed_row_is_refused(folder, tmp_path):
    source = next((folder / "rows").glob("*.json"))
    target = tmp_path / "rows" / "a.json"
    target.parent.mkdir()
    content = source.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        target.write_bytes(changed)
        with pytest.raises(InputError, match="delete it"):
            read_entries(tmp_path)
    target.write_bytes(content)
    assert len(read_entries(tmp_path)) == 1

"""A data set on disk is the one in memory; what fails leaves what was there before."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, DistributedSampler
from torch_geometric.loader import DataLoader as PyGLoader

from schnetgeo.data import column_writer, columns
from schnetgeo.data import store as store_module
from schnetgeo.data.merge import Remarks, merged
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import fit_normalization
from schnetgeo.data.store import OnDiskDataset
from schnetgeo.data.store_writer import write_on_disk
from schnetgeo.errors import InputError
from schnetgeo.files import file_lock
from tests.data.test_packed import CUTOFF, assert_equal_batches, molecules, structures
from tests.processes import PROCESSES

SLOW_WRITER = """
import sys, time
from schnetgeo.data.store_writer import write_on_disk
from schnetgeo.datasets import Demo

def parts():
    for first in range(0, 1200, 100):
        yield Demo("ethanol")[first : first + 100]
        print("block", flush=True)
        time.sleep(0.3)

write_on_disk(sys.argv[1], parts(), append=len(sys.argv) > 2)
"""


def packed(kind="crystals"):
    parts = molecules() if kind == "molecules" else structures(kind == "crystals")
    return StructureDataset.from_list(parts, name="own data")


def halves(dataset):
    return dataset[:4], dataset[4:]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_same(store, dataset):
    assert len(store) == len(dataset)
    everything = list(range(len(dataset)))
    assert_equal_batches(store.batch(everything[::-1]), dataset.batch(everything[::-1]))
    for key in set(dataset.packed.keys()) - {"ptr"}:
        ours, theirs = store.get_property(key), dataset.get_property(key)
        assert torch.equal(ours, theirs) if torch.is_tensor(theirs) else ours == theirs


@pytest.mark.parametrize("kind", ["molecules", "clusters", "crystals"])
def test_store_is_the_data_set(tmp_path, kind):
    dataset = packed(kind)
    written = write_on_disk(tmp_path / "a", halves(dataset))
    for store in (written, OnDiskDataset(tmp_path / "a"), OnDiskDataset(str(tmp_path / "a"))):
        assert_same(store, dataset)
        assert_same(store[1:5][[2, 0]], dataset[[3, 1]])
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert store.name == "a"


def test_blocks_of_one_part(tmp_path, monkeypatch):
    monkeypatch.setattr(StructureDataset.iter_chunks, "__defaults__", (2,))
    dataset = packed()
    assert_same(write_on_disk(tmp_path / "a", [dataset[[5, 1, 3, 0, 2]]]), dataset[[5, 1, 3, 0, 2]])


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("kind", ["molecules", "crystals"])
def test_edges(tmp_path, kind, on_disk):
    dataset = packed(kind)
    chosen = [4, 1, 2]
    expected = dataset.with_edges(CUTOFF)
    store = write_on_disk(tmp_path / "a", halves(dataset))
    built = store[chosen].with_edges(CUTOFF, on_disk=on_disk)
    for position in ([0, 1, 2], [2, 0], []):
        wanted = expected.batch([chosen[i] for i in position])
        found = built.batch(position)
        assert_equal_batches(found, wanted)
        assert found.edge_index.is_contiguous()
    assert (tmp_path / "a" / f"edges_{CUTOFF}").exists() == on_disk
    assert built.in_memory != on_disk
    assert not store.in_memory
    assert built.to("meta").batch([0]).edge_index.device.type == "meta"
    assert not store.has_property("edge_index")
    assert_equal_batches(pickle.loads(pickle.dumps(built)).batch([1, 0]), built.batch([1, 0]))
    assert_equal_batches(built[1:].batch([1]), expected.batch([2]))


def test_edges_on_disk_are_found_again(tmp_path, monkeypatch):
    store = write_on_disk(tmp_path / "a", [packed()])
    expected = store.with_edges(CUTOFF, on_disk=True).batch([2, 5])
    monkeypatch.setattr("schnetgeo.data.store.edges_per_structure", None)
    assert_equal_batches(OnDiskDataset(tmp_path / "a").with_edges(CUTOFF).batch([2, 5]), expected)


def test_many_atoms_keep_their_edges_on_disk(tmp_path, monkeypatch):
    store = write_on_disk(tmp_path / "a", [packed()])
    monkeypatch.setattr("schnetgeo.data.store._MANY", 26)
    store[:5].with_edges(CUTOFF)
    assert not (tmp_path / "a" / f"edges_{CUTOFF}").exists()  # 24 atoms
    store.with_edges(CUTOFF)
    assert (tmp_path / "a" / f"edges_{CUTOFF}").exists()  # 27


def test_appended(tmp_path):
    dataset = packed()
    first, second = halves(dataset)
    old = write_on_disk(tmp_path / "a", [first])
    old.with_edges(CUTOFF, on_disk=True)
    new = write_on_disk(tmp_path / "a", [second], append=True)
    assert_same(old, first)  # what was opened before stays as it was
    assert_same(new, dataset)
    assert_same(pickle.loads(pickle.dumps(old)), first)
    built = new.with_edges(CUTOFF)
    assert_equal_batches(built.batch([5, 0]), dataset.with_edges(CUTOFF).batch([5, 0]))


def test_notes(tmp_path):
    write_on_disk(tmp_path / "a", [packed()], units={"mu": "Debye"})
    write_on_disk(tmp_path / "a", [packed()], append=True)
    assert OnDiskDataset(tmp_path / "a").notes == {"units": {"mu": "Debye"}}


def test_writing_into_it_leaves_the_file_alone(tmp_path):
    store = write_on_disk(tmp_path / "a", [packed()])
    before = files(tmp_path)
    store.packed.pos += 1.0
    store.batch([0]).pos.zero_()
    assert files(tmp_path) == before


def test_opening_a_large_store_reads_no_data(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_LARGE", 0)
    write_on_disk(tmp_path / "a", [packed()])
    for path in (tmp_path / "a").iterdir():
        if path.name != columns.HEADER and path.suffix != ".ptr" and path.name != "ptr":
            path.write_bytes(b"\xff" * path.stat().st_size)  # NaN everywhere
    assert bool(OnDiskDataset(tmp_path / "a").packed.pos.isnan().all())


def test_larger_than_memory_opens(tmp_path, monkeypatch):
    write_on_disk(tmp_path / "a", [packed()])
    path = tmp_path / "a" / "more"
    os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**43)  # 8 TiB of nothing
    header = columns.read_header(tmp_path / "a")
    more = {"dtype": "<f4", "shape": [2**20], "rows": 6, "crc32": 0}
    column_writer._write_header(tmp_path / "a", header["columns"] | {"more": more}, header)
    with pytest.raises(InputError, match="a/more: was changed after writing, or is damaged"):
        OnDiskDataset(tmp_path / "a")
    monkeypatch.setattr(store_module, "_LARGE", 2**20)
    store = OnDiskDataset(tmp_path / "a")
    assert store.batch([3]).more.shape == (1, 2**20)


def test_more_rows_than_structures(tmp_path):
    write_on_disk(tmp_path / "a", [packed()])
    header = columns.read_header(tmp_path / "a")
    header["columns"]["energy"]["rows"] = 5
    column_writer._write_header(tmp_path / "a", header["columns"], header)
    with pytest.raises(InputError, match=r"a/energy: has shape \(5,\) .*, where \(6,\) is needed"):
        OnDiskDataset(tmp_path / "a")


@pytest.mark.parametrize("name", ["ptr", "z", "pos", "energy", "smiles.ptr", "smiles.text"])
def test_a_flipped_bit_is_noticed(tmp_path, name):
    write_on_disk(tmp_path / "a", [packed()])
    path = tmp_path / "a" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"a/{name}: "):
        OnDiskDataset(tmp_path / "a")


def test_check_reads_a_large_store(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_LARGE", 0)
    store = write_on_disk(tmp_path / "a", halves(packed()))
    write_on_disk(tmp_path / "a", [packed()], append=True).check()
    (tmp_path / "a" / "pos").write_bytes(b"1" + (tmp_path / "a" / "pos").read_bytes()[1:])
    with pytest.raises(InputError, match="a/pos: was changed after writing, or is damaged"):
        store.check()


@pytest.mark.parametrize("name", ["edge_index", "edge_reverse", "edge_ptr"])
def test_edges_of_other_structures_are_refused(tmp_path, name):
    """Whoever writes such a file can write its CRC-32 too."""
    store = write_on_disk(tmp_path / "a", [packed("molecules")])
    folder = tmp_path / "a" / f"edges_{CUTOFF}"
    store.with_edges(CUTOFF, on_disk=True)
    path, header = folder / name, columns.read_header(folder)
    values = np.fromfile(path, header["columns"][name]["dtype"])
    values[len(values) // 2] = 10**6
    values.tofile(path)
    header["columns"][name]["crc32"] = zlib.crc32(values.tobytes())
    column_writer._write_header(folder, header["columns"], header)
    with pytest.raises(InputError, match="holds edges of other structures|does not say where"):
        store.with_edges(CUTOFF)


@pytest.mark.parametrize(
    "change",
    [{"cutoff": None}, {"cutoff": "3.0"}, {"cutoff": 9.0}, "edge_ptr", "edge_index", "all"],
    ids=str,
)
def test_headers_that_hold_no_edges(tmp_path, change):
    store = write_on_disk(tmp_path / "a", [packed("molecules")])
    folder = tmp_path / "a" / f"edges_{CUTOFF}"
    store.with_edges(CUTOFF, on_disk=True)
    header = columns.read_header(folder)
    if isinstance(change, dict):
        header |= change
    elif change == "all":
        header = {"columns": {}}
    else:
        del header["columns"][change]
    column_writer._write_header(folder, header["columns"], header)
    with pytest.raises(InputError, match="does not hold edges of this cutoff; remove the folder"):
        store.with_edges(CUTOFF)


@pytest.mark.parametrize("shift", [22272, -1, 2**62])
def test_offsets_are_checked_whatever_the_sum_says(tmp_path, shift):
    write_on_disk(tmp_path / "a", [packed("molecules")])
    path, header = tmp_path / "a" / "ptr", columns.read_header(tmp_path / "a")
    values = np.fromfile(path, np.int64)
    values[2] = values[1] + (shift if shift > 0 else -1)
    values.tofile(path)
    header["columns"]["ptr"]["crc32"] = zlib.crc32(values.tobytes())
    column_writer._write_header(tmp_path / "a", header["columns"], header)
    with pytest.raises(InputError, match="a/ptr: does not say where 6 parts of"):
        OnDiskDataset(tmp_path / "a")


@pytest.mark.slow
def test_workers_open_it_themselves(tmp_path):
    store = write_on_disk(tmp_path / "a", [packed()])[[4, 0, 3, 1]]
    assert len(pickle.dumps(store)) < 4000
    expected = store.batch([2, 3])
    spawn = DataLoader(
        range(4), 2, collate_fn=store.batch, num_workers=1, multiprocessing_context=PROCESSES
    )
    assert_equal_batches(list(spawn)[1], expected)
    assert_equal_batches(list(PyGLoader(store, batch_size=2, num_workers=1))[1], expected)


def test_distributed_sampler(tmp_path):
    store = write_on_disk(tmp_path / "a", [packed()])
    seen = []
    for rank in range(2):
        sampler = DistributedSampler(store, num_replicas=2, rank=rank, shuffle=True, seed=3)
        for batch in DataLoader(store, 2, sampler=sampler, collate_fn=lambda data: data):
            seen += [int(data.mol_index) for data in batch]
    assert sorted(seen) == list(range(6))


ON_DISK = """
import sys
from schnetgeo.data.loader import shuffled_loader
from schnetgeo.data.statistics import fit_normalization
from schnetgeo.data.store import OnDiskDataset

def own_memory():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

store = OnDiskDataset(sys.argv[1])
fit_normalization(store[:5000], 10)
list(shuffled_loader(store[:100].with_edges(3.0), 50))
before = own_memory()
fit_normalization(store, 10)
built = store.with_edges(4.0, on_disk=sys.argv[2] == "True")
for batch in shuffled_loader(built[1000:], 100):
    pass
print(own_memory() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory is in use")
@pytest.mark.parametrize("on_disk", [True, False])
def test_epochs_of_what_is_on_disk_need_no_memory(tmp_path, on_disk):
    from schnetgeo.datasets import Demo

    frames = Demo("ethanol")
    store = write_on_disk(tmp_path / "a", (frames for _ in range(25)))
    if on_disk:
        store.with_edges(4.0, on_disk=True)
    size = sum(path.stat().st_size for path in (tmp_path / "a").rglob("*") if path.is_file())
    command = [sys.executable, "-c", ON_DISK, str(tmp_path / "a"), str(on_disk)]
    grown = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (grown < 20) == on_disk, f"{grown} MB"
    assert not on_disk or size > 30e6


def test_normalization_is_that_of_memory(tmp_path):
    dataset = packed("molecules")
    store = write_on_disk(tmp_path / "a", [dataset])
    expected = fit_normalization(dataset[1:], 20)
    for ours, theirs in zip(fit_normalization(store[1:], 20), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-12)


def without_forces(dataset):
    out = packed()
    del out.packed.forces
    return out


def single(dataset):
    out = packed()
    out.packed.pos = out.packed.pos.float()
    return out


def double(dataset):
    out = packed()
    out.packed.forces = out.packed.forces.double()
    return out


def numbers(dataset):
    out = packed()
    out.packed.smiles = list(range(6))
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without_forces,
            "own data: some structures have no forces, which all",
        ),
        (
            double,
            r"own data: 'forces' is float64 of shape \[3\], but float32 of shape \[3\] before",
        ),
        (numbers, "own data: smiles holds ints; a store keeps tensors and text"),
    ],
)
def test_parts_that_differ_from_a_store(tmp_path, change, message):
    dataset = packed()
    write_on_disk(tmp_path / "a", [dataset])
    before = files(tmp_path)
    with pytest.raises(InputError, match=message):
        write_on_disk(tmp_path / "a", [dataset, change(dataset)], append=True)
    assert files(tmp_path) == before
    assert_same(write_on_disk(tmp_path / "a", [single(dataset)], append=True)[:6], dataset)


def renamed(dataset):
    """Other fields: no forces, no text, but numbers, flags and matrices."""
    out = without_forces(dataset)
    del out.packed.smiles
    out.packed.number = torch.arange(6)
    out.packed.flag = torch.ones(6, dtype=torch.bool)
    out.packed.matrix = torch.ones(6, 2)
    return out


def other_types(dataset):
    out = packed()
    out.packed.number = torch.arange(6) / 2
    out.packed.matrix = torch.ones(6, 5)
    out.packed.smiles = torch.arange(6)
    return out


@pytest.mark.slow
@given(order=st.permutations(range(5)), size=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_parts_that_differ_are_brought_together_as_in_memory(order, size, tmp_path_factory):
    """Whatever field appears or changes its type first: as `merged` does with all at once."""
    changes = (lambda d: d, without_forces, double, renamed, other_types)
    parts = [changes[k](packed())[k : k + size] for k in order]
    remarks, expected = Remarks(), Remarks()
    folder = tmp_path_factory.mktemp("stores") / "a"
    store = write_on_disk(folder, parts, remarks=remarks)
    gathered = [part.materialize() for part in parts]
    structures, sizes = zip(*gathered, strict=True)
    wheres, counts = [part.name for part in parts], [len(part) for part in parts]
    whole = StructureDataset(merged(structures, counts, wheres, expected), torch.cat(sizes))
    assert set(store.packed.keys()) == set(whole.packed.keys())
    for key in set(whole.packed.keys()) - {"ptr"}:
        ours, theirs = store.get_property(key), whole.get_property(key)
        if torch.is_tensor(theirs):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
        else:
            assert ours == theirs
    assert (remarks.left_out, remarks.lacking) == (expected.left_out, expected.lacking)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["a"]
    store.check()


def test_refuses_what_is_there_and_what_is_nothing(tmp_path):
    write_on_disk(tmp_path / "a", [packed()])
    before = files(tmp_path)
    with pytest.raises(InputError, match="a: exists already; remove it or choose another name"):
        write_on_disk(tmp_path / "a", [packed()])
    with pytest.raises(InputError, match="b: there are no structures to write"):
        write_on_disk(tmp_path / "b", [packed()[:0]])
    with pytest.raises(InputError, match=f"b: is no data store: it has no {columns.HEADER}; make"):
        write_on_disk(tmp_path / "b", [packed()], append=True)
    assert files(tmp_path) == before


def cut_off(folder):
    os.truncate(folder / "pos", 100)
    return "a/pos: holds 100 bytes where header.json says 648: the file was cut off; get a fresh"


def removed(folder):
    (folder / "energy").unlink()
    return "a/energy: cannot be read: No such file or directory; get a fresh copy or convert"


def no_header(folder):
    (folder / columns.HEADER).unlink()
    return "a: is no data store: it has no header.json; make one with schnetgeo data convert"


def broken_header(folder):
    os.truncate(folder / columns.HEADER, 50)
    return r"a/header.json: cannot be read \(.*\); convert the data again"


def newer(folder):
    header = json.loads((folder / columns.HEADER).read_text())
    (folder / columns.HEADER).write_text(json.dumps(header | {"version": 3}))
    return "has format 'schnetgeo columns', version 3; this is .* version 2: upgrade schnetgeo, or"


@pytest.mark.parametrize("damage", [cut_off, removed, no_header, broken_header, newer])
def test_damaged(tmp_path, damage):
    write_on_disk(tmp_path / "a", [packed()])
    message = damage(tmp_path / "a")
    with pytest.raises(InputError, match=message):
        OnDiskDataset(tmp_path / "a")


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, OSError])
def test_failing_source(tmp_path, error):
    def parts():
        yield packed()
        raise error("no more")

    with pytest.raises(error, match="no more"):
        write_on_disk(tmp_path / "a", parts())
    assert list(tmp_path.iterdir()) == []
    store = write_on_disk(tmp_path / "a", [packed()])
    before = files(tmp_path)
    with pytest.raises(error, match="no more"):
        write_on_disk(tmp_path / "a", parts(), append=True)
    assert files(tmp_path) == before
    assert_same(store, packed())


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_full_disk(tmp_path, monkeypatch, where):
    write_on_disk(tmp_path / "a", [packed()])
    before = files(tmp_path)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, where, full)
    with pytest.raises(InputError, match="a.*: cannot be written: No space left on device; "):
        write_on_disk(tmp_path / "a", [packed()], append=True)
    with pytest.raises(InputError, match="b.*: cannot be written: No space left on device; "):
        write_on_disk(tmp_path / "b", [packed()])
    assert files(tmp_path) == before


@pytest.mark.slow
def test_really_full_disk(tmp_path):
    """A file size limit is the full disk that needs no administrator."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from schnetgeo.data.store_writer import write_on_disk\n"
        "from schnetgeo.datasets import Demo\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "write_on_disk(sys.argv[1], [Demo('ethanol')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True
    )
    assert "a: cannot be written: File too large; what was there before is kept" in done.stderr
    assert list(tmp_path.iterdir()) == []


def start(path, *more) -> subprocess.Popen:
    """A process that has written its first block and goes on slowly."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(path), *more], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "block\n"
    return process


@pytest.mark.slow
def test_killed_while_writing(tmp_path):
    process = start(tmp_path / "a")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(InputError, match="a: is no data store"):
        OnDiskDataset(tmp_path / "a")
    assert_same(write_on_disk(tmp_path / "a", [packed()]), packed())
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.slow
def test_killed_while_appending(tmp_path):
    from schnetgeo.datasets import Demo

    frames = Demo("ethanol")[:150]
    write_on_disk(tmp_path / "a", [frames])
    process = start(tmp_path / "a", "append")
    while (tmp_path / "a" / "pos").stat().st_size <= frames.packed.pos[: 150 * 9].nbytes:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert_same(OnDiskDataset(tmp_path / "a"), frames)
    more = Demo("ethanol")[1000:1100]
    both = write_on_disk(tmp_path / "a", [more], append=True)
    assert_same(both[:150], frames)
    assert_same(both[150:], more)


@pytest.mark.slow
def test_two_processes(tmp_path):
    process = start(tmp_path / "a")
    with pytest.raises(InputError, match="a: another process is writing it; wait until that is"):
        write_on_disk(tmp_path / "a", [packed()])
    with pytest.raises(InputError, match="a: exists already"):
        write_on_disk(tmp_path / "a", [packed()], wait=True)
    assert process.wait() == 0
    assert len(OnDiskDataset(tmp_path / "a")) == 1200
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def _build(path):
    return OnDiskDataset(path).with_edges(CUTOFF, on_disk=True).batch([0, 3]).edge_index


@pytest.mark.slow
def test_processes_that_need_the_same_edges(tmp_path):
    dataset = packed()
    write_on_disk(tmp_path / "a", [dataset])
    with PROCESSES.Pool(2) as pool:
        found = pool.map(_build, [tmp_path / "a"] * 2)
    for edge_index in found:
        assert torch.equal(edge_index, dataset.with_edges(CUTOFF).batch([0, 3]).edge_index)


def test_lock_ends_with_its_block(tmp_path):
    path = tmp_path / "deep" / "file"
    for _ in range(2):
        with (
            file_lock(path),
            pytest.raises(InputError, match="file: another process"),
            file_lock(path),
        ):
            pass
    assert list(path.parent.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_on_disk(tmp_path / "file" / "a", [packed()])


def test_energies_are_exact(tmp_path):
    dataset = packed()
    dataset.packed.energy = torch.from_numpy(np.random.default_rng(0).normal(size=6)) * 1e5
    store = write_on_disk(tmp_path / "a", [dataset])
    assert torch.equal(store.get_property("energy"), dataset.packed.energy)


def test_an_interruption_after_the_header_was_written_keeps_the_addition(tmp_path, monkeypatch):
    write_on_disk(tmp_path / "a", [packed()])
    write = column_writer._write_header

    def interrupted(*arguments):
        write(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(column_writer, "_write_header", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_on_disk(tmp_path / "a", [packed()], append=True)
    store = OnDiskDataset(tmp_path / "a")
    store.check()
    assert len(store) == 2 * len(packed())


def test_edges_on_disk_are_checked_once(tmp_path, monkeypatch):
    store = write_on_disk(tmp_path / "a", [packed()])
    checked = []
    monkeypatch.setattr(store_module, "_check_edges", lambda *args: checked.append(args))
    store.with_edges(CUTOFF, on_disk=True)
    store[:3].with_edges(CUTOFF)
    OnDiskDataset(tmp_path / "a").with_edges(CUTOFF)
    assert len(checked) == 1
    os.utime(next(tmp_path.glob("a/edges_*/edge_index")))
    store.with_edges(CUTOFF)
    assert len(checked) == 2

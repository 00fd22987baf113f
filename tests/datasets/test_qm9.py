import pickle

import numpy as np
import pytest
import torch
from ase.io.extxyz import read_xyz

from schnetgeo.data import to_ase
from schnetgeo.data.atoms import from_ase
from schnetgeo.data.statistics import element_counts, fit_atomic_references
from schnetgeo.datasets import QM9, load_data
from schnetgeo.datasets import qm9 as module
from schnetgeo.datasets.qm9 import SOURCE
from schnetgeo.datasets.qm9_properties import ATOMS, PROPERTIES, TARGETS, atom_references
from schnetgeo.errors import InputError
from tests.datasets.published import qm9_files, qm9_xyz, uncharacterized_txt, write_tar
from tests.datasets.server import serve
from tests.processes import PROCESSES
from tests.shared_data import shared

HARTREE = 27.211386245988  # eV
SIZE = 30
LEFT_OUT = [2, 3, 30]
U0 = -2079.077857132  # eV: -76.404702 Hartree of water
KEPT = SIZE - len(LEFT_OUT)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Thirty molecules, of which three are uncharacterized."""
    monkeypatch.setattr(module, "SIZE", SIZE)
    monkeypatch.setattr(module, "UNCHARACTERIZED", len(LEFT_OUT))


@pytest.fixture
def files():
    return qm9_files(SIZE)


def archive(tmp_path, files, ids=LEFT_OUT):
    (tmp_path / "uncharacterized.txt").write_bytes(uncharacterized_txt(ids))
    return write_tar(tmp_path / "dsgdb9nsd.xyz.tar.bz2", files)


def test_every_number_of_the_archive(tmp_path, files):
    dataset = QM9(file=archive(tmp_path, files), keep_uncharacterized=True)
    with np.load(shared("qm9_all_properties.npz")) as file:
        ends = np.cumsum(file["N"].astype(int))
        atoms = slice(0, ends[SIZE - 1])
        assert dataset.num_atoms.tolist() == file["N"][:SIZE].tolist()
        assert dataset.get_property("z").tolist() == file["Z"][atoms].tolist()
        assert np.array_equal(dataset.get_property("pos").numpy(), file["R"][atoms].astype(float))
        assert dataset.get_property("smiles") == file["smiles"][:SIZE].tolist()
        for name in PROPERTIES:
            unit = {"Hartree": HARTREE}.get(PROPERTIES[name].file_unit, 1)
            found = dataset.get_property(name).numpy()
            np.testing.assert_allclose(found, file[name][:SIZE] * unit, rtol=1e-15)
    assert dataset.get_property("id").tolist() == list(range(1, SIZE + 1))
    assert dataset.get_property("smiles_relaxed")[0] == "O*"
    assert dataset[0].charges.tolist() == pytest.approx([1e-6, 2e-6, 3e-6], rel=1e-14)


def test_hand_converted_numbers(tmp_path, files):
    water = QM9(file=archive(tmp_path, files))[0]
    assert float(water.U0) == pytest.approx(U0, abs=1e-6)
    assert float(water.energy) == float(water.U0)
    assert float(water.homo) == pytest.approx(-7.967493893, abs=1e-8)
    assert float(water.zpve) == pytest.approx(0.581643381, abs=1e-8)
    assert float(water.U0_atom) == pytest.approx(-9.240360907, abs=1e-6)
    assert [float(water[name]) for name in ("A", "mu", "alpha", "r2", "Cv")] == [
        799.58812, 1.8511, 6.31, 19.0002, 6.002,
    ]  # fmt: skip
    assert water.energy.dtype == torch.float64


def test_uncharacterized_are_left_out(tmp_path, files):
    dataset = QM9(file=archive(tmp_path, files))
    assert dataset.get_property("id").tolist() == [
        k for k in range(1, SIZE + 1) if k not in LEFT_OUT
    ]
    assert len(QM9(file=tmp_path / "dsgdb9nsd.xyz.tar.bz2", keep_uncharacterized=True)) == SIZE


@pytest.mark.parametrize(
    "ids", [[2, 3], [2, 3, 10**30], [2, 3, 30, 4], [2, 3, 3], [0, 2, 3], [2, 3, 31], []]
)
def test_list_of_another_length_or_range(tmp_path, files, ids):
    with pytest.raises(InputError, match="uncharacterized.txt: must list 3 different ids from 1 t"):
        QM9(file=archive(tmp_path, files, ids))


@pytest.mark.parametrize("target", TARGETS)
def test_targets(tmp_path, files, target):
    dataset = QM9(file=archive(tmp_path, files), target=target)
    assert (dataset.target, dataset.unit) == (target, TARGETS[target].unit)
    if dataset.unit == "eV":
        assert torch.equal(dataset.get_property("energy"), dataset.get_property(target))
    else:
        assert not dataset.has_property("energy")
        assert dataset.get_property(target).shape == (KEPT,)


def test_unknown_target():
    with pytest.raises(InputError, match="unknown target 'energy' of QM9; known: A, B, C, mu, alp"):
        QM9(target="energy")


def test_blocks_and_order(tmp_path, files, monkeypatch):
    path = archive(tmp_path, dict(reversed(files.items())))
    one = QM9(file=path)
    monkeypatch.setattr("schnetgeo.datasets.qm9_archive._BLOCK", 7)
    other = QM9(file=path)
    assert one.get_property("id").tolist() == other.get_property("id").tolist()
    for field in ("z", "pos", "U0", "charges"):
        assert torch.equal(one.get_property(field), other.get_property(field))


@pytest.fixture
def server(tmp_path, files, monkeypatch):
    """A server of the two files; `server.answers` may be changed."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = archive(tmp_path, files)
    listed = path.with_name("uncharacterized.txt").read_bytes()
    answers = {"/molecules": path.read_bytes(), "/uncharacterized": listed}
    with serve(answers) as server:
        server.answers = answers
        for key, file in SOURCE.files.items():
            changes = dict(url=server.url + key, mirrors=(), size=None, checksum=None)
            monkeypatch.setitem(SOURCE.files, key, file._replace(**changes))
        yield server


def test_downloads_and_reads_once(tmp_path, server, monkeypatch):
    root = tmp_path / "data"
    assert len(QM9(root)) == KEPT
    monkeypatch.setattr(module, "read_archive", None)
    gap, mu = QM9(root, target="gap"), QM9(root, target="mu")
    assert server.asked == ["/molecules", "/uncharacterized"]
    assert torch.equal(gap.get_property("energy"), gap.get_property("gap"))
    assert not mu.has_property("energy")
    assert gap.name == "QM9"
    assert float(gap[0].U0) == pytest.approx(U0, abs=1e-6)


def test_store_in_other_processes(tmp_path, server):
    dataset = pickle.loads(pickle.dumps(QM9(tmp_path / "data", target="gap")[5:9]))
    assert torch.equal(dataset.get_property("energy"), dataset.get_property("gap"))
    assert len(dataset) == 4


def test_incomplete_archive_leaves_no_store(tmp_path, server, files):
    root = tmp_path / "data"
    whole = server.answers["/molecules"]
    files.pop("dsgdb9nsd_000030.xyz")
    server.answers["/molecules"] = write_tar(tmp_path / "short.tar.bz2", files).read_bytes()
    with pytest.raises(
        InputError, match="has 29 molecules instead of 30; molecule 30 is there 0 t"
    ):
        QM9(root)
    assert not list(root.rglob("*.store"))
    assert not list(root.rglob(".*.part"))
    server.answers["/molecules"] = whole
    (root / "QM9" / "dsgdb9nsd.xyz.tar.bz2").unlink()
    (root / "QM9" / "checksums.json").unlink()
    assert len(QM9(root)) == KEPT


def _open(root, url):
    for key, file in SOURCE.files.items():
        changes = dict(url=url + key, mirrors=(), size=None, checksum=None)
        SOURCE.files[key] = file._replace(**changes)
    module.SIZE, module.UNCHARACTERIZED = SIZE, len(LEFT_OUT)
    assert len(QM9(root)) == KEPT


def test_two_processes_at_once(tmp_path, server):
    arguments = (tmp_path / "data", server.url)
    processes = [PROCESSES.Process(target=_open, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert server.asked == ["/molecules", "/uncharacterized"]


def change(files, **changes):
    """Other content for molecule 5: `lines` by number, or `content`."""
    name = "dsgdb9nsd_000005.xyz"
    lines = files[name].split(b"\n")
    for number, line in changes.get("lines", {}).items():
        lines[number] = line
    return files | {name: changes.get("content", b"\n".join(lines))}


BROKEN = {
    "header too short": dict(lines={1: b"gdb 5\t1.0\t2.0"}),
    "text for a number": dict(lines={2: b"C\t0.1\t0.2\tx\t0.3"}),
    "unknown element": dict(lines={2: b"Xx\t0.1\t0.2\t0.3\t0.3"}),
    "line too long": dict(lines={2: b"C\t0.1\t0.2\t0.3\t0.3\t0.4"}),
    "number of atoms": dict(lines={0: b"many"}),
    "one SMILES": dict(lines={8: b"C"}),
    "empty": dict(content=b""),
    "half": dict(content=b"5\ngdb 5\t1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_molecule_is_named(tmp_path, files, name):
    files = change(files, **BROKEN[name])
    with pytest.raises(InputError, match="tar.bz2, dsgdb9nsd_000005.xyz: not in the form of QM9"):
        QM9(file=archive(tmp_path, files))


def test_missing_and_doubled_molecules(tmp_path, files):
    name = "dsgdb9nsd_000005.xyz"
    content = files.pop(name)
    with pytest.raises(InputError, match="has 29 molecules instead of 30; molecule 5 is there 0 t"):
        QM9(file=archive(tmp_path, files))
    files["dsgdb9nsd_000099.xyz"] = files["dsgdb9nsd_000001.xyz"]
    with pytest.raises(InputError, match="has 30 molecules instead of 30; molecule 1 is there 2 t"):
        QM9(file=archive(tmp_path, files))
    files[name], files["dsgdb9nsd_000099.xyz"] = content, content.replace(b"gdb 5", b"gdb 31")
    with pytest.raises(InputError, match="has 31 molecules instead of 30; molecule 31 is there 1"):
        QM9(file=archive(tmp_path, files))
    with pytest.raises(InputError, match="has 0 molecules instead of 30"):
        QM9(file=archive(tmp_path, {}))


def test_half_an_archive(tmp_path, files):
    path = archive(tmp_path, files)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="tar.bz2: not an archive, or not a whole one"):
        QM9(file=path)


def test_impossible_geometry_is_named(tmp_path, files):
    rows = files["dsgdb9nsd_000005.xyz"].split(b"\n")
    with pytest.raises(InputError, match="tar.bz2, structure 4: atoms 0 and 1 are in one place"):
        QM9(file=archive(tmp_path, change(files, lines={3: rows[2]})))


def test_atom_references():
    with np.load(shared("qm9_atomref.npz")) as file:
        for name in ATOMS:
            unit = 1 if name == "Cv" else HARTREE
            found = atom_references(name)[torch.from_numpy(file["Z"].astype(int))].numpy()
            np.testing.assert_allclose(found, file[name] * unit, rtol=1e-12)
    assert float(atom_references("U0")[1]) == pytest.approx(-13.61312172, abs=1e-6)
    assert bool(atom_references("U0")[16].isnan())
    with pytest.raises(InputError, match="no atomic references for 'mu'; there are for zpve, U0,"):
        atom_references("mu")


@pytest.mark.slow
def test_composition_model_and_atomization_energies():
    parts = [shared(f"qm9_u0_part{k}.npz") for k in (1, 2, 3)]
    dataset = QM9(file=parts)
    assert len(dataset) == 108_744
    counts, energy = element_counts(dataset, 10), dataset.get_property("energy")
    left = energy - counts.double() @ fit_atomic_references(counts, energy)
    assert float(left.abs().mean()) == pytest.approx(0.86, abs=0.01)
    atomization = dataset.get_property("U0_atom")
    assert float(atomization.min()) == pytest.approx(-113.1, abs=0.05)
    assert float(atomization.max()) == pytest.approx(-9.2, abs=0.05)


def test_npz_with_all_properties():
    dataset = QM9(file=shared("qm9_all_properties.npz"), target="gap")
    assert dataset[0].smiles == "O"
    assert float(dataset[0].U0) == pytest.approx(U0, abs=1e-6)
    gap = dataset.get_property("lumo") - dataset.get_property("homo")
    assert float((dataset.get_property("energy") - gap).abs().max()) < 1.5e-4 * HARTREE
    assert dataset.get_property("mu")[0] == 1.8511


def test_target_that_a_file_lacks():
    with pytest.raises(InputError, match="qm9_u0_part1.npz: has no 'gap'; name another target"):
        QM9(file=shared("qm9_u0_part1.npz"), target="gap")


def test_several_archives(tmp_path):
    with pytest.raises(InputError, match="file: QM9 is one archive, or several .npz; got a.tar, b"):
        QM9(file=["a.tar", "b.npz"])


def test_load_data(tmp_path, files):
    train, val, test = load_data("QM9", file=archive(tmp_path, files), num_train=20, num_val=3)
    assert [len(part.dataset) for part in (train, val, test)] == [20, 3, 4]
    assert next(iter(train)).U0.shape == (20,)


def test_charges_survive_ase(tmp_path, files):
    water = QM9(file=archive(tmp_path, files))[0]
    again = from_ase(to_ase(water))
    assert set(again.keys()) == set(water.keys()) | {"cell", "pbc"}
    for name in ("charges", "energy", "U0", "id"):
        assert torch.equal(again[name], water[name])
    assert again.smiles_relaxed == "O*"


def test_same_geometry_as_ase_reads_from_the_file(tmp_path, files):
    """ASE's reader of XYZ, which SchNetPack uses, knows neither the exponents nor the rest."""
    dataset = QM9(file=archive(tmp_path, files), keep_uncharacterized=True)
    for ours, content in zip(dataset, files.values(), strict=True):
        path = tmp_path / "one.xyz"
        path.write_text(content.decode().replace("*^", "e"))
        with path.open() as stream:
            theirs = next(read_xyz(stream, 0))
        assert np.array_equal(theirs.numbers, ours.z.numpy())
        assert np.array_equal(theirs.positions, ours.pos.numpy())


def test_writer_of_this_test_keeps_the_form():
    content = qm9_xyz(7, [1.0] * 15, [1], [[0.0, 1e-5, -2.0]], "[H]")
    assert (
        content.split(b"\n")[2] == b"H\t0.0\t1.0000000000000001*^-5\t-2.0\t9.9999999999999995*^-7"
    )


def test_a_file_of_another_kind_is_refused_before_a_download(tmp_path, monkeypatch):
    (tmp_path / "own.extxyz").write_text("1\n\nH 0 0 0\n")
    monkeypatch.setattr(module, "fetch", lambda *arguments: pytest.fail("a download was begun"))
    with pytest.raises(InputError, match="own.extxyz"):
        QM9(file=tmp_path / "own.extxyz")


def test_npz_that_states_its_unit(tmp_path):
    with np.load(shared("qm9_all_properties.npz")) as file:
        arrays = {key: file[key] for key in file.files}
    atoms = int(arrays["N"][:20].astype(int).sum())
    arrays = {k: v[: atoms if k in ("Z", "R") else 20] for k, v in arrays.items()}
    hartree = tmp_path / "hartree.npz"
    np.savez(hartree, **arrays)
    ours = QM9(file=hartree)
    energies = [name for name, p in PROPERTIES.items() if p.file_unit == "Hartree"]
    arrays |= {name: arrays[name] * 27.211386245988 for name in energies}
    np.savez(tmp_path / "ev.npz", **arrays, e_unit="eV")
    stated = QM9(file=tmp_path / "ev.npz")
    for name in ("U0", "gap", "U0_atom", "energy", "mu", "Cv"):
        torch.testing.assert_close(stated.get_property(name), ours.get_property(name))
    np.savez(tmp_path / "silent.npz", **arrays)
    with pytest.raises(InputError, match="silent.npz: U0 of its first molecule is .*atomization"):
        QM9(file=tmp_path / "silent.npz")


def test_other_than_the_archive(tmp_path):
    with pytest.raises(InputError, match="QM9 is read from its archive, .*, not from a folder"):
        QM9(file=tmp_path)
    path = tmp_path / "dsgdb9nsd_000001.xyz"
    path.write_bytes(b"5")
    with pytest.raises(InputError, match="not from one of its small files; name the archive"):
        QM9(file=path)

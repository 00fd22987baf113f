"""Checkpoints of 2018, written here byte for byte, against an independent NumPy pass."""

import argparse
import contextlib
import json
import struct

import numpy as np
import pytest
import torch

import schnetgeo as sg
from schnetgeo.interop import from_tensorflow, read
from schnetgeo.interop.tensor_bundle import read_bundle
from tests.interop.structures import rattled

F, K, T = 12, 200, 2
ARGS = {"basis": F, "filters": F, "interactions": T, "cutoff": 20.0, "intensive": False}


def varint(number):
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(entries):
    """A block of sorted keys with shared prefixes, a restart every 16, and its trailer."""
    content, restarts, before = b"", [], b""
    for n, (key, value) in enumerate(entries):
        shared = 0
        if n % 16 == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value))
        content += key[shared:] + value
        before = key
    content += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    return content


def write_bundle(prefix, tensors, block_size=20):
    """PREFIX.index and PREFIX.data-00000-of-00001."""
    data, entries = b"", [(b"", field(1, 1))]
    for name in sorted(tensors):
        array = np.asarray(tensors[name])
        dims = b"".join(field(2, field(1, n)) for n in array.shape)
        kind = {"f4": 1, "f8": 2, "i8": 9}[array.dtype.str[1:]]
        content = array.tobytes()
        message = field(1, kind) + field(2, dims) + field(4, len(data)) + field(5, len(content))
        entries.append((name.encode(), message + varint(6 << 3 | 5) + bytes(4)))
        data += content
    index, handles = b"", []
    for start in range(0, len(entries), block_size):
        part = entries[start : start + block_size]
        content = block(part)
        handles.append((part[-1][0], varint(len(index)) + varint(len(content))))
        index += content + bytes(5)
    meta = len(index), len(block([]))
    index += block([]) + bytes(5)
    top = len(index), len(block(handles))
    index += block(handles) + bytes(5)
    footer = b"".join(varint(n) for n in (*meta, *top))
    index += footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(prefix.name + ".index").write_bytes(index)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)


def checkpoint(shared=False, seed=0):
    random = np.random.default_rng(seed)
    normal = lambda *shape: (0.4 * random.normal(size=shape)).astype("<f4")  # noqa: E731
    tensors = {"atom_embedding/embeddings/W": normal(100, F), "global_step": np.int64(7)}

    def dense(name, n_in, n_out, bias=True):
        tensors[f"{name}/W"] = normal(n_in, n_out)
        if bias:
            tensors[f"{name}/b"] = normal(n_out)

    for scope in ["interaction"] if shared else [f"interaction_{n}" for n in range(T)]:
        dense(f"{scope}/SchNetFilter/Dense", K, F)
        dense(f"{scope}/SchNetFilter/Dense_1", F, F)
        dense(f"{scope}/CFConv/in2fac", F, F, bias=False)
        dense(f"{scope}/CFConv/fac2out", F, F)
        dense(f"{scope}/Dense", F, F)
    dense("Dense", F, F // 2)
    dense("Dense_1", F // 2, 1)
    statistics = {"mean_per_atom": [-4.2], "std_per_atom": 1.3}
    tensors |= {name: np.array(value, "<f4") for name, value in statistics.items()}
    return tensors | {"atomref/embeddings/W": 50 * normal(100, 1)}


def energy(tensors, args, z, pos):
    """One molecule, in float64 NumPy."""
    w = {name: np.asarray(value, "<f8") for name, value in tensors.items()}
    ssp = lambda x: np.logaddexp(x, 0) - np.log(2)  # noqa: E731
    dense = lambda x, p: x @ w[f"{p}/W"] + w.get(f"{p}/b", 0)  # noqa: E731
    r = np.sqrt(((pos[:, None] - pos) ** 2).sum(-1))
    e = np.exp(-10 * (r[..., None] - np.linspace(0, 20, K).astype("<f4").astype("<f8")) ** 2)
    other = (1 - np.eye(len(z)))[..., None]
    x = w["atom_embedding/embeddings/W"][z]
    for n in range(T):
        p = "interaction" if args.get("shared_interactions") else f"interaction_{n}"
        W = ssp(dense(ssp(dense(e, f"{p}/SchNetFilter/Dense")), f"{p}/SchNetFilter/Dense_1"))
        y = (W * other * dense(x, f"{p}/CFConv/in2fac")).sum(1)
        x = x + dense(ssp(dense(y, f"{p}/CFConv/fac2out")), f"{p}/Dense")
    y = dense(ssp(dense(x, "Dense")), "Dense_1")[:, 0]
    y = y * w["std_per_atom"] + w["mean_per_atom"] + w["atomref/embeddings/W"][z, 0]
    return y.mean() if args.get("intensive") else y.sum()


@pytest.mark.parametrize("options", [{}, {"shared_interactions": True}, {"intensive": True}])
def test_equals_numpy(tmp_path, options):
    args, tensors = ARGS | options, checkpoint("shared_interactions" in options)
    write_bundle(tmp_path / "chkpt-500", tensors)
    (tmp_path / "args.json").write_text(json.dumps(args))
    data = rattled(torch.float64)
    potential = read(tmp_path / "chkpt-500", "eV").double()
    potential.filters = "exact"
    structures = [data[n] for n in range(3)]
    apart = structures[2].clone()  # two molecules of water, farther apart than the last center
    apart.z, apart.pos = apart.z.repeat(2), torch.cat([apart.pos, apart.pos + 40.0])
    for structure in (*structures, apart):
        z, pos = structure.z.numpy(), structure.pos.numpy()
        expected = energy(tensors, args, z, pos)
        prediction = potential(structure)
        assert abs(float(prediction.energy) - expected) < 1e-10 * max(1, abs(expected))
        for k in (0, len(z) - 1):
            step = np.zeros_like(pos)
            step[k, 1] = 1e-4
            ends = (energy(tensors, args, z, pos + s * step) for s in (1, -1))
            slope = -np.subtract(*ends) / 2e-4
            assert abs(slope - float(prediction.forces[k, 1])) < 1e-6 * max(1, abs(slope))


def test_a_folder_of_a_training_is_found(tmp_path):
    """Its arguments are a pickled namespace, its names end in :0, its best model is the latest."""
    folder = tmp_path / "validation"
    folder.mkdir()
    for seed, step in enumerate((5000, 10000, 7000)):
        tensors = {f"{name}:0": value for name, value in checkpoint(seed=seed).items()}
        write_bundle(folder / f"best_model-{step}", tensors)
    np.save(tmp_path / "args.npy", argparse.Namespace(**ARGS))
    data = rattled(torch.float32)
    paths = folder, folder / "best_model-10000.index", folder / "best_model-10000", tmp_path
    energies = [read(path, "eV")(data).energy for path in paths]
    assert all(torch.equal(energies[0], energy) for energy in energies[1:])
    assert not torch.equal(energies[0], read(folder / "best_model-5000", "eV")(data).energy)
    tensors = {f"SchNet/{name}": value for name, value in checkpoint(seed=1).items()}
    write_bundle(tmp_path / "chkpoints-10000", tensors | {"beta1_power": np.float64(0.1)})
    assert torch.equal(read(tmp_path / "chkpoints-10000", "eV")(data).energy, energies[0])
    (tmp_path / "args.npy").unlink()
    with pytest.raises(sg.InputError, match="no args.npy beside it"):
        read(folder, "eV")
    from_tensorflow(folder / "best_model-5000", "eV", arguments=ARGS)


def test_arguments_run_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "marker"), "w")

    write_bundle(tmp_path / "a", checkpoint())
    for content in (Evil(), argparse.Namespace(**ARGS, evil=Evil())):
        np.save(tmp_path / "args.npy", np.array([content], dtype=object), allow_pickle=True)
        with contextlib.suppress(sg.InputError):
            read(tmp_path / "a", "eV")
        assert not (tmp_path / "marker").exists()
    (tmp_path / "args.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(sg.InputError, match="no array of objects"):
        read(tmp_path / "a", "eV")


@pytest.mark.parametrize("block_size", [1, 3, 1000])
def test_bundle_is_read_as_written(tmp_path, block_size):
    tensors = {f"layer_{n}/W": np.random.default_rng(n).normal(size=(n, 3)) for n in range(40)}
    write_bundle(tmp_path / "a", tensors, block_size)
    read = read_bundle(tmp_path / "a")
    assert read.keys() == tensors.keys()
    assert all(np.array_equal(read[name], value) for name, value in tensors.items())


def test_damaged_files_are_one_line(tmp_path):
    write_bundle(tmp_path / "a", checkpoint())
    index, data = tmp_path / "a.index", tmp_path / "a.data-00000-of-00001"
    whole, numbers = index.read_bytes(), data.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole) - 8)] ^= 1 << random.integers(8)
        index.write_bytes(damaged)
        with contextlib.suppress(sg.InputError):  # and nothing else
            read_bundle(tmp_path / "a")
    for content in (b"", whole[:100], bytes(100)):
        index.write_bytes(content)
        with pytest.raises(sg.InputError, match="no index of a TensorFlow checkpoint"):
            read_bundle(tmp_path / "a")
    index.write_bytes(whole)
    data.write_bytes(numbers[:-1])
    with pytest.raises(sg.InputError, match="ends beyond its file"):
        read_bundle(tmp_path / "a")
    data.unlink()
    with pytest.raises(sg.InputError, match="copy it too"):
        read_bundle(tmp_path / "a")


def test_other_networks_are_refused(tmp_path):
    write_bundle(tmp_path / "a", {"conv/W": np.ones((2, 2), "<f4")})
    with pytest.raises(sg.InputError, match="has no interaction_0/.*, but conv/W; no SchNet"):
        from_tensorflow(tmp_path / "a", "eV", arguments=ARGS)
    options = ARGS | {"filter_pool_mode": "mean"}
    with pytest.raises(sg.InputError, match="averaged filters have no counterpart"):
        from_tensorflow(tmp_path / "a", "eV", arguments=options)

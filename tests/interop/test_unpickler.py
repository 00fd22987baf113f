"""A checkpoint of a stranger: nothing in it runs, and it takes no memory that it does not fill."""

import collections
import io
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn
from torch_geometric.nn.models import SchNet

import schnetgeo as sg
from schnetgeo.interop import read
from schnetgeo.interop.tree import Node, class_of
from schnetgeo.interop.unpickler import StandIn, read_inert
from tests.interop.test_pyg import peer


class Evil:
    """Its pickle calls a function with arguments, as pickles may."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


ATTACKS = {
    "system": lambda marker: Evil(os.system, f"touch {marker}"),
    "open": lambda marker: Evil(open, str(marker), "w"),
    "exec": lambda marker: Evil(exec, f"open({str(marker)!r}, 'w')"),
    "eval": lambda marker: Evil(eval, f"open({str(marker)!r}, 'w')"),
    "getattr": lambda marker: Evil(getattr, os, "system"),
    "import": lambda marker: Evil(__import__, "this"),
    "torch.load": lambda marker: Evil(torch.load, str(marker)),
    "hub": lambda marker: Evil(torch.hub.load, "a/b", "c"),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ATTACKS)
def test_malicious_pickle_runs_nothing(tmp_path, monkeypatch, name, legacy):
    marker, file = tmp_path / "marker", tmp_path / "evil.pt"
    content = {"state_dict": {"w": torch.ones(2)}, "x": ATTACKS[name](marker)}
    try:
        torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    except TypeError:  # a module cannot be pickled as an argument
        content["x"] = Evil(getattr, "os", "system")
        torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    monkeypatch.setattr(os, "system", lambda *a: pytest.fail("it ran"))
    read = read_inert(file)
    assert not marker.exists()
    assert isinstance(read["x"], StandIn)
    with pytest.raises(sg.InputError):
        sg.interop.read(file)
    assert not marker.exists()


def test_a_stand_in_cannot_replace_what_reads(tmp_path):
    """State that sets attributes of functions and classes changes nothing of this process."""
    for target in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n"):
        content = b"\x80\x02" + target + b"(NX\x04\x00\x00\x00evilK\x01sX\x01\x00\x00\x00aK\x01"
        content += b"tb."
        path = tmp_path / "evil.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
        with pytest.raises(sg.InputError, match="no checkpoint that can be read"):
            read_inert(path)
    assert not hasattr(collections.OrderedDict, "evil")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_equal_to_torch(tmp_path, legacy):
    """Tensors of every usual type, views, tied ones, and containers."""
    base = torch.randn(4, 6)
    content = {
        "view": base[1:, ::2], "same": base, "parameter": nn.Parameter(torch.randn(3)),
        "half": torch.randn(3).half(), "bfloat": torch.randn(3).bfloat16(),
        "whole": torch.arange(5), "bool": torch.tensor([True, False]), "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "ordered": collections.OrderedDict(a=1), "list": [1, (2.5, None, "text")], "set": {1, 2},
        "dtype": torch.float32, "size": torch.Size([2, 3]),
    }  # fmt: skip
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    read = read_inert(tmp_path / "a.pt")
    assert read.keys() == content.keys()
    for name, value in content.items():
        if torch.is_tensor(value):
            assert torch.equal(read[name], value.detach())
            assert read[name].dtype == value.dtype
        else:
            assert read[name] == value
    assert read["view"].untyped_storage().data_ptr() == read["same"].untyped_storage().data_ptr()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_modules_are_seen_as_they_were(tmp_path, legacy):
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3), nn.SiLU()))
    torch.save(net, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    stand_in = Node(read_inert(tmp_path / "a.pt"))
    assert stand_in.class_path == "torch.nn.modules.container.Sequential"
    assert stand_in["1.0"].attribute("eps") == 1e-5
    for (name, value), (other, expected) in zip(
        sorted(stand_in.tensors()), sorted(Node(net).tensors()), strict=True
    ):
        assert name == other
        assert torch.equal(value, expected)
    with pytest.raises(sg.InputError, match="has no module '5', but 0, 1; its version"):
        stand_in["5"]


def test_a_class_keeps_its_name(tmp_path):
    torch.save({"f": torch.nn.functional.silu, "c": nn.SiLU}, tmp_path / "a.pt")
    read = read_inert(tmp_path / "a.pt")
    assert class_of(read["f"]) == "torch.nn.functional.silu"
    assert class_of(read["c"]) == "torch.nn.modules.activation.SiLU"


def _zip(path, content: bytes, storage: bytes = b""):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", storage)


class Storage:
    """A reference to a storage, as torch writes it."""

    def __init__(self, numel):
        self.numel = numel


def _tensor_pickle(numel, size, stride) -> bytes:
    """A file's pickle of one tensor, sizes as they please."""

    class Writer(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                return "storage", torch.FloatStorage, "0", "cpu", value.numel
            return None

    file = io.BytesIO()
    arguments = Storage(numel), 0, size, stride, False, collections.OrderedDict()
    Writer(file, protocol=2).dump(Evil(torch._utils._rebuild_tensor_v2, *arguments))
    return file.getvalue()


@pytest.mark.parametrize(
    ("size", "stride"), [((10**9,), (0,)), ((10**9,), (1,)), ((2,), (10**9,)), ((-1,), (1,))]
)
def test_sizes_are_those_of_the_file(tmp_path, size, stride):
    _zip(tmp_path / "a.pt", _tensor_pickle(4, size, stride), bytes(16))
    with pytest.raises(sg.InputError, match="no checkpoint that can be read"):
        read_inert(tmp_path / "a.pt")


def test_compressed_archives_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + bytes(10**6))
    with pytest.raises(sg.InputError, match="compressed archive"):
        read_inert(tmp_path / "a.pt")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_damaged_files_are_one_line(tmp_path, legacy):
    net = nn.Linear(3, 3)
    torch.save(net, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    content = (tmp_path / "a.pt").read_bytes()
    for end in (0, 1, 10, len(content) // 2, len(content) - 9):
        (tmp_path / "b.pt").write_bytes(content[:end])
        with pytest.raises(sg.InputError, match="b.pt"):
            read_inert(tmp_path / "b.pt")
    with pytest.raises(sg.InputError, match="no such file"):
        read_inert(tmp_path / "c.pt")


def test_nested_without_end_is_refused(tmp_path):
    net = nn.Module()
    net._modules["inner"] = net
    torch.save(net, tmp_path / "a.pt")
    with pytest.raises(sg.InputError, match="nested more than"):
        dict(Node(read_inert(tmp_path / "a.pt")).tensors())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "a dictionary with epoch"),
        ([1, 2], "a builtins.list"),
        (nn.Linear(2, 2), "a model torch.nn.modules.linear.Linear, which is not known"),
        ({"w": torch.ones(2)}, "a state dict with w"),
        ({"state_dict": {"w": torch.ones(2)}}, "a state dict with w"),
    ],
)
def test_unknown_content_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(sg.InputError, match=message):
        read(tmp_path / "a.pt", "eV")


class Stated:
    """Its pickle makes a tensor and then gives it a state, as `torch.Tensor` takes one."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        rebuilt = torch._utils._rebuild_parameter
        return rebuilt, (torch.ones(2), False, collections.OrderedDict()), self.state


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_state_makes_no_tensor_larger(tmp_path, legacy):
    state = (torch.ones(2).untyped_storage(), 0, (10**12,), (1,))
    for content in (Stated((torch.ones(2), *state[1:])), Stated((torch.ones(2),) * 5)):
        path = tmp_path / "evil.pt"
        torch.save({"w": content}, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(sg.InputError, match="a state for an object that has none"):
            read_inert(path)


def overlapping(payload: bytes) -> bytes:
    """A zip archive of data.pkl and members 0 and 1, the first of which contains the second."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        floats = torch._utils._rebuild_tensor_v2
        content = io.BytesIO()
        pickler = pickle.Pickler(content, 2)
        pickler.persistent_id = lambda x: x if isinstance(x, tuple) and x[0] == "storage" else None
        numel, rest = len(payload), (False, None)
        tensors = [
            Evil(floats, ("storage", torch.ByteStorage, key, "cpu", numel), 0, (1,), (1,), *rest)
            for key in "01"
        ]
        pickler.dump(tensors)
        archive.writestr("a/data.pkl", content.getvalue())
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as second:
            second.writestr("a/data/1", payload)
        local = inner.getvalue()[: second.start_dir]
        archive.writestr("a/data/0", local)
        info = archive.getinfo("a/data/0")
        begin = info.header_offset + 30 + len(info.filename)
        twin = second.getinfo("a/data/1")
        twin.header_offset = begin
        archive.filelist.append(twin)
        archive.NameToInfo[twin.filename] = twin
    return whole.getvalue()


def test_members_that_lie_over_each_other_are_no_larger_than_the_file(tmp_path):
    path = tmp_path / "evil.pt"
    path.write_bytes(overlapping(b"\0" * 2**16))
    with pytest.raises(sg.InputError, match="larger than the file|[Oo]verlap"):
        read_inert(path)


def test_modules_in_modules_are_counted(tmp_path):
    """Twenty-five levels of two references to one module would be 2²⁵ modules."""
    top = nn.Linear(1, 1)
    for _ in range(25):
        pair = nn.Module()
        pair.a = pair.b = top
        top = pair
    torch.save(top, tmp_path / "evil.pt")
    with pytest.raises(sg.InputError, match="more than 10,000 modules"):
        list(Node(read_inert(tmp_path / "evil.pt")).tensors())


def test_parts_of_other_types_are_one_line(tmp_path):
    net = SchNet(hidden_channels=4, num_filters=4, num_interactions=1, num_gaussians=4)
    vars(net)["_buffers"] = 5
    torch.save(net, tmp_path / "odd.pt")
    with pytest.raises(sg.InputError, match=r"odd\.pt: not as its package writes it"):
        read(tmp_path / "odd.pt", "eV")


def test_values_of_other_kinds_are_one_line(tmp_path):
    """Attributes that its package would not write, each alone."""
    for place, name, value in (
        ("", "cutoff", "far"), ("", "scale", "x"), ("", "_modules", 3),
        ("distance_expansion", "coeff", None), ("distance_expansion", "_buffers", {"offset": 1}),
        ("embedding", "_parameters", {"weight": torch.ones(10**6)}), ("act", "shift", ()),
    ):  # fmt: skip
        net = peer()
        vars(net.get_submodule(place))[name] = value
        torch.save(net, tmp_path / "a.pt")
        with pytest.raises(sg.InputError, match="a.pt: "):
            sg.interop.read(tmp_path / "a.pt", "eV")


def test_a_model_is_no_larger_than_its_file(tmp_path):
    state = peer().state_dict()
    state["embedding.weight"] = torch.ones(20_000, 1)
    state["interactions.0.conv.lin1.weight"] = torch.ones(1, 20_000)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(sg.InputError, match="far larger than"):
        read(tmp_path / "a.pt", "eV")

import errno
import json
import math
import pickle
import resource
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import nn

from schnetgeo.data import from_ase
from schnetgeo.errors import InputError
from schnetgeo.nn import (
    Baseline,
    BesselBasis,
    CFConv,
    MeanReadout,
    PolynomialCutoff,
    RadialConv,
    SchNet,
)
from schnetgeo.potential import Potential, load, model_file
from schnetgeo.potential.model_file import read_model, write_model
from schnetgeo.targets import ENERGY
from tests.nn.weights import randomize


class Gate(RadialConv):
    """A layer that is not part of the package."""

    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)

    def message(self, x_j, edge_attr):
        return x_j * self.filter(edge_attr)


class Trap:
    """Unpickling it raises the flag."""

    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def small_potential(dtype=torch.float32, **changes):
    model = SchNet(**{**dict(channels=4, num_layers=1, num_basis=4, cutoff=4.0), **changes})
    references = torch.randn(model.max_z, dtype=torch.float64)
    return Potential(randomize(model).to(dtype), references, scale=0.123456789012345).eval()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def content(path):
    """What a small model's file holds; the file is there."""
    small_potential(max_z=10).save(path)
    return path.read_bytes()


def assert_same(potential, other):
    state, other_state = potential.state_dict(), other.state_dict()
    assert list(state) == list(other_state)
    for name, value in state.items():
        assert value.dtype == other_state[name].dtype, name
        assert torch.equal(value, other_state[name]), name
    data = from_ase(molecule("CH3CH2OH"))
    expected = other(data)
    for name, value in potential(data).items():
        assert torch.equal(value, expected[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_is_exact(path, dtype):
    potential = small_potential(dtype)
    potential.save(path)
    loaded = load(path)
    assert not loaded.training
    assert loaded.model.hyperparameters == potential.model.hyperparameters
    assert_same(potential, loaded)


def test_double_precision_by_conversion_survives(path):
    potential = small_potential().double()
    potential.save(path)
    assert_same(potential, load(path))


@pytest.mark.parametrize(
    "model",
    [
        SchNet.preset("paper2017", num_basis=20),
        SchNet.preset("schnetpack", channels=8),
        SchNet(channels=8, num_layers=1, activation=nn.Tanh, readout=MeanReadout, in_bias=True),
        SchNet(channels=8, num_layers=1, gamma=4.0, readout_channels=5, max_z=20),
        Baseline(max_z=9),
    ],
    ids=["paper", "schnetpack", "classes", "numbers", "baseline"],
)
def test_arguments_survive(path, model):
    potential = Potential(randomize(model)).eval()
    potential.save(path)
    loaded = load(str(path))
    assert type(loaded.model) is type(model)
    assert str(loaded) == str(potential)
    assert_same(potential, loaded)


def test_tied_weights_survive(path):
    potential = small_potential(num_layers=2)
    first, second = potential.model.interactions
    second.lin2.weight = first.lin2.weight
    potential.save(path)
    assert_same(potential, load(path))


def test_saving_from_training_loads_for_evaluation(path):
    potential = small_potential().train()
    potential.save(path)
    assert potential.training
    assert not load(path).training


def test_header_tells_units_and_notes(path):
    small_potential().save(path, task="energy", num_train=1000, dataset=["a", "b"])
    header, _ = read_model(path)
    assert header["units"] == {"length": "Angstrom"}
    (target,) = header["targets"]
    assert (target["name"], target["unit"], target["shape"]) == ("energy", "eV", [])
    assert header["notes"] == {"task": "energy", "num_train": 1000, "dataset": ["a", "b"]}
    assert header["class"] == "schnetgeo.nn.schnet.SchNet"
    assert header["hyperparameters"]["cutoff"] == 4.0


def test_user_class_must_be_given(path):
    potential = small_potential(conv=Gate)
    potential.save(path)
    assert_same(potential, load(path, classes=[Gate]))
    message = r"needs the class tests\.potential\.test_model_file\.Gate, .* classes=\[Gate\]"
    with pytest.raises(InputError, match=message):
        load(path)
    with pytest.raises(InputError, match=message):
        load(path, classes=[nn.Linear])


def test_user_class_from_inside_a_function(path):
    class Inner(Gate):
        """As in a notebook's cell or a test."""

    potential = small_potential(conv=Inner)
    potential.save(path)
    assert_same(potential, load(path, classes=(Inner,)))


def test_user_model(path):
    class Mine(Baseline):
        """A model of the user's own."""

    potential = Potential(randomize(Mine(max_z=20))).eval()
    potential.save(path)
    assert type(load(path, classes=[Mine]).model) is Mine


def test_user_class_does_not_replace_one_of_the_package(path):
    class CosineCutoff(nn.Module):
        """Of the same name as the package's."""

    potential = small_potential()
    potential.save(path)
    assert_same(potential, load(path, classes=[CosineCutoff]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os.system", "needs the class os.system, which is not part of schnetgeo"),
        ("subprocess.Popen", "needs the class subprocess.Popen, which is not part"),
        ("torch.hub.load", "needs the class torch.hub.load, which is not part"),
        ("schnetgeography.nn.SchNet", "needs the class schnetgeography.nn.SchNet"),
        ("Popen", "needs the class Popen"),
        (
            "schnetgeo.potential.model_file.Path",
            "names schnetgeo.potential.model_file.Path, which this version",
        ),
        (
            "schnetgeo.potential.model_file.importlib",
            "names schnetgeo.potential.model_file.import",
        ),
        ("schnetgeo.nn.schnet.PaiNN", "names schnetgeo.nn.schnet.PaiNN, which this version does"),
        ("schnetgeo.nn.dimenet.Net", "names schnetgeo.nn.dimenet.Net, which this version does not"),
        ("torch.nn.modules.module.Tensor", "names torch.nn.modules.module.Tensor"),
    ],
)
@pytest.mark.parametrize("place", ["class", "argument"])
def test_other_classes_are_refused(path, name, message, place):
    """Even where the checksum is right."""
    small_potential().save(path)
    header, tensors = read_model(path)
    if place == "class":
        header["class"] = name
    else:
        header["hyperparameters"]["activation"] = {"class": name}
    write_model(path, header, tensors)
    with pytest.raises(InputError, match=message):
        load(path)


def test_arguments_that_the_class_does_not_take(path):
    small_potential().save(path)
    header, tensors = read_model(path)
    write_model(path, {**header, "hyperparameters": {"heads": 8}}, tensors)
    with pytest.raises(InputError, match="does not fit schnetgeo.nn.schnet.SchNet: .*heads"):
        load(path)


def test_a_message_about_a_file_names_it_once(path):
    small_potential().save(path)
    header, tensors = read_model(path)
    write_model(path, {**header, "hyperparameters": {"channels": 4096, "num_layers": 99}}, tensors)
    with pytest.raises(InputError, match="the header asks for a model far larger") as caught:
        load(path)
    assert str(caught.value).count(str(path)) == 1
    assert "does not fit" not in str(caught.value)


def test_weights_of_another_shape(path):
    small_potential().save(path)
    header, tensors = read_model(path)
    header["hyperparameters"]["channels"] = 5
    write_model(path, header, tensors)
    with pytest.raises(
        InputError, match="does not fit schnetgeo.nn.schnet.SchNet: (?s:.*)size mismatch"
    ):
        load(path)


WRONG = (None, 7, "furlong", ["x"], {"x": 1}, True)


@pytest.mark.parametrize(
    "name",
    [
        "format",
        "version",
        "class",
        "hyperparameters",
        "filters",
        "dtype",
        "units",
        "notes",
        "targets",
    ],
)
def test_changed_header_with_a_right_digest(path, name):
    small_potential(max_z=10).save(path)
    header, tensors = read_model(path)
    message = f"{path.name}: a model file with a changed header: {name} = "
    rewrite(path, {k: v for k, v in header.items() if k != name}, tensors)
    with pytest.raises(InputError, match=message):
        load(path)
    for value in WRONG:
        if type(value) is type(header[name]) and name in (
            "version",
            "class",
            "hyperparameters",
            "filters",
            "notes",
        ):
            continue
        if name == "format" and isinstance(value, int):
            continue
        rewrite(path, {**header, name: value}, tensors)
        with pytest.raises(InputError, match=message):
            load(path)


@pytest.mark.parametrize("text", ["", "[]", "7", '{"format": 1', "nan"])
def test_header_that_is_no_object(path, text):
    tensors = {"x": torch.zeros(1)}
    metadata = {"schnetgeo": text, "sha256": model_file._digest(text, tensors)}
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(InputError, match="a model file with a changed header: the header = "):
        load(path)


def test_changed_arguments_with_a_right_digest(path):
    """Some of these load as another model; the others are refused by the name of the file."""
    small_potential(max_z=10).save(path)
    header, tensors = read_model(path)
    messages = []
    for name in header["hyperparameters"]:
        for value in WRONG:
            rewrite(
                path,
                {**header, "hyperparameters": {**header["hyperparameters"], name: value}},
                tensors,
            )
            try:
                load(path)
            except InputError as error:
                messages.append(str(error))
    assert len(messages) > 60
    assert all(message.startswith(f"{path}: ") for message in messages)


def rewrite(path, header, tensors):
    """As `write_model`, with nothing added to the header."""
    text = json.dumps(header)
    metadata = {"schnetgeo": text, "sha256": model_file._digest(text, tensors)}
    save_file(tensors, path, metadata=metadata)


def test_file_of_a_later_format(path):
    small_potential().save(path)
    header, tensors = read_model(path)
    write_model(path, {**header, "format": 2, "version": "9.9"}, tensors)
    with pytest.raises(InputError, match=r"written by schnetgeo 9\.9 in format 2, .* upgrade"):
        load(path)


def test_argument_that_json_cannot_hold(path):
    model = SchNet(channels=4, num_layers=1)
    model.hyperparameters["cutoff"] = torch.tensor(5.0)
    with pytest.raises(InputError, match="is neither number, string, class"):
        Potential(model).save(path)
    assert not path.exists()


def test_truncated_file(path, content):
    header_end = 8 + int.from_bytes(content[:8], "little")
    lengths = [0, 1, 7, 8, 9, header_end // 2, header_end - 1, header_end, header_end + 1]
    for length in [*lengths, (header_end + len(content)) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"not a whole \.safetensors file"):
            load(path)


def test_bytes_after_the_end(path, content):
    path.write_bytes(content + b"\0")
    with pytest.raises(InputError, match=r"not a whole \.safetensors file"):
        load(path)


def test_changed_bytes_of_the_header(path, content):
    """Whatever the change makes of it, the answer is an InputError."""
    header_end = 8 + int.from_bytes(content[:8], "little")
    for position in (*range(8), *range(8, header_end, 7)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(InputError, match=str(path)):
            load(path)


def test_changed_weight(path, content):
    header_end = 8 + int.from_bytes(content[:8], "little")
    for position in range(header_end, len(content), 101):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(InputError, match="header or weights were changed after saving"):
            load(path)


@pytest.mark.parametrize(
    ("old", "new"), [('"cutoff": 4.0', '"cutoff": 5.0'), ('"eV"', '"Ha"'), ("SchNet", "SchNeT")]
)
def test_edited_header(path, content, old, new):
    """As by a text editor, with the length kept, so that the container is whole."""
    old, new = (json.dumps(text)[1:-1].encode() for text in (old, new))
    assert content.count(old) >= 1
    path.write_bytes(content.replace(old, new))
    assert load_tensors(path.read_bytes())
    with pytest.raises(InputError, match="header or weights were changed after saving"):
        load(path)


def test_swapped_weights(path, content):
    """All bytes are there, under each other's names."""
    for old, new in ((b"lin2.bias", b"----.bias"), (b"lin3.bias", b"lin2.bias")):
        content = content.replace(b"interactions.0." + old, b"interactions.0." + new)
    content = content.replace(b"----.bias", b"lin3.bias")
    path.write_bytes(content)
    assert load_tensors(path.read_bytes())
    with pytest.raises(InputError, match="header or weights were changed after saving"):
        load(path)


def test_file_of_another_kind(path):
    path.write_text("Hello, I am a text file, long enough to be a model.")
    with pytest.raises(InputError, match=r"not a whole \.safetensors file"):
        load(path)


def test_safetensors_of_another_program(path):
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="but not one of schnetgeo's models"):
        load(path)


def test_missing_file(path):
    with pytest.raises(InputError, match=r"no such file; give a model written by Potential\.save"):
        load(path)
    with pytest.raises(InputError, match="no such file"):
        load(path.parent)


def write_half(self, content):
    """A disk that fills up."""
    with self.open("wb") as file:
        file.write(content[: len(content) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("old", [False, True])
def test_no_space_left_leaves_what_was_there(path, content, monkeypatch, old):
    if not old:
        path.unlink()
    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        small_potential().save(path)
    assert list(path.parent.iterdir()) == ([path] if old else [])
    if old:
        assert path.read_bytes() == content


def test_saving_makes_folders_and_replaces(path):
    path = path.parent / "a" / "b" / path.name
    small_potential().save(path)
    other = small_potential(torch.float64)
    other.save(path)
    assert list(path.parent.iterdir()) == [path]
    assert_same(other, load(path))


def test_nothing_is_unpickled(path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("unpickled")

    potential = small_potential()
    potential.save(path)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert_same(potential, load(path))


@pytest.mark.parametrize("write", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_pickle_under_a_false_name_is_not_opened(path, write):
    write({"model": Trap()}, path)
    with pytest.raises(InputError, match=r"not a whole \.safetensors file"):
        load(path)
    assert not Trap.sprung
    pickle.loads(pickle.dumps(Trap()))
    assert Trap.sprung
    Trap.sprung = False


def test_the_same_model_gives_the_same_file(path):
    potential = small_potential()
    for _ in range(20):  # of two entries in random order, 20 in one order are one in a million
        potential.save(path, task="energy")
        content = path.read_bytes()
        potential.save(path, task="energy")
        assert path.read_bytes() == content


@pytest.mark.parametrize("found", [print, "Gate", int, Path, lambda: None, nn.Linear(1, 1)])
def test_classes_are_modules(path, found):
    """A function would be called with what the file says."""
    small_potential(conv=Gate).save(path)
    with pytest.raises(InputError, match=r"classes: .* is no torch\.nn\.Module"):
        load(path, classes=[Gate, found])


@pytest.mark.parametrize("value", [[1], [[]], {}, {"class": ["x"]}])
def test_arguments_of_other_types(path, value):
    small_potential(conv=Gate).save(path)
    header, tensors = read_model(path)
    header["hyperparameters"]["channels"] = value
    write_model(path, header, tensors)
    with pytest.raises(InputError, match="a model file with a changed header: "):
        load(path, classes=[Gate])


def test_a_class_name_does_not_reach_the_terminal(path):
    write_model(path, {**HEADER, "class": "lab.Net\n\x1b[2JAll fine.\x07"}, {"x": torch.zeros(1)})
    with pytest.raises(InputError, match=r"class = 'lab\.Net\\n\\x1b\[2JAll") as error:
        load(path)
    assert str(error.value).isprintable()


HEADER = {
    "class": "schnetgeo.nn.schnet.SchNet",
    "hyperparameters": {},
    "filters": "spline",
    "dtype": "float32",
    "units": model_file.UNITS,
    "targets": [ENERGY.as_json()],
    "notes": {},
}


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": 20_000},
        {"channels": 10**9},
        {"num_layers": 10**9},
        {"max_z": 10**9},
        {"num_basis": 10**9},
        {"readout_channels": 10**9},
        {"spacing": 1e-9},
    ],
    ids=str,
)
def test_a_small_file_takes_little_memory_and_time(path, arguments):
    """The sizes that a header asks for are compared with the file before there is a model."""
    small_potential().save(path)
    header, tensors = read_model(path)
    write_model(
        path, {**header, "hyperparameters": {**header["hyperparameters"], **arguments}}, tensors
    )
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(InputError, match=str(path)):
        load(path)
    assert time.monotonic() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2e5  # kB


def test_building_a_model_elsewhere_is_not_counted(path):
    small_potential().save(path)
    load(path)
    assert SchNet(channels=1024, num_layers=3).hyperparameters["channels"] == 1024


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_of_a_training_that_diverged(path, bad):
    small_potential().save(path)
    header, tensors = read_model(path)
    tensors["model.embedding.weight"][3, 1] = bad
    write_model(path, header, tensors)
    with pytest.raises(InputError, match=rf"model.embedding.weight holds {bad}: the training of"):
        load(path)
    potential, before = small_potential(), path.read_bytes()
    potential.model.embedding.weight.data[3, 1] = bad
    with pytest.raises(InputError, match=rf"model.embedding.weight holds {bad}: the training of"):
        potential.save(path)
    assert path.read_bytes() == before


def test_deep_header(path):
    text = "[" * 100_000
    tensors = {"x": torch.zeros(1)}
    save_file(
        tensors, path, metadata={"schnetgeo": text, "sha256": model_file._digest(text, tensors)}
    )
    with pytest.raises(InputError, match="a model file with a changed header: the header = "):
        load(path)


def test_numbers_of_numpy(path):
    model = SchNet(channels=np.int64(4), num_layers=np.int32(1), cutoff=np.float64(4.0))
    Potential(model).save(path)
    assert load(path).model.hyperparameters["cutoff"] == 4.0


class Heads(CFConv):
    def __init__(self, channels, num_basis, heads=1):
        super().__init__(channels, num_basis)
        self.heads = heads

    def message(self, x_j, W):
        return self.heads * x_j * W


def test_parts_keep_arguments_of_their_own(path):
    model = SchNet(
        channels=4, num_layers=1, basis=BesselBasis(5, 4.0), conv=partial(Heads, heads=3),
        cutoff_fn=PolynomialCutoff(4.0, 7), activation=partial(nn.GELU, approximate="tanh"),
    )  # fmt: skip
    Potential(model, filters="exact", spacing=0.02).save(path)
    loaded = load(path, classes=[Heads])
    assert (loaded.filters, loaded.spacing) == ("exact", 0.02)
    assert loaded.model.interactions[0].conv.heads == 3
    assert loaded.model.interactions[0].activation.approximate == "tanh"
    assert (loaded.model.basis.num_basis, loaded.model.cutoff_fn.exponent) == (5, 7)
    with pytest.raises(InputError, match="needs the class .*Heads"):
        load(path)


@pytest.mark.parametrize(
    "value",
    [
        {"class": "os.system", "arguments": {}},
        {"class": "schnetgeo.nn.conv.CFConv", "arguments": [1]},
        {"class": "schnetgeo.nn.conv.CFConv", "arguments": {}, "hyperparameters": {}},
        {"class": "schnetgeo.nn.basis.GaussianBasis", "hyperparameters": {"num_basis": []}},
        {"class": "schnetgeo.nn.conv.CFConv", "arguments": {"activation": {"class": "os.system"}}},
        {"class": "torch.nn.modules.linear.Linear",
         "hyperparameters": {"in_features": 2**20, "out_features": 2**20}},
        {"hyperparameters": {}},
    ],
)  # fmt: skip
def test_parts_of_a_changed_header(path, value):
    Potential(SchNet(channels=4, num_layers=1)).save(path)
    header, tensors = read_model(path)
    for name in ("conv", "basis"):
        values = {**header["hyperparameters"], name: value}
        write_model(path, {**header, "hyperparameters": values}, tensors)
        with pytest.raises(InputError, match=str(path)):
            load(path)

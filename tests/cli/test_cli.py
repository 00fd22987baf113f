"""The command line as people use it, and what it says to bad input."""

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from PIL import Image

import schnetgeo as sg
from benchmarks import md17
from schnetgeo.cli import doctor, main, train
from schnetgeo.cli.parser import errors_in_one_line
from schnetgeo.data.neighbors import search as neighbors
from schnetgeo.data.split import Split
from schnetgeo.datasets import AtomsFile, Demo
from schnetgeo.train import TrainingConfig, evaluate
from schnetgeo.user_code import named_class

SMALL = "--model.channels 8 --model.num-layers 1 --model.num-basis 8 --progress false"
COUNTS = "--num-train 24 --num-val 6"
TWENTY = f"--max-steps 20 --validate-every 10 {COUNTS} {SMALL}"
MY_LAYERS = """
from torch import nn
from schnetgeo import RadialConv

class MyConv(RadialConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)

    def message(self, x_j, edge_attr):
        return x_j * self.filter(edge_attr)
"""


def run(command: str, *more) -> None:
    main([*command.split(), *map(str, more)])


def shell(command: str, folder: Path, start="schnetgeo") -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(Path(sg.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", *start.split(), *command.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def refused(capsys, command: str) -> str:
    """The one line on stderr of a command that ends with exit code 2 and leaves nothing."""
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        run(command)
    out, err = capsys.readouterr()
    err = "".join(line for line in err.splitlines(True) if "schnetgeo: note: " not in line)
    assert exit.value.code == 2
    assert out == ""
    assert err.startswith("schnetgeo")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert sorted(Path().rglob("*")) == before
    return err


def ethanol(name: str, without=(), **changed) -> str:
    """An .npz of 40 frames with arrays left out or changed."""
    frames = Demo("ethanol")[:40]
    arrays = dict(
        z=frames[0].z.numpy(),
        R=frames.get_property("pos").reshape(40, 9, 3).numpy(),
        E=frames.get_property("energy").numpy(),
        F=frames.get_property("forces").reshape(40, 9, 3).numpy(),
        e_unit="eV",
        f_unit="eV/Angstrom",
    )
    arrays = {**arrays, **changed}
    np.savez(name, **{k: v for k, v in arrays.items() if k not in without})
    return name


def with_value(key: str, index: tuple, value: float) -> dict:
    with np.load("good.npz") as file:
        array = file[key]
    array[index] = value
    return {key: array}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with good.extxyz, good.npz and a training in `model`."""
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ase.io.write("good.extxyz", [sg.to_ase(s) for s in Demo("ethanol")[:40]])
        ethanol("good.npz")
        run(f"train --data good.extxyz --out model --checkpoint-every 10 {TWENTY}")
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """An empty folder as the current one, with links to the files of `trained`."""
    monkeypatch.chdir(tmp_path)
    for name in ("good.extxyz", "good.npz", "model"):
        Path(name).symlink_to(trained / name)
    return tmp_path


def test_train_on_demo_data(here, capsys):
    run(f"train --out out {TWENTY}")
    out = capsys.readouterr().out
    assert "20 steps, ended by max_steps: out/model.safetensors" in out
    assert "errors on 1170 structures" in out
    assert re.search(r"  energy +[\d.]+ kcal/mol +[\d.]+ meV", out)
    assert re.search(r"  forces +[\d.]+ kcal/mol/Å +[\d.]+ meV/Å", out)
    assert [len(part) for part in Split.load("out/split.npz")] == [24, 6, 1170]


def test_train_on_the_other_demo_data(here, capsys):
    run(f"train --molecule molecules --num-test 9 --out out {TWENTY}")
    assert "errors on 9 structures" in capsys.readouterr().out
    assert (
        sg.load("out/model.safetensors").atomic_references.values.count_nonzero() == 4
    )  # H, C, N, O


def test_under_torchrun_one_process_speaks(here):
    torchrun = "torch.distributed.run --standalone --nproc-per-node=2"
    train = f"train --data good.npz --out out --device cpu {TWENTY}"
    done = shell(f"-m schnetgeo {train}", here, start=torchrun)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("errors on 10 structures") == 1
    assert done.stdout.count("20 steps, ended by max_steps") == 1
    assert "sync_dist" not in done.stderr
    assert "Grad strides" not in done.stderr


def test_doctor_works_without_lightning(here):
    Path("lightning.py").write_text("raise ImportError('blocked')")
    done = shell("doctor", here)
    assert done.returncode == 0, done.stderr
    assert f"schnetgeo {sg.__version__}, Python " in done.stdout


def test_dashes_and_underscores_mean_the_same(here):
    run(f"train --data good.npz --out dashes {TWENTY}")
    run(f"train --data=good.npz --out underscores {TWENTY.replace('num-', 'num_')}")
    first, second = (sg.load(f"{out}/model.safetensors") for out in ("dashes", "underscores"))
    assert first.model.hyperparameters["num_layers"] == 1
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_config_file_and_options_that_override_it(here):
    Path("run.yaml").write_text(
        "data: [good.extxyz]\nmax_steps: 5\nnum_train: 24\nnum_val: 6\nprogress: false\n"
        "model:\n  channels: 8\n  num_layers: 1\n  num_basis: 8\n"
    )
    run("train --config run.yaml --out out --model.channels 4")
    arguments = sg.load("out/model.safetensors").model.hyperparameters
    assert (arguments["channels"], arguments["num_basis"]) == (4, 8)


def test_a_printed_configuration_can_be_used(here, capsys):
    command = f"train --data good.npz --out out {TWENTY.replace(SMALL, '')} --progress false"
    with pytest.raises(SystemExit) as exit:
        run(f"{command} --initial-model model/model.safetensors --print-config")
    assert exit.value.code == 0
    Path("run.yaml").write_text(capsys.readouterr().out)
    run("train --config run.yaml")
    assert "20 steps" in capsys.readouterr().out


def test_preset_with_a_changed_argument(here):
    run(f"train --preset paper2017 --model.num-basis 20 --max-steps 2 {COUNTS} --out out")
    expected = sg.SchNet.preset("paper2017", num_basis=20)
    assert sg.load("out/model.safetensors").model.hyperparameters == expected.hyperparameters


def test_parts_with_arguments_of_their_own(here):
    layer = MY_LAYERS.replace("num_basis):", "num_basis, heads: int = 2):")
    layer = layer.replace("        self.fil", "        self.heads = heads\n        self.fil", 1)
    (here / "my_heads.py").write_text(layer)
    own = "--model.conv my_heads.MyConv --model.conv.heads 4"
    basis = "--model.basis BesselBasis --model.basis.num-basis 8 --model.basis.cutoff 4"
    cutoff_fn = "--model.cutoff-fn schnetgeo.nn.PolynomialCutoff --model.cutoff-fn.exponent 5"
    command = f"train {own} {basis} {cutoff_fn} --filters exact --data good.npz --out out {TWENTY}"
    done = shell(command, here)
    assert done.returncode == 0, done.stderr
    potential = sg.load("out/model.safetensors", classes=[named_class("my_heads.MyConv")])
    assert potential.filters == "exact"
    model = potential.model
    assert model.interactions[0].conv.heads == 4
    assert (type(model.basis), model.basis.num_basis) == (sg.BesselBasis, 8)
    assert (model.cutoff_fn.exponent, model.cutoff_fn.cutoff) == (5, model.cutoff)


@pytest.mark.parametrize("where", ["option", "file"])
def test_another_architecture(here, where):
    Path("run.yaml").write_text("architecture: PaiNN\n" if where == "file" else "{}")
    chosen = "--config run.yaml" if where == "file" else "--architecture PaiNN"
    run(f"train {chosen} --preset painn2021 --model.channels 8 --max-steps 2 {COUNTS} --out out")
    expected = sg.PaiNN.preset("painn2021", channels=8)
    model = sg.load("out/model.safetensors").model
    assert type(model) is sg.PaiNN
    assert model.hyperparameters == expected.hyperparameters


def test_own_layer_from_the_current_folder(here):
    (here / "my_layers.py").write_text(MY_LAYERS)
    done = shell(f"train --model.conv my_layers.MyConv --data good.npz --out out {TWENTY}", here)
    assert done.returncode == 0, done.stderr
    again = "evaluate out/model.safetensors good.npz --classes my_layers.MyConv --json e.json"
    done = shell(again, here)
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("e.json").read_text())["structures"] == 40


@pytest.mark.parametrize(
    ("text", "error"),
    [("x = 1\nclass Gate(:\n", "invalid syntax"), ("\ny = 1 / 0\n", "ZeroDivisionError: ")],
)
def test_an_own_layer_that_cannot_be_imported(here, capsys, text, error):
    (here / "broken_layers.py").write_text(text)
    for command in (
        "evaluate model/model.safetensors good.npz --classes broken_layers.Gate",
        f"train --model.conv broken_layers.Gate --data good.npz --out new {TWENTY}",
    ):
        message = refused(capsys, command)
        assert "broken_layers cannot be imported: " in message
        assert f"broken_layers.py, line 2: {error}" in message


def test_printing_is_as_before_a_command(monkeypatch, capsys):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    run("doctor")
    assert stream.errors == "strict"


def raised(error):
    raise error


@pytest.mark.parametrize(
    "ask",
    [
        lambda: raised(torch.OutOfMemoryError("CUDA out of memory")),
        lambda: raised(MemoryError("1 EB")),
        lambda: torch.empty(2**55, dtype=torch.uint8),
    ],
)
def test_memory_that_is_not_there_is_one_line(capsys, ask):
    with pytest.raises(SystemExit) as exit, errors_in_one_line("schnetgeo"):
        ask()
    message = capsys.readouterr().err
    assert exit.value.code == 2
    assert message.startswith("schnetgeo: not enough memory: ")
    assert message.count("\n") == 1


def test_other_errors_of_torch_stay_errors():
    with pytest.raises(RuntimeError, match="shape"), errors_in_one_line("schnetgeo"):
        torch.zeros(2).view(3)


def test_defaults_are_those_of_the_benchmark_of_molecules():
    """So that the same steps give the same errors by either command."""
    ours = vars(train.make_parser(sg.SchNet, None).get_defaults())
    theirs = vars(md17.make_parser().get_defaults())
    training = {field.name for field in fields(TrainingConfig)} - {"seed", "max_minutes"}
    assert training <= ours.keys() & theirs.keys()
    assert {name: ours[name] for name in training} == {name: theirs[name] for name in training}
    assert vars(ours["model"]) == vars(theirs["model"])


def test_precision_in_a_configuration_file_is_a_number(here):
    (here / "run.yaml").write_text("precision: 64\n")
    run(f"train --config run.yaml --data good.npz --out out {TWENTY}")
    assert sg.load("out/model.safetensors").scale.dtype == torch.float64


def test_init_starts_from_a_trained_model(here):
    few = TWENTY.replace(SMALL, "--progress false")
    run(f"train --data good.npz --initial-model model/model.safetensors --lr 1e-12 --out out {few}")
    old, new = (sg.load(f"{out}/model.safetensors") for out in ("model", "out"))
    for name, value in old.model.state_dict().items():
        torch.testing.assert_close(new.model.state_dict()[name], value)


def test_resume_goes_on_and_nothing_else_overwrites(here, capsys):
    options = "--checkpoint-every 10 --schedule constant"
    command = f"train --data good.npz --out out {options} {TWENTY}"
    run(command)
    assert refused(capsys, command) == (
        "schnetgeo: out: holds a training already; resume it (--resume), overwrite it "
        "(--overwrite), or choose another folder\n"
    )
    run(command.replace("--max-steps 20", "--max-steps 30"), "--resume")
    assert "30 steps, ended by max_steps" in capsys.readouterr().out
    assert torch.load("out/last.ckpt", weights_only=True)["global_step"] == 30
    run(command, "--overwrite")
    # everything but the notes in the header is as it was
    assert sg.load("out/model.safetensors").scale == sg.load("model/model.safetensors").scale
    assert "20 steps" in capsys.readouterr().out


def test_evaluate_gives_what_the_library_gives(here, capsys):
    run("evaluate model/model.safetensors good.extxyz good.extxyz --json deep/errors.json")
    errors = evaluate(sg.load("model/model.safetensors"), AtomsFile(["good.extxyz"] * 2))
    assert json.loads(Path("deep/errors.json").read_text()) == {"structures": 80, **errors.as_row()}
    out = capsys.readouterr().out
    assert "errors on 80 structures" in out
    assert f"{1000 * errors['forces'].mae:8.4g} meV/Å" in out


def test_evaluate_in_another_precision(here):
    threads = torch.get_num_threads()
    run("evaluate model/model.safetensors good.npz --precision 64 --threads 1 --json e.json")
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)
    potential = sg.load("model/model.safetensors").double()
    row = json.loads(Path("e.json").read_text())
    assert row == {"structures": 40, **evaluate(potential, AtomsFile("good.npz")).as_row()}


def test_evaluate_without_forces_reports_energies(here):
    run("evaluate model/model.safetensors", ethanol("e.npz", without="F"), "--json", "e.json")
    row = json.loads(Path("e.json").read_text())
    assert row.keys() >= {"structures", "energy_mae_kcal_mol", "energy_rmse_kcal_mol"}
    assert not any(name.startswith("force") for name in row)


def test_show_a_picture_and_a_film(here, capsys):
    run("show good.extxyz --index -1 --forces --out pictures/last.png")
    run("show good.npz --index :9:3")
    assert capsys.readouterr().out == "pictures/last.png\ngood.gif\n"
    assert Image.open("pictures/last.png").format == "PNG"
    assert Image.open("good.gif").n_frames == 3


def test_doctor(capsys):
    run("doctor")
    out = capsys.readouterr().out
    assert f"schnetgeo {sg.__version__}, Python " in out
    assert re.search(rf"torch +{re.escape(torch.__version__)}\n", out)
    assert re.search(r"cpu +\d+ threads", out)
    for kind, periodic in (("molecules", False), ("periodic", True)):
        backend = neighbors.default_backend(periodic, torch.device("cpu"))
        assert re.search(rf"neighbor_list, {kind}, cpu +{backend}\n", out)


def test_doctor_says_what_to_do_without_torch_cluster(monkeypatch, capsys):
    installed, version = neighbors._installed, doctor.version

    def lookup(name):
        if name == "torch-cluster":
            raise PackageNotFoundError
        return version(name)

    monkeypatch.setattr(doctor, "version", lookup)
    monkeypatch.setattr(neighbors, "_installed", lambda n: n != "torch_cluster" and installed(n))
    run("doctor")
    out = capsys.readouterr().out
    assert re.search(r"torch-cluster +missing\n", out)
    assert re.search(r"neighbor_list, molecules, cpu +torch\n", out)
    assert "pip install --no-build-isolation torch-cluster" in out.partition("\nremedies\n")[2]


def test_doctor_on_a_torch_cluster_for_another_torch(here, capsys, monkeypatch):
    Path("torch_cluster.py").write_text("raise OSError('_version.so: undefined symbol: _ZN3c10')")
    monkeypatch.syspath_prepend(here)
    monkeypatch.delitem(sys.modules, "torch_cluster", raising=False)
    monkeypatch.setattr(doctor, "version", lambda name: "1.6.3")
    neighbors._installed.cache_clear()
    run("doctor")
    neighbors._installed.cache_clear()
    out = capsys.readouterr().out
    assert re.search(r"torch-cluster +1.6.3, cannot be imported\n", out)
    assert re.search(r"neighbor_list, molecules, cpu +torch\n", out)
    assert re.search(
        r"torch-cluster: compiled for another torch\? OSError: .*_ZN3c10; .*--force-reinstall", out
    )


def test_no_help_names_what_does_not_work(capsys, monkeypatch):
    for command in ("train", "evaluate"):
        with pytest.raises(SystemExit):
            run(command, "--help")
        text = capsys.readouterr().out.replace('no "mps"', "")
        assert "mps" not in text


def test_device_without_float64_is_refused(here, capsys, monkeypatch):
    def empty(*size, dtype=torch.float32, device="cpu"):
        if device == "mps" and dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return torch.zeros(*size, dtype=dtype)

    monkeypatch.setattr(torch, "empty", empty)
    line = refused(capsys, "evaluate model/model.safetensors good.npz --device mps")
    assert "device 'mps' cannot be used on this machine" in line


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        run("--version")
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"schnetgeo {sg.__version__}\n"


@pytest.mark.parametrize("command", ["", "train", "evaluate", "show", "doctor"])
def test_help_shows_dashes(capsys, command):
    with pytest.raises(SystemExit) as exit:
        run(command, "--help")
    out = capsys.readouterr().out
    assert exit.value.code == 0
    assert not re.search(r"--[\w.-]*_", out)
    assert command != "train" or "--model.num-layers NUM_LAYERS" in out
    assert not re.search(r"type:|subclasses|null|<", out)
    assert out.count("\n") < 260


# each function makes a file in the current folder and returns what the message must contain


def nan_position():
    ethanol("bad.npz", **with_value("R", (7, 2, 1), np.nan))
    return "bad.npz, structure 7: pos[2, 1] is nan"


def infinite_energy():
    ethanol("bad.npz", **with_value("E", (5,), np.inf))
    return "bad.npz, structure 5: energy is inf"


def nan_force():
    ethanol("bad.npz", **with_value("F", (39, 8, 2), np.nan))
    return "bad.npz, structure 39: forces[8, 2] is nan"


def atom_on_another():
    with np.load("good.npz") as file:
        positions = file["R"]
    positions[3, 1] = positions[3, 4]
    ethanol("bad.npz", R=positions)
    return "bad.npz, structure 3: atoms 1 and 4 are in one place"


def unknown_element():
    ethanol("bad.npz", **with_value("z", (3,), 119))
    return "bad.npz, structure 0: z[3] = 119 is not an atomic number from 1 to 118"


def atomic_number_above_max_z():
    ethanol("bad.npz", **with_value("z", (3,), 101))
    return "bad.npz, structure 0: z[3] = 101 is not an atomic number from 1 to 99; raise max_z"


def missing_unit():
    ethanol("bad.npz", without=("e_unit",))
    return "bad.npz: does not state the unit of its energies; give energy_unit (--energy-unit)"


def unknown_unit():
    ethanol("bad.npz", e_unit="furlong")
    return "unknown energy unit 'furlong'; known: eV, meV, Hartree, "


def missing_forces():
    ethanol("bad.npz", without=("F",))
    return "bad.npz: the training structures have no forces, which the task energy_and_forces needs"


def missing_positions():
    ethanol("bad.npz", without=("R",))
    return "bad.npz: has no "


def truncated_archive():
    content = Path("good.npz").read_bytes()
    Path("bad.npz").write_bytes(content[: len(content) // 2])
    return "get a fresh copy"


def text_called_npz():
    Path("bad.npz").write_text("hello\n")
    return "get a fresh copy"


def no_file():
    return "bad.npz: no such file"


BAD_FILES = [
    nan_position, infinite_energy, nan_force, atom_on_another, unknown_element,
    atomic_number_above_max_z, missing_unit, unknown_unit, missing_forces, missing_positions,
    truncated_archive, text_called_npz, no_file,
]  # fmt: skip


@pytest.mark.parametrize("make", BAD_FILES)
def test_train_refuses_a_bad_file(here, capsys, make):
    message = make()
    line = refused(capsys, f"train --data bad.npz --out out {TWENTY}")
    assert "bad.npz" in line
    assert message in line


@pytest.mark.parametrize("make", [f for f in BAD_FILES if f is not missing_forces])
def test_evaluate_refuses_a_bad_file(here, capsys, make):
    message = make()
    line = refused(capsys, "evaluate model/model.safetensors bad.npz --json errors.json")
    assert message in line


def test_bad_extxyz_is_refused_by_name_and_index(here, capsys):
    frames = ase.io.read("good.extxyz", ":")
    frames[6].positions[0, 2] = np.nan
    ase.io.write("nan.extxyz", frames)
    frames[6] = frames[5].copy()
    ase.io.write("mixed.extxyz", frames)
    Path("cut.extxyz").write_text(Path("good.extxyz").read_text()[:-300])
    command = f"train --out out {TWENTY} --data"
    assert "nan.extxyz, structure 6: pos[0, 2] is nan" in refused(capsys, f"{command} nan.extxyz")
    assert "cut.extxyz, structure" in refused(capsys, f"{command} cut.extxyz")


@pytest.mark.parametrize(
    "command",
    [
        "evaluate bad.safetensors good.npz",
        f"train --initial-model bad.safetensors --data good.npz --out out --max-steps 2 {COUNTS}",
    ],
)
def test_bad_model_files_are_refused(here, capsys, command):
    content = Path("model/model.safetensors").read_bytes()
    Path("bad.safetensors").write_bytes(content[: len(content) // 2])
    assert "bad.safetensors: not a whole .safetensors file" in refused(capsys, command)
    Path("bad.safetensors").write_bytes(content.replace(b"num_layers", b"num_lawyer"))
    assert "bad.safetensors: header or weights were changed after" in refused(capsys, command)
    Path("bad.safetensors").write_bytes(Path("good.npz").read_bytes())
    assert "bad.safetensors: not a whole .safetensors file" in refused(capsys, command)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--num-train 0", "with num_train at least 1"),
        ("--num-train 40", "cannot split 40 structures into num_train=40, num_val=6"),
        ("--preset paper", "unknown preset 'paper'; known: paper2017, jcp2018"),
        ("--energy-unit furlong", "unknown energy unit 'furlong'"),
        ("--force-unit eV", "unknown force unit 'eV'; known: energy/length, such as eV/Angstrom"),
        ("--energy-key U0", "good.npz: has no 'U0'; it has E, F"),
        ("--model.max-z 6", "good.npz, structure 0: z[0] = 6 is not an atomic number from 1 to 5"),
        ("--model.channels 0", "channels must be at least 1, got 0"),
        ("--model.conv torch.nn.Linear", "--model.conv: "),
        ("--architecture Teapot", "architecture: Teapot is no model; give SchNet, PaiNN, or"),
        ("--architecture torch.nn.Linear", "architecture: torch.nn.Linear is no model"),
        ("--architecture PaiNN --model.gamma 3", "unrecognized arguments: --model.gamma"),
        ("--model.conv my_lost.Conv", "No module named 'my_lost'"),
        ("--classes my_lost.Conv", "there is no class my_lost.Conv"),
        ("--loss mae", "use mse for energy_and_forces"),
        ("--lr -1", "lr must be positive, got -1.0"),
        ("--device abacus", "--device: Expected one of 'auto', 'cpu', 'cuda'. Got value: abacus"),
        (
            "--initial-model m --model.channels 8",
            "--model.channels has no effect beside --initial-model",
        ),
        ("--dataset MD17 --energy-unit eV", "--energy-unit has no effect beside --dataset; leave"),
        ("--dataset Demo", "--data has no effect on Demo, which ships with the package"),
        ("--dataset ISO17 --data a b", "--data names 2 files, but ISO17 is read from one"),
        ("--molecule aspirin", "--molecule has no effect beside --data"),
        ("--batch-size x", "--batch-size: Expected a int. Got value: x"),
        ("--max-minutes x", "--max-minutes: Expected a float. Got value: x; see schnetgeo train"),
        ("--task heat", "--task: Expected one of 'energy', 'forces', 'energy_and_forces'. Got v"),
        ("--wings 2", "unrecognized arguments: --wings 2"),
        ("--config lost.yaml", "File does not exist"),
    ],
)
def test_options_that_cannot_be(here, capsys, options, message):
    line = refused(capsys, f"train --data good.npz --out out {TWENTY} {options}")
    assert message in line


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"train --data good.npz --out out {COUNTS}", "give max_steps, max_minutes or both"),
        ("train --dataset QM7 --max-steps 1", "unknown data set 'QM7'; known: QM9, MD17"),
        ("train --dataset MD17 --molecule tea --max-steps 1", "unknown molecule 'tea'; known: "),
        ("train --molecule tea --max-steps 1", "unknown part 'tea' of Demo; known: ethanol, mol"),
        ("train --energy-unit eV --max-steps 1", "--energy-unit has no effect without --data"),
        (
            "train --initial-model m --preset pyg --max-steps 1",
            "--preset has no effect beside --initial-model",
        ),
        ("evaluate model/model.safetensors good.npz --precision 16", "--precision: "),
        (
            "evaluate model/model.safetensors good.extxyz --energy-unit meV",
            "give force_unit (--force-unit)",
        ),
        (
            "evaluate model/model.safetensors",
            "schnetgeo evaluate: the following arguments are "
            "required: files; see schnetgeo evaluate --help",
        ),
        ("evaluate", "arguments are required: model, files; see schnetgeo evaluate --help"),
        ("evaluate model/model.safetensors good.npz --batch-size 0", "--batch-size: "),
        ("evaluate model/model.safetensors good.npz --device abacus", "device 'abacus' cannot"),
        ("show good.npz --index 40", "index '40' selects none of the 40 structures"),
        ("show good.npz --index a:b", "index 'a:b' selects none"),
        ("show good.npz --out x.abc", "x.abc: cannot be written: Format 'abc' is not supported"),
        ("show good.npz --index :3 --out x.png", "path must end in .gif or .mp4, got 'x.png'"),
        ("", "{train,evaluate,"),
        ("bake", "invalid choice: 'bake'"),
    ],
)
def test_commands_that_cannot_be(here, capsys, command, message):
    assert message in refused(capsys, command)


def test_picture_of_forces_that_are_not_there(here, capsys):
    ethanol("bare.npz", without=("F",))
    line = refused(capsys, "show bare.npz --forces")
    assert "bare.npz: has no forces to draw" in line


def test_exit_code_and_stderr_of_the_process(here):
    ethanol("bad.npz", **with_value("R", (7, 2, 1), np.nan))
    done = shell(f"train --data bad.npz --out out {TWENTY}", here)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "schnetgeo: bad.npz, structure 7: pos[2, 1] is nan, but must be finite; mend or remove "
        "this structure\n"
    )
    assert not Path("out").exists()


def test_files_of_their_own_for_validation_and_test(here, capsys):
    frames = ase.io.read("good.extxyz", ":")
    for name, part in (("a", frames[:8]), ("b", frames[8:11]), ("c", frames[11:15])):
        ase.io.write(f"{name}.extxyz", part)
    files = "--data a.extxyz --val-data b.extxyz --test-data c.extxyz"
    run(f"train {files} --num-train 8 --num-val 3 --out out --max-steps 2 {SMALL}")
    assert "errors on 4 structures" in capsys.readouterr().out
    split = Split.load("out/split.npz")
    assert [sorted(part.tolist()) for part in split] == [[*range(8)], [8, 9, 10], [*range(11, 15)]]
    line = refused(capsys, f"train {files} --split random --out other --max-steps 2 {SMALL}")
    assert "--split has no effect beside --val-data or --test-data" in line


def test_copies_of_trained_structures_are_counted(here, capsys):
    frames = ase.io.read("good.extxyz", ":")[:6]
    ase.io.write("twice.extxyz", frames * 2)
    np.savez("twice.npz", train=np.arange(6), val=[6], test=np.arange(7, 12))
    options = f"--split twice.npz --out out --max-steps 2 {SMALL}"
    run(f"train --data twice.extxyz {options}")
    assert "5 tested and 1 validated structures are copies of trained" in capsys.readouterr().err


def test_advice_is_that_of_the_command_line(here, capsys):
    text = "1\nProperties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-1\nH 0 0 0 1 1 1\n"
    Path("ref.extxyz").write_text(text)
    assert "pass --forces-key=REF_forces, else" in refused(capsys, "data info ref.extxyz")
    run("data info ref.extxyz --forces-key REF_forces")
    assert "pass --energy-key=REF_energy" in capsys.readouterr().err


def test_evaluate_reads_with_the_keys_and_units_of_the_training(here, capsys):
    frames = Demo("ethanol")[:40]
    arrays = {k: frames.get_property(k).numpy().reshape(40, -1, 3) for k in ("pos", "forces")}
    energy = frames.get_property("energy").numpy() / 27.211386245988
    np.savez("odd.npz", z=frames[0].z.numpy(), R=arrays["pos"], U0=energy, F=arrays["forces"])
    units = "--energy-key U0 --energy-unit Hartree --force-unit eV/Angstrom --length-unit Angstrom"
    run(f"train --data odd.npz --out out {TWENTY} {units}")
    row = json.loads(Path("out/errors.json").read_text())
    assert row == sg.load("out/model.safetensors").notes["test"]
    capsys.readouterr()
    run("evaluate out/model.safetensors odd.npz --json plain.json")
    assert "read with --energy-key U0 --energy-unit Hartree" in capsys.readouterr().err
    run(f"evaluate out/model.safetensors odd.npz {units} --json given.json")
    assert Path("plain.json").read_text() == Path("given.json").read_text()


def test_a_training_of_few_steps_says_so_and_redraws_no_line_in_a_file(here, capsys):
    run(f"train --data good.npz --out few --max-minutes 0.0001 {COUNTS} {SMALL} --progress true")
    out, err = capsys.readouterr()
    assert re.search(r"^only \d\d? steps were done: .* raise --max-minutes$", out, re.MULTILINE)
    assert "\r" not in out + err
    assert "it/s" not in out + err
    errors = json.loads(Path("few/errors.json").read_text())
    assert errors["force_mae_kcal_mol_A"] > 0
    run(f"train --data good.npz --out enough --max-steps 2 {COUNTS} {SMALL}")
    assert "were done" not in capsys.readouterr().out  # two were asked for


def test_output_that_nobody_reads_on_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)  # as head does after its lines
    command = [sys.executable, "-m", "schnetgeo", "data", "info", "--dataset", "Demo"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")

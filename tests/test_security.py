"""The numbered sentences of SECURITY.md."""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule

import schnetgeo as sg
from benchmarks.accuracy.experiments import _check_folder
from benchmarks.accuracy.models import benchmark_model
from benchmarks.accuracy.rows import Entry, read_entries, write_entry
from schnetgeo.cli import main
from schnetgeo.data import from_ase
from schnetgeo.data import store as data_store
from schnetgeo.data.columns import FORMAT, VERSION, header_checksum, read_header
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.store import OnDiskDataset
from schnetgeo.data.store_writer import write_on_disk
from schnetgeo.datasets import Demo, md17, qm9, rmd17
from schnetgeo.datasets.source import File, fetch
from schnetgeo.errors import InputError
from schnetgeo.potential.model_file import read_model, write_model
from schnetgeo.train import TrainingConfig, fit, new_potential
from schnetgeo.train.loss_text import as_loss
from schnetgeo.train.resume import check_resume
from schnetgeo.user_code import checked_class, import_named, named_class, named_function

ROOT = Path(__file__).parents[1]
ESCAPES = ("../out", "/tmp/schnetgeo-escaped", "a/b", "..", "x\x1b[2J")
LAYERS = """
import wave  # which nothing else imports
from torch import nn
import beside
import schnetgeo as sg

class Gate(sg.RadialConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)

    def message(self, x_j, W):
        return x_j * W

def function(**arguments):
    raise SystemExit("called")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(capsys, *words) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.rstrip("\n").splitlines()
    assert line.isprintable()
    return line


def water_npz(path, **more):
    frames = np.tile(molecule("H2O").positions, (4, 1, 1))
    arrays = dict(z=np.array([8, 1, 1]), R=frames, E=np.zeros(4), F=np.zeros((4, 3, 3)),
                  e_unit=np.array("eV"), f_unit=np.array("eV/Angstrom"),
                  r_unit=np.array("Angstrom"), **more)  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(value), allow_pickle=True)


def test_sentences_are_numbered():
    """So that each has its test below."""
    numbers = re.findall(r"^(\d+)\. ", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    tested = re.findall(r"^def test_(\d+)_", Path(__file__).read_text(), re.MULTILINE)
    assert {int(n) for n in numbers} == {int(n) for n in tested} == set(range(1, 13))


class Trap:
    """Unpickling it leaves a file."""

    def __reduce__(self):
        return (os.mkdir, ("sprung",))


def test_1_nothing_runs(here, capsys):
    water_npz("a.npz", more=np.array([Trap()] * 4, dtype=object))
    with contextlib.suppress(SystemExit):
        main(["data", "info", "a.npz"])
    Path("run.yaml").write_text("data: !!python/object/apply:os.mkdir [sprung]\n")
    capsys.readouterr()
    refusal(capsys, "train", "--config", "run.yaml")
    assert not Path("sprung").exists()


@pytest.mark.parametrize("name", ESCAPES)
def test_2_names_stay_inside(here, name):
    water_npz("a.npz", **{name: np.arange(4)})
    with ase.db.connect("a.db") as database:
        database.write(molecule("H2O"), data={"energy": np.zeros(1), name: np.ones(1)})
        database.metadata = {"_property_unit_dict": {"energy": "eV", name: "eV"},
                             "_distance_unit": "Ang"}  # fmt: skip
    Path("work").mkdir()
    before = set(here.iterdir())
    for file in ("a.npz", "a.db"):
        with contextlib.suppress(SystemExit):
            main(["data", "convert", file, "--out", f"work/{file[2:]}.store"])
    assert set(here.iterdir()) == before
    assert not Path("/tmp/schnetgeo-escaped").exists()
    if not name.startswith("x"):
        with pytest.raises(InputError, match="is to be a folder below --out"):
            _check_folder(name)


def test_2_links_do_not_lead_outside(tmp_path):
    """A column that is a link to a file elsewhere would show it."""
    write_on_disk(tmp_path / "a.store", [StructureDataset.from_list([from_ase(molecule("H2O"))])])
    column = tmp_path / "a.store" / "pos"
    column.rename(tmp_path / "private")
    column.symlink_to(tmp_path / "private")
    with pytest.raises(InputError, match="the column 'pos' is elsewhere; do not trust this store"):
        OnDiskDataset(tmp_path / "a.store")


def test_2_names_do_not_hold_what_separates_them(here):
    with pytest.raises(InputError, match=r"without /, .* and \|"):
        _check_folder("a|b")
    _check_folder("a b")


def test_3_sizes_are_compared_first(here, capsys):
    for count in (10**12, 10**19):  # more than the file has room for, more than there are integers
        Path("a.extxyz").write_text(f"{count}\nProperties=species:S:1:pos:R:3\nH 0 0 0\n")
        assert f"got '{count}'" in refusal(capsys, "data", "info", "a.extxyz")
    water_npz("a.npz")
    with zipfile.ZipFile("a.npz", "a") as archive, archive.open("more.npy", "w") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
        np.lib.format.write_array_header_1_0(file, header)
    assert "'more'" in refusal(capsys, "data", "info", "a.npz")
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join([f'*{chr(97 + k)}'] * 9)}]\n" for k in range(15)
    )
    Path("run.yaml").write_text(bomb)
    assert "with its aliases" in refusal(capsys, "train", "--config", "run.yaml")
    Path("run.yaml").write_text("a: &a [*a]\n")
    assert "with its aliases" in refusal(capsys, "train", "--config", "run.yaml")


def test_4_one_line(here, capsys):
    Path("a.extxyz").write_text("1\n\x1b[2J" + "x" * 200_000 + "\nH\x1b[31m 0 0 0\n")
    assert len(refusal(capsys, "data", "info", "a.extxyz")) < 1200
    assert len(refusal(capsys, "data", "info", "y" * 100_000)) < 1200
    assert "absent\\x1b[2J.xyz" in refusal(capsys, "data", "info", "absent\x1b[2J.xyz")
    assert len(refusal(capsys, "data", "info", "--dataset", "\x1b" * 5000)) < 1200
    for words in (("--seed", "-1"), ("--threads", "-1"), ("--threads", "100000"),
                  ("--devices", "0"), ("--out", "x" * 300), ("--split", "a.extxyz")):  # fmt: skip
        refusal(capsys, "train", "--max-steps", "1", "--num-train", "20", *words)


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "LOCAL_WORLD_SIZE"])
@pytest.mark.parametrize("value", ["x", "", "-1", "0"])
def test_4_numbers_of_the_launcher(here, monkeypatch, capsys, variable, value):
    monkeypatch.setenv(variable, value)
    words = ("train", "--max-steps", "1", "--num-train", "20", "--num-val", "0")
    assert f"variable {variable} is" in refusal(capsys, *words)


def test_5_flipped_bits(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"started_with": {"lr": 1.0}, "state_dict": {"x": torch.arange(2000.0)}}, path)
    content = path.read_bytes()
    check_resume(path, {"lr": 1.0})
    good, refused = torch.load(path, weights_only=True), 0
    for place in range(0, len(content), 97):
        changed = bytearray(content)
        changed[place] ^= 16
        path.write_bytes(changed)
        try:
            check_resume(path, {"lr": 1.0})
        except InputError:
            refused += 1
        else:  # in the padding
            assert torch.equal(torch.load(path, weights_only=True)["state_dict"]["x"],
                               good["state_dict"]["x"])  # fmt: skip
    assert refused > 50


def flipped(path, place, bit=16):
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["z", "pos", "edges_3.0/edge_index"])
@pytest.mark.parametrize("large", [False, True])
def test_5_flipped_bits_of_a_store(tmp_path, monkeypatch, name, large):
    monkeypatch.setattr(data_store, "_LARGE", 0 if large else 2**28)
    whole = Demo("ethanol")[:20]
    store = write_on_disk(tmp_path / "a", [whole])
    store.with_edges(3.0, on_disk=True)
    flipped(tmp_path / "a" / name, -3)
    model = sg.SchNet(channels=4, num_layers=1, num_basis=4, cutoff=3.0)
    training = TrainingConfig(max_steps=1, progress=False)
    with pytest.raises(InputError, match=f"{name}: was changed after writing"):
        fit(new_potential(model, whole), store[:9], store[9:12], training, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    if not large:
        with pytest.raises(InputError, match="was changed after|edges of other structures"):
            OnDiskDataset(tmp_path / "a").with_edges(3.0)


def test_5_flipped_bits_of_a_row(tmp_path):
    write_entry(tmp_path, Entry("a|b", "c", "d", {"mae": 0.125}, {"unit": "eV"}))
    (path,) = (tmp_path / "rows").glob("*.json")
    flipped(path, path.read_bytes().index(b"125"), 1)  # 0.025, which is JSON
    with pytest.raises(InputError, match="was changed after writing"):
        read_entries(tmp_path)


def test_6_sources_are_secure_where_they_can_be():
    for module in (qm9, rmd17):
        for file in module.SOURCE.files.values():
            addresses = (file.url, *file.mirrors)
            assert file.checksum or all(url.startswith("https://") for url in addresses), file
    for file in md17.SOURCE.files.values():
        assert file.url.startswith("https://")


def test_6_files_are_compared_with_checksum_and_record(here):
    Path("copy").write_text("right")
    checksum = f"sha256:{hashlib.sha256(b'right').hexdigest()}"
    for known in (checksum, None):
        file, folder = File("a.npz", "https://example.org", checksum=known), f"data-{known is None}"
        path = fetch(file, folder, copy="copy")
        time.sleep(0.02)  # so that the time of the file differs
        path.write_text("wrong")
        with pytest.raises(InputError, match="has the sha256 checksum|has changed since it was"):
            fetch(file, folder)
    Path("copy").write_text("wrong")
    with pytest.raises(InputError, match="has the sha256 checksum"):
        fetch(File("b.npz", "https://example.org", checksum=checksum), "data", copy="copy")
    assert not Path("data/b.npz").exists()


def small_model(path, **header):
    sg.Potential(sg.SchNet(channels=4, num_layers=1, num_basis=4, max_z=10)).save(path)
    old, tensors = read_model(path)
    write_model(path, {**old, **header}, tensors)


def test_7_a_model_file_names_classes_and_calls_nothing(here, capsys):
    for name in ("os.mkdir", "subprocess.Popen", "schnetgeo.datasets.demo.Demo", "builtins.exec"):
        small_model("a.safetensors", **{"class": name, "hyperparameters": {"path": "made"}})
        refusal(capsys, "evaluate", "a.safetensors", "none.xyz")
        if not name.startswith("schnetgeo"):
            refusal(capsys, "evaluate", "a.safetensors", "none.xyz", "--classes", name)
    assert not Path("made").exists()


def test_8_a_model_is_no_larger_than_its_file(here):
    small_model("a.safetensors", hyperparameters={"channels": 9000})
    with pytest.raises(InputError, match="asks for a model far larger"):
        sg.load("a.safetensors")
    small_model("a.safetensors")
    header, tensors = read_model("a.safetensors")
    tensors["last_layer.factor"] = torch.zeros(20_000, 0)  # of a matrix of 20,000 × 20,000
    write_model("a.safetensors", header, tensors)
    with pytest.raises(InputError, match="asks for a model far larger"):
        sg.load("a.safetensors")


def test_9_weights_are_finite_and_as_saved(here):
    small_model("a.safetensors")
    content = bytearray(Path("a.safetensors").read_bytes())
    content[-1] ^= 1
    Path("a.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="changed after saving"):
        sg.load("a.safetensors")


def test_10_only_modules_are_taken(here):
    Path("beside.py").write_text("")
    Path("lab_layers.py").write_text(LAYERS)
    path = list(sys.path)
    gate = named_class("lab_layers.Gate")
    assert benchmark_model("lab_layers.Gate").classes == (gate,)
    import_named("lab_layers.Lost.part")
    assert sys.path == path
    for name in ("lab_layers.function", "os.system", "builtins.int", "lab_layers.sg"):
        with pytest.raises(InputError, match=r"is no torch\.nn\.Module"):
            named_class(name)
    for name in ("lab_layers.lost", "lost.Gate", "Gate", "", "a b.c", "lab_layers..Gate"):
        with pytest.raises(InputError, match="there is no class"):
            named_class(name)
    with pytest.raises(InputError, match="is no"):
        checked_class(print, "print")


def test_10_functions_are_those_that_the_user_names(here):
    Path("beside.py").write_text("")
    Path("lab_losses.py").write_text(f"LIMIT = 3\n{LAYERS}")
    path = list(sys.path)
    assert as_loss("lab_losses.function:2").function.__name__ == "function"
    assert sys.path == path
    for name, text in (("lab_losses.LIMIT", "is no function"), ("lab_losses.lost", "there is no")):
        with pytest.raises(InputError, match=text):
            named_function(name)
    small_model("a.safetensors")
    header, tensors = read_model("a.safetensors")
    notes = {"task": "lab_losses.function", "losses": "lab_losses.function"}
    write_model("a.safetensors", {**header, "notes": notes}, tensors)
    sys.modules.pop("lab_losses")
    assert sg.load("a.safetensors").notes == notes
    assert "lab_losses" not in sys.modules


def test_11_the_working_folder_is_searched_last(here):
    """Every module of the library that is imported late has a namesake here, which would tell."""
    for name in ("csv", "colorsys", "wave", "tensorboard", "matplotlib", "lightning", "PIL",
                 "torch_cluster", "triton", "google", "yaml", "html", "secrets"):  # fmt: skip
        Path(f"{name}.py").write_text(f"open('RAN_{name}', 'w')\nraise ImportError('{name}')\n")
    Path("beside.py").write_text("")
    Path("lab_layers.py").write_text(LAYERS)
    ase.io.write("a.extxyz", [molecule("H2O")] * 30, format="extxyz")
    program = "import sys; from schnetgeo.cli import main; main(sys.argv[1:])"
    Path("run").mkdir()
    (Path("run") / "command.py").write_text(program)
    for words in ("doctor", "show a.extxyz --out p.png", "train --print_config --max-steps 1 "
                  "--model.conv lab_layers.Gate"):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "run/command.py", *words.split()], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert not list(here.glob("RAN_*"))
    assert "lab_layers.Gate" in done.stdout


def test_11_python_m_leaves_it(here):
    """Python puts the folder first; what the command imports afterwards is not looked for there."""
    for name in ("matplotlib", "lightning", "tensorboard"):
        Path(f"{name}.py").write_text(f"open('RAN_{name}', 'w')\nraise ImportError('{name}')\n")
    ase.io.write("a.extxyz", [molecule("H2O")], format="extxyz")
    done = subprocess.run(
        [sys.executable, "-m", "schnetgeo", *["show", "a.extxyz", "--out", "p.png"]],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(here.glob("RAN_*"))


def test_11_nor_for_what_installed_modules_import(here, monkeypatch):
    """An optional import of an installed module does not reach the working folder."""
    installed = here / "site-packages"
    installed.mkdir()
    (installed / "installed_layers.py").write_text(
        "from torch.nn import Linear\ntry:\n    import cupyx_absent\n"
        "except ImportError:\n    pass\n"
    )
    Path("cupyx_absent.py").write_text("open('RAN', 'w')\n")
    Path("installed_layers.py").write_text("open('RAN', 'w')\n")
    monkeypatch.syspath_prepend(installed)
    monkeypatch.delitem(sys.modules, "installed_layers", raising=False)
    assert named_class("installed_layers.Linear") is torch.nn.Linear
    monkeypatch.delitem(sys.modules, "installed_layers")
    import_named("installed_layers.Linear")
    assert not Path("RAN").exists()
    Path("own_layers.py").write_text("import cupyx_absent\nfrom torch.nn import Linear\n")
    assert named_class("own_layers.Linear") is torch.nn.Linear
    assert Path("RAN").exists()
    for name in ("installed_layers", "own_layers", "cupyx_absent"):
        sys.modules.pop(name, None)


def test_12_a_pickle_of_another_package_runs_nothing(here, capsys):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch ran",)

    layer = torch.nn.Linear(2, 2)
    layer.weight = torch.nn.Parameter(torch.ones(2, 2))
    layer.evil = Evil()
    for content in ({"state_dict": {"w": torch.ones(2)}, "evil": Evil()}, layer):
        torch.save(content, "evil.pt")
        with pytest.raises(SystemExit) as end:
            main(["convert", "evil.pt", "-o", "out.safetensors", "--unit", "eV"])
        assert end.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir() == ["evil.pt"]


def test_json_of_every_kind_is_refused(tmp_path):
    """Headers that are JSON, and not what was written."""
    for text in ("[]", "7", "null", '{"format": "schnetgeo columns"}', "[" * 10**5):
        (tmp_path / "header.json").write_text(text)
        with pytest.raises(InputError, match=r"header\.json: "):
            read_header(tmp_path)
    right = {"format": FORMAT, "version": VERSION, "columns": {}, "notes": {}}
    for part in ({"columns": []}, {"columns": None}, {"columns": {"z": 7}}, {"notes": []}):
        header = right | part
        header["crc32"] = header_checksum(header)
        (tmp_path / "header.json").write_text(json.dumps(header))
        with pytest.raises(InputError, match=r"header\.json: .*convert the data again"):
            read_header(tmp_path)

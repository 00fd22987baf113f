"""The command schnetgeo export, and its refusals in one line."""

import sys

import pytest

import schnetgeo as sg
from schnetgeo.cli import main
from schnetgeo.export.metatomic import torch_functions
from schnetgeo.targets import Target
from tests.engine.potentials import potential_of


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    potential_of().eval().save(path)
    return path


def refusal(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as end:
        main(["export", *map(str, arguments)])
    assert end.value.code == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


def test_metatomic(model, tmp_path, capsys):
    with torch_functions():
        pytest.importorskip("metatomic.torch", reason="pip install metatomic-torch")
    from metatomic.torch import load_atomistic_model

    out = tmp_path / "model.pt"
    arguments = [str(model), "--to", "metatomic", "-o", str(out), "--precision", "32"]
    main(["export", *arguments])
    assert "angstrom" in capsys.readouterr().out
    assert load_atomistic_model(str(out)).capabilities().dtype == "float32"
    error = refusal(capsys, *arguments)
    assert "model.pt: exists; choose another name, or give --overwrite" in error
    main(["export", *arguments, "--overwrite"])


def test_a_missing_package_is_named(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "metatomic.torch", None)
    error = refusal(capsys, model, "--to", "metatomic", "-o", tmp_path / "model.pt")
    assert "pip install metatomic-torch" in error
    assert not (tmp_path / "model.pt").exists()


def test_models_that_cannot_be_exported(tmp_path, capsys):
    gap = sg.Potential(sg.SchNet(channels=8, num_layers=1), targets=[Target("gap", "eV")])
    gap.save(tmp_path / "gap.safetensors")
    error = refusal(capsys, tmp_path / "gap.safetensors", "--to", "pt2", "-o", tmp_path / "a.pt2")
    assert "predicts gap (eV)" in error
    exact = potential_of().eval()
    exact.model.interactions[0].register_forward_hook(lambda *_: None)
    with pytest.raises(sg.InputError, match="hook"):
        sg.export.to_pt2(exact, tmp_path / "a.pt2")


def test_bad_options(model, tmp_path, capsys):
    error = refusal(capsys, model, "--to", "onnx", "-o", tmp_path / "a")
    assert "metatomic" in error
    assert "ends in .pt2" in refusal(capsys, model, "--to", "pt2", "-o", tmp_path / "a.bin")
    assert "required: out" in refusal(capsys, model, "--to", "pt2")

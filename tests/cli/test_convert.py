import pytest
import torch

import schnetgeo as sg
from schnetgeo.cli import main
from tests.interop.structures import rattled
from tests.interop.test_pyg import peer


def convert(*words):
    main(["convert", *map(str, words)])


def test_a_model_of_pyg_becomes_a_model_file(tmp_path, capsys):
    net, out = peer(), tmp_path / "ours.safetensors"
    torch.save(net, tmp_path / "theirs.pt")
    convert(tmp_path / "theirs.pt", "-o", out, "--unit", "Hartree")
    assert capsys.readouterr().out.splitlines()[0].startswith("PyTorch Geometric: cutoff=5.3 Å")
    data = rattled(torch.float64)
    expected = sg.interop.from_pyg(net, "Hartree")(data)
    assert torch.equal(sg.load(out)(data).forces, expected.forces)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no.pt", "-o", "a.safetensors", "--unit", "eV"], "no.pt: no such file"),
        (["a.pt", "-o", "a.pt", "--unit", "eV"], "a.pt: a model file ends in .safetensors"),
        (["a.pt", "-o", "a.safetensors"], "a.pt: unit: the file does not say"),
        (["a.pt", "-o", "a.safetensors", "--unit", "eV", "--target", "x"], "unknown target 'x'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    torch.save(peer().state_dict(), "a.pt")
    with pytest.raises(SystemExit) as end:
        convert(*words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "a.safetensors").exists()

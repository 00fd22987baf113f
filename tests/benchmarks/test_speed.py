import json

import pytest
import torch

from benchmarks.speed import __main__ as speed
from benchmarks.speed import packages
from schnetgeo.data import with_edges


@pytest.fixture(autouse=True)
def denormals():
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def small(monkeypatch):
    """Two small cases instead of the large ones."""
    train = packages.Case("train", "2 ethanols", lambda: packages.ethanols(2), 8, 1, 8, 4.0, True)
    energy = train._replace(name="energy", forces=False)
    single = train._replace(name="one", data=packages.ethanol, train=False)
    cases = (train, energy, single)
    monkeypatch.setattr(speed, "CASES", cases)
    return cases


@pytest.mark.slow
def test_writes_rows_and_the_table_of_a_readme(tmp_path, small, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n")
    out = tmp_path / "out"
    options = f"--seconds 0.05 --no-extras --out {out} --readme {readme} --cases train energy one"
    speed.main(options.split())
    rows = json.loads((out / "results.json").read_text())["cases"]
    assert [row["case"] for row in rows] == ["train", "energy", "one"]
    for row in rows:
        assert {"schnetgeo", "PyG", "matrix products"} <= row["milliseconds"].keys()
        assert all(time > 0 for time in row["milliseconds"].values())
    assert "schnetgeo, tabulated" in rows[2]["milliseconds"]
    text = readme.read_text()
    assert text.startswith("before\n<!-- speed -->\n| case |")
    assert text.endswith("<!-- /speed -->\nafter\n")
    assert "old" not in text
    assert "2 ethanols" in capsys.readouterr().out


@pytest.mark.parametrize(
    "contender", ["schnetgeo", "schnetgeo, exact filters", "PyG", "SchNetPack"]
)
def test_every_contender_computes_the_same_task(small, contender):
    """A training step moves the weights, and the contenders are asked for as many numbers."""
    case = small[0]
    data = packages.prepare(case)
    try:
        step = packages.step(case, contender, data)
    except ImportError:
        pytest.skip("SchNetPack is not installed")
    step()
    step()


def test_the_box_is_periodic_and_dense():
    data = with_edges(packages.box(8), 5.0)
    assert data.z.numel() == 64
    assert data.edge_index.size(1) / 64 == pytest.approx(56, abs=2)


def test_turns_alternate():
    order = []
    found = speed.interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.0)
    assert found.keys() == {"a", "b"}
    assert "".join(order).count("ba") >= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--cases train fast", "--cases: unknown fast; known: train, energy, one"),
        ("--device gpu", "--device: invalid choice: 'gpu'"),
        ("--device cuda", "--device: cuda, but torch finds no GPU; take cpu"),
        ("--readme lost.md", "--readme: lost.md is no file with the marks <!-- speed -->"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(
    small, capsys, monkeypatch, options, message
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as exit:
        speed.main(options.split())
    output = capsys.readouterr()
    assert exit.value.code == 2
    assert message in output.err
    assert not output.out

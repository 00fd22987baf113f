"""The QM9 benchmark from the command line to the files it writes."""

import json

import pytest

from benchmarks.qm9 import main
from schnetgeo.datasets import QM9
from schnetgeo.datasets import qm9 as module
from schnetgeo.nn import MeanReadout
from schnetgeo.potential import load
from tests.datasets.published import qm9_files, uncharacterized_txt, write_tar
from tests.shared_data import shared

FEW = (
    "--num-train 100 --num-val 20 --num-test 60 --max-steps 10 --validate-every 5 "
    "--model.channels 8 --model.num-layers 1 --model.num-basis 8 --progress false"
)


def run(command: str, folder) -> list[dict]:
    main([*FEW.split(), *command.split(), "--out", str(folder)])
    return json.loads((folder / "results.json").read_text())


def test_energies_in_kcal_mol_beside_the_papers(tmp_path):
    rows = run(f"--data {shared('qm9_u0_part1.npz')}", tmp_path)
    assert [row["model"] for row in rows][::3] == ["mean predictor", "SchNet"]
    assert {(row["dataset"], row["target"], row["task"]) for row in rows} == {
        ("QM9", "U0", "energy")
    }
    assert 5 < rows[1]["energy_mae_kcal_mol"] < 40 < rows[0]["energy_mae_kcal_mol"]
    assert (tmp_path / "model.safetensors").exists()
    published = {(n["value"], n["unit"]) for n in rows[3]["published"]}
    assert {(0.59, "kcal/mol"), (14.2, "meV")} <= published


def test_other_targets_have_their_own_unit(tmp_path, capsys):
    data = shared("qm9_all_properties.npz")
    rows = run(f"--target alpha gap --data {data} --models composition SchNet", tmp_path)
    alpha, gap = rows[1], rows[3]
    assert alpha["unit"] == "Bohr³"
    assert 0 < alpha["mae"] <= alpha["rmse"]
    assert "energy_mae_kcal_mol" not in alpha
    assert "energy_mae_kcal_mol" in gap
    assert [n["value"] for n in alpha["published"]][:3] == [0.235, 0.092, 0.124]
    gap, alpha_file = (load(tmp_path / n / "model.safetensors") for n in ("gap", "alpha"))
    assert isinstance(gap.model.readout, MeanReadout)
    assert not isinstance(alpha_file.model.readout, MeanReadout)
    assert [str(t) for p in (gap, alpha_file) for t in p.targets] == ["gap (eV)", "alpha (Bohr³)"]
    table = capsys.readouterr().out
    assert f"{alpha['mae']:.4g} Bohr³" in table
    assert "0.235 Bohr³" in table
    assert "0.045 Bohr³" in table
    # 45.7 meV, of PaiNN
    assert "1.054 (45.7)" in table


def test_one_model_of_several_targets_gives_a_row_each(tmp_path):
    data = shared("qm9_all_properties.npz")
    models = "mean composition SchNet PaiNN"
    rows = run(f"--target mu U0 r2 Cv --joint --data {data} --models {models}", tmp_path)
    assert [row["target"] for row in rows] == ["mu", "U0", "r2", "Cv"] * 4
    assert [row.get("unit") for row in rows[-4:]] == ["Debye", None, "Bohr²", "cal/(mol K)"]
    assert len({row["parameters"] for row in rows[-4:]}) == 1
    assert rows[4]["parameters"] == 4 * 4  # four elements, four targets
    assert rows[5]["energy_mae_kcal_mol"] < rows[1]["energy_mae_kcal_mol"] / 10
    assert {n["model"] for n in rows[-1]["published"]} >= {"SchNet", "PaiNN", "ViSNet"}
    potential = load(tmp_path / "PaiNN" / "model.safetensors")
    assert [target.name for target in potential.targets] == ["mu", "U0", "r2", "Cv"]


def test_the_readout_may_be_another(tmp_path):
    data = shared("qm9_all_properties.npz")
    readout = "--model.readout schnetgeo.nn.MeanReadout"
    run(f"--target mu --data {data} --models SchNet {readout}", tmp_path / "mean")
    run(f"--target mu --data {data} --models SchNet", tmp_path / "dipole")
    models = [load(tmp_path / name / "model.safetensors").model for name in ("mean", "dipole")]
    assert [type(m.readout).__name__ for m in models] == ["MeanReadout", "DipoleNormReadout"]


def test_the_composition_row_by_hand(tmp_path):
    data = shared("qm9_all_properties.npz")
    rows = run(f"--target r2 --data {data} --models mean", tmp_path)
    values = QM9(file=data, target="r2").get_property("r2")
    # 60 molecules tell the mean deviation of all within a few of its standard errors
    spread = float((values - values.mean()).abs().mean())
    assert rows[0]["mae"] == pytest.approx(spread, rel=0.4)


def test_the_published_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SIZE", 30)
    monkeypatch.setattr(module, "UNCHARACTERIZED", 3)
    (tmp_path / "uncharacterized.txt").write_bytes(uncharacterized_txt([2, 3, 30]))
    archive = write_tar(tmp_path / "dsgdb9nsd.xyz.tar.bz2", qm9_files(30))
    few = "--num-train 15 --num-val 2 --num-test 10 --models mean"
    rows = run(f"--data {archive} {few} --root {tmp_path}", tmp_path / "out")
    assert [rows[0][k] for k in ("num_train", "num_val", "num_test")] == [15, 2, 10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--target u0", "unknown target 'u0' of QM9; known: A, B, C, mu"),
        ("--target gap", "has no 'gap'"),
        ("--target U0 --joint", "--joint is of several targets"),
        ("--target U0 gap", "has no 'gap'; it has U0"),
        ("--task forces", "task 'forces' needs forces, which QM9 has not; give energy"),
        ("--num-train 10 40000", "cannot split 36248 structures into num_train=40000"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as exit:
        run(f"--data {shared('qm9_u0_part1.npz')} {options}", tmp_path / "out")
    error = capsys.readouterr().err
    assert exit.value.code == 2
    *notes, line = error.splitlines()
    assert message in line
    assert all(": note: " in said for said in notes)
    assert not (tmp_path / "out").exists()

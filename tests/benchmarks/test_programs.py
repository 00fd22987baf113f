"""The same model in all programs, those that are installed."""

import json

import pytest

from benchmarks.programs.__main__ import PROGRAMS, main
from benchmarks.programs.structures import structures

WITHOUT_COMPILER = [name for name in PROGRAMS if name != "pt2"]  # which tests/export compares


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["64", "32"])
def test_all_programs_agree(bits, tmp_path, capsys):
    arguments = ["--steps", "3", "--precision", bits, "--out", str(tmp_path)]
    main([*arguments, "--programs", *WITHOUT_COMPILER])
    rows = json.loads((tmp_path / "results.json").read_text())
    assert len(rows) == len(WITHOUT_COMPILER) * len(structures())
    skipped = {row["program"]: row["skipped"] for row in rows if "skipped" in row}
    assert not {"Python, tabulated", "ASE"} & skipped.keys()
    assert all("pip install" in reason or "No module" in reason for reason in skipped.values())
    for row in rows:
        if row["program"] in skipped:
            continue
        if bits == "64":
            assert abs(row["energy_error_eV"]) < 1e-6, row
            assert row["force_error_eV_A"] < 1e-5, row
        else:
            assert abs(row["energy_error_per_atom_eV"]) < 1e-4, row
            assert row["force_error_eV_A"] < 1e-3, row
        assert row["microseconds"] > 0
    assert "eV/Å" in capsys.readouterr().out


def test_unknown_programs_are_named(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--programs", "GROMACS"])
    assert end.value.code == 2
    assert "unknown 'GROMACS'; known: Python, tabulated, ASE" in capsys.readouterr().err


def test_hexane_is_a_molecule():
    atoms = structures()["hexane, 20 atoms"]
    distances = atoms.get_all_distances() + 10 * (atoms.get_all_distances() == 0)
    bonds = distances.min(1)
    assert ((bonds > 0.9) & (bonds < 1.7)).all()

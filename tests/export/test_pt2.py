"""Packages of AOTInductor, for any number of atoms and edges, in Python and in C++."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from ase.build import bulk
from torch.utils import cpp_extension

import schnetgeo as sg
from schnetgeo import export
from schnetgeo.export.flat_potential import FlatPotential
from schnetgeo.export.pt2 import exported
from tests.engine.potentials import exact, potential_of, rattled
from tests.export.test_flat_potential import covered, graph

PAGE = Path(__file__).parents[2] / "docs" / "programs.md"


def inputs_of(atoms, dtype=torch.float64):
    z, target, source, vectors = graph(atoms, 4.0, dtype)
    return z, torch.stack([source, target]), vectors


def assert_equals_the_model(package, potential):
    for atoms in (rattled("CH3CH2OH"), rattled(bulk("Al", cubic=True)), rattled("H2O")):
        periodic = bool(atoms.pbc.any())
        energies, forces, virial = package(*inputs_of(atoms))
        expected = exact(potential)(sg.from_ase(atoms), stress=periodic)
        assert energies.shape == (len(atoms),)
        assert float(energies.sum()) == pytest.approx(float(expected.energy), abs=1e-9)
        torch.testing.assert_close(forces, expected.forces, rtol=0, atol=1e-8)
        if periodic:
            stress = virial / atoms.get_volume()
            torch.testing.assert_close(stress, expected.stress[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["Gate", "PaiNN"])
def test_the_exported_program_equals_the_model(name):
    """Before it is compiled: traced with seven edges, run with others."""
    potential = potential_of(name).eval()
    assert_equals_the_model(exported(FlatPotential(potential, 1e-9)).module(), potential)


@pytest.fixture(scope="module")
def package_file(tmp_path_factory):
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    export.to_pt2(covered(potential_of().eval(), 1, 6, 8, 13), path, tolerance=1e-9)
    return path


@pytest.mark.slow
def test_the_compiled_package_equals_the_model(package_file):
    package = torch._inductor.aoti_load_package(str(package_file))
    assert_equals_the_model(package, potential_of().eval())
    unseen = package(torch.tensor([1, 7]), *inputs_of(rattled("H2"))[1:])
    assert unseen[0].isnan().any()
    assert unseen[1].isnan().all()
    stated = package.get_metadata()
    assert stated["elements"] == "H C O Al"
    assert stated["cutoff"] == "4.0 angstrom"
    assert "energy eV, length angstrom" in stated["units"]
    assert stated["dtype"] == "float64"


@pytest.mark.slow
def test_the_package_runs_without_python(package_file, tmp_path):
    """The C++ of docs/programs.md: energy and a force of two atoms of hydrogen."""
    source = re.search(r"```cpp\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    (tmp_path / "run.cpp").write_text(source)
    folders = cpp_extension.library_paths()
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"
    subprocess.run(
        ["g++", "-std=c++20", abi, "run.cpp", "-o", "run",
         *(f"-I{folder}" for folder in cpp_extension.include_paths()),
         *(f"-L{folder}" for folder in folders), *(f"-Wl,-rpath,{folder}" for folder in folders),
         "-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    done = subprocess.run(
        ["./run", str(package_file)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    energy, force = map(float, done.stdout.split())
    package = torch._inductor.aoti_load_package(str(package_file))
    edges = torch.tensor([[0, 1], [1, 0]])
    vectors = torch.tensor([[-0.74, 0, 0], [0.74, 0, 0]], dtype=torch.float64)
    expected = package(torch.tensor([1, 1]), edges, vectors)
    assert energy == pytest.approx(float(expected[0].sum()), abs=1e-9)
    assert force == pytest.approx(float(expected[1][0, 0]), abs=1e-9)


@pytest.mark.slow
def test_the_python_of_the_page(package_file, monkeypatch):
    monkeypatch.chdir(package_file.parent)
    code = re.search(r"```python\n(package = .*?)```", PAGE.read_text(), re.DOTALL)[1]
    z, edge_index, vectors = inputs_of(rattled("H2O"))
    names = {"torch": torch, "z": z, "edge_index": edge_index, "vectors": vectors}
    exec(code, names)
    assert names["forces"].shape == (3, 3)
    assert names["energies"].shape == (3,)


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(sg.InputError, match=r"ends in \.pt2"):
        export.to_pt2(potential_of().eval(), tmp_path / "model.bin")


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", _no_compiler)
    with pytest.raises(sg.InputError, match=r"C\+\+ compiler is needed.*install g\+\+"):
        export.to_pt2(potential_of().eval(), tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def _no_compiler(*args, **options):
    raise torch._inductor.exc.InvalidCxxCompiler

"""The package as a whole: what it needs, what it imports, and what its wheel holds."""

import ast
import configparser
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import schnetgeo

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "schnetgeo"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTED = sorted(
    p for f in ("schnetgeo", "benchmarks", "examples") for p in (ROOT / f).rglob("*.py")
)

# a module imports only from rows above its own, and from its own folder
RANKS = (
    {"errors", "_version"}, {"units", "files", "notes", "targets", "user_code", "yaml_size"},
    {"geometry"}, {"ops"}, {"data"}, {"nn"}, {"engine"}, {"potential"}, {"testing"}, {"datasets"},
    {"viz"}, {"interop", "explain", "export"}, {"train"}, {"simulate"}, {"cli"},
)  # fmt: skip
ABOVE_ALL = {"__init__", "__main__"}
PIP_NAMES = {
    "pytorch": "torch",
    "pytorch_geometric": "torch-geometric",
    "pytorch_cluster": "torch-cluster",
    "pytorch_scatter": "torch-scatter",
    "matplotlib-base": "matplotlib",
    "jsonargparse-with-all": "jsonargparse",
    "python-build": "build",
}
WITHOUT_EXTRAS = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch_cluster", "torch_scatter", "vesin"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())

import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: (
    None if name in ("torch_cluster", "torch_scatter", "vesin") else find_spec(name, *a)
)
import schnetgeo as sg
from ase.build import bulk, molecule
from schnetgeo.cli.doctor import report

for atoms, edges in ((molecule("CH3CH2OH"), 72), (bulk("Cu", cubic=True), 4 * 12)):
    data = sg.from_ase(atoms)
    edge_index, edge_shift = sg.neighbor_list(data, 6.0 if len(atoms) == 9 else 3.0)
    assert edge_index.shape == (2, edges), edge_index.shape
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, cutoff=4.0)
    prediction = sg.Potential(model)(data, stress=bool(atoms.pbc.all()))
    assert prediction.forces.shape == (len(atoms), 3)
assert report().count("missing") == 3
"""


def python(*arguments, cwd, **environment) -> str:
    """What a Python process prints; the package is found where PYTHONPATH says."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def split_requirement(line: str) -> tuple[str, str]:
    name, operator, version = re.match(r"([\w-]+)(?:\[\w+\])?(.*?=)(.*)", line).groups()
    return PIP_NAMES.get(name, name), operator + version


def test_setup_cfg_and_environment_yml_agree():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    lines = (setup["options"]["install_requires"] + extras["compiled"] + extras["test"]).split()
    pip = dict(split_requirement(line) for line in lines)
    pip["python"] = setup["options"]["python_requires"]
    text = (ROOT / "environment.yml").read_text()
    entries = re.findall(r"^ +- (\S+=\S+)$", text, re.MULTILINE)
    assert dict(split_requirement(line) for line in entries) == pip
    assert re.search(r"^      - -e \.$", text, re.MULTILINE)
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["target-version"]
    assert pip["python"] == f">={lowest[2]}.{lowest[3:]}"


def test_every_import_from_outside_is_required():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].split()
    required = {split_requirement(line)[0].replace("-", "_") for line in lines}
    # PIL comes with pillow, triton with torch for CUDA, yaml with jsonargparse
    optional = {
        "torch_sim",
        "torch_cluster",
        "torch_scatter",
        "PIL",
        "triton",
        "yaml",
        "h5py",
        "schnetpack",
    }
    optional |= {"metatomic", "metatensor", "lammps", "openmm", "ipi", "torch_sim"}
    for path in SOURCES:
        outside = {m.partition(".")[0] for m in imports(path)} - sys.stdlib_module_names
        assert outside - {"schnetgeo"} <= required | optional, path


def imports(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rank(name: str) -> int:
    return next(i for i, row in enumerate(RANKS) if name in row)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_import_from_above_only(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in ABOVE_ALL:
        return
    for name in imports(path):
        if not name.startswith("schnetgeo."):
            continue
        part = name.split(".")[1]
        if not any(part in row for row in RANKS):  # a name such as InputError
            part = "__init__"
        assert part == own or (part not in ABOVE_ALL and rank(part) < rank(own)), name


def dotted(path: Path) -> str:
    """The name that a file is imported by."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_files_do_not_import_each_other_in_a_circle():
    """Neither within a folder, nor in functions."""
    files = {dotted(path): path for path in SOURCES}
    graph = {
        name: {m if m in files else m.rpartition(".")[0] for m in imports(path)} & files.keys()
        for name, path in files.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


def test_the_engine_knows_no_architecture():
    """It imports base classes and parts of nn/, and no model; nn/ imports nothing of it."""
    parts = {"basis", "conv", "cutoff", "mlp", "model", "readout"}
    for path in (PACKAGE / "engine").rglob("*.py"):
        modules = {m.split(".")[2] for m in imports(path) if m.startswith("schnetgeo.nn.")}
        assert modules <= parts, path.name


@pytest.mark.parametrize("path", TESTED, ids=lambda p: str(p.relative_to(ROOT)))
def test_banned_constructs(path):
    assert path.stem not in ("utils", "util", "helpers")
    pickles = {m for m in imports(path) if m.partition(".")[0] in ("pickle", "dill", "cloudpickle")}
    # compiled kernels are Numba's pickles, in a folder that nobody else can write;
    # the unpickler of interop calls nothing of a file
    assert not pickles or path.name in ("kernel_cache.py", "unpickler.py")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            bare = node.func.attr == "squeeze" and not node.args and not node.keywords
            assert not bare, f"line {node.lineno}: squeeze() without a dimension"
            keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            assert not keywords.get("allow_pickle"), f"line {node.lineno}"
            assert keywords.get("weights_only") is not False, f"line {node.lineno}"


def test_import_is_light(tmp_path):
    script = (  # PyG imports pandas where there is one
        "import sys, torch_geometric; before = set(sys.modules); import schnetgeo; "
        "print(*set(sys.modules) - before, sep='\\n')"
    )
    loaded = python("-c", script, cwd=tmp_path).split()
    assert "schnetgeo.nn.schnet" in loaded
    # PyG imports pandas where it is installed
    assert not {"lightning", "matplotlib", "jsonargparse"} & set(loaded)


def test_works_without_compiled_packages(tmp_path):
    python("-c", WITHOUT_EXTRAS, cwd=tmp_path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the working tree, built from a copy so that nothing is left behind in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for path in [*PACKAGE.rglob("*"), *ROOT.glob("*.*"), ROOT / "LICENSE"]:
        if path.is_file() and path.suffix != ".pyc":
            copy = source / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, cwd=folder)
    return next(folder.glob("*.whl"))


def test_wheel_holds_what_it_should(wheel):
    assert wheel.name == f"schnetgeo-{schnetgeo.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"schnetgeo-{schnetgeo.__version__}.dist-info"
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        metadata = archive.read(f"{info}/METADATA").decode()
    for path in SOURCES:
        assert path.relative_to(ROOT).as_posix() in names
    shipped = ("pretrained/README.md", "pretrained/gfn2-molecules.safetensors")
    demo = "datasets/demo/ethanol.npz", "datasets/demo/molecules.npz"
    for name in ("py.typed", *demo, *shipped):
        assert f"schnetgeo/{name}" in names
    assert f"{info}/licenses/LICENSE" in names
    assert "schnetgeo = schnetgeo.cli:main" in entry_points
    assert re.search(r"^License(-Expression)?: MIT$", metadata, re.MULTILINE)
    assert not [n for n in names if n.startswith(("tests", "benchmarks", "examples"))]


def test_installed_wheel_works_on_its_own(wheel, tmp_path):
    target = tmp_path / "site"
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check", "--target"]
    python("-m", "pip", "install", *options, target, wheel, cwd=tmp_path)
    environment = {"PYTHONPATH": str(target)}
    command = target / "bin" / "schnetgeo"
    assert python(command, "--version", cwd=tmp_path, **environment) == (
        f"schnetgeo {schnetgeo.__version__}\n"
    )
    script = "import schnetgeo; from schnetgeo.datasets import Demo; " + (
        "print(schnetgeo.__file__, len(Demo()), len(Demo('molecules')))"
    )
    file, *counts = python("-c", script, cwd=tmp_path, **environment).split()
    assert Path(file) == target / "schnetgeo" / "__init__.py"
    assert counts == ["1200", "1240"]


def test_citation_names_the_papers():
    text = (ROOT / "CITATION.cff").read_text()
    assert "family-names: Schütt" in text
    assert "1706.08566" in text
    assert "10.1063/1.5019779" in text
    assert re.search(rf"^version: {re.escape(schnetgeo.__version__)}$", text, re.MULTILINE)


def test_changelog_begins_with_this_version():
    first = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first[1] == schnetgeo.__version__


def test_public_names_exist():
    for name in schnetgeo.__all__:
        assert getattr(schnetgeo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        schnetgeo.nonsense  # noqa: B018


def test_dir_lists_what_is_imported_late():
    assert set(schnetgeo.__all__) <= set(dir(schnetgeo))

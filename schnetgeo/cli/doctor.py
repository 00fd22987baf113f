"""The command schnetgeo doctor: what is installed and used, and remedies for what is missing."""

import importlib.util
import platform
from importlib.metadata import PackageNotFoundError, version

import torch
from jsonargparse import Namespace

from schnetgeo._version import __version__
from schnetgeo.cli.parser import Parser
from schnetgeo.data.neighbors.search import default_backend

_PACKAGES = (
    "torch", "torch-geometric", "torch-cluster", "torch-scatter", "vesin", "ase", "numpy",
    "lightning", "jsonargparse", "safetensors", "pooch", "matplotlib", "tensorboard",
)  # fmt: skip
_REMEDIES = {
    "torch-cluster": "radius graphs run in plain torch, with the same edges, slower for large "
    "systems and on a GPU; make compiled, or pip install --no-build-isolation torch-cluster",
    "torch-scatter": "sums over neighbors and atoms do not need it; make compiled, or "
    "pip install --no-build-isolation torch-scatter",
    "vesin": "periodic radius graphs run in plain torch, slower; pip install vesin",
}


def make_parser() -> Parser:
    return Parser()


def run(options: Namespace) -> None:
    print(report())


def report() -> str:
    """The text of `schnetgeo doctor`."""
    lines = [f"schnetgeo {__version__}, Python {platform.python_version()}", "", "packages"]
    remedies = []
    for name in _PACKAGES:
        state, remedy = _state(name)
        lines.append(f"  {name:<16} {state}")
        if remedy:
            remedies.append(f"  {name}: {remedy}")
    lines += ["", "devices", f"  {'cpu':<16} {torch.get_num_threads()} threads"]
    lines += [
        f"  {f'cuda:{i}':<16} {torch.cuda.get_device_name(i)}"
        for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        lines.append(f"  {'mps':<16} not supported, for it has no float64; take the cpu")
    lines += ["", "operators and their backends"]
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    for device in devices:
        for periodic in (False, True):
            kind = "periodic" if periodic else "molecules"
            backend = default_backend(periodic, torch.device(device))
            lines.append(f"  {f'neighbor_list, {kind}, {device}':<34} {backend}")
    lines.append(f"  {'sum over neighbors and atoms':<34} torch.index_add")
    if remedies:
        lines += ["", "remedies", *remedies]
    return "\n".join(lines)


def _state(name: str) -> tuple[str, str | None]:
    """Version or what is wrong with a package, and what to do about it."""
    found, remedy = _version(name), _REMEDIES.get(name, f"pip install {name}")
    if found is None:
        return "missing", remedy
    failure = _failure(name) if name in _REMEDIES else None
    if failure is None:
        return found, None
    again = f"{remedy} --force-reinstall --no-deps --no-cache-dir"
    return f"{found}, cannot be imported", f"compiled for another torch? {failure}; {again}"


def _version(name: str) -> str | None:
    if importlib.util.find_spec(name.replace("-", "_")) is None:
        return None
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _failure(name: str) -> str | None:
    """Why a package that is there cannot be imported."""
    try:
        importlib.import_module(name.replace("-", "_"))
    except Exception as error:  # a compiled package fails in its own way
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None

"""Writes pages that exist elsewhere: docstrings of each package, and texts of the repository."""

import importlib
import pkgutil
import re
from pathlib import Path

import schnetgeo

ROOT = Path(__file__).parents[1]
TEXTS = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
MODULES = ("schnetgeo.units", "schnetgeo.targets", "schnetgeo.errors")  # which are no packages


def write(folder: Path) -> None:
    """Write a page for each public package, and one for the short names in `schnetgeo`."""
    folder.mkdir(exist_ok=True)
    homes = {}
    for name in sorted({*packages(), *MODULES}):
        module = importlib.import_module(name)
        names = sorted(public_names(module))
        homes |= {id(getattr(module, n)): f"{name}.{n}" for n in names}
        _write(folder / f"{name}.rst", page(module, names))
    _write(folder / "schnetgeo.rst", short_names(homes))


def copy_texts(folder: Path) -> None:
    """Copy the texts that stand beside README.md, and are pages too."""
    folder.mkdir(exist_ok=True)
    for name in TEXTS:
        _write(folder / name, (ROOT / name).read_text())


def link_texts(app, docname: str, source: list[str]) -> None:
    """Called by sphinx with each page: links to these texts lead to their copies."""
    for name in TEXTS:
        source[0] = source[0].replace(f"](../{name}", f"](project/{name}")
    source[0] = re.sub(r"\]\(\.\./README\.md[^)]*\)", "](index.md)", source[0])


def packages() -> list[str]:
    """Public packages of schnetgeo that state their names."""
    found = [
        f"schnetgeo.{module.name}"
        for module in pkgutil.iter_modules(schnetgeo.__path__)
        if module.ispkg and not module.name.startswith("_")
    ]
    return [name for name in found if hasattr(importlib.import_module(name), "__all__")]


def public_names(module) -> list[str]:
    """The classes and functions that are documented on the page of a module."""
    names = getattr(module, "__all__", None)
    if names is None:  # of a module: what it defines itself
        here = module.__name__
        names = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == here]
    return [n for n in names if not n.startswith("_") and callable(getattr(module, n))]


def page(module, names: list[str]) -> str:
    """The page of a module: its docstring, then each class and function."""
    lines = [module.__name__, "=" * len(module.__name__), ""]
    lines += [f".. automodule:: {module.__name__}", "   :no-members:", ""]
    lines += [f".. currentmodule:: {module.__name__}", ""]
    for name in names:
        is_class = isinstance(getattr(module, name), type)
        lines += [f".. autoclass:: {name}", "   :members:"] if is_class else []
        lines += [] if is_class else [f".. autofunction:: {name}"]
        lines.append("")
    return "\n".join(lines)


def short_names(homes: dict[int, str]) -> str:
    """The page of `schnetgeo` itself: where each of its names is explained."""
    lines = ["schnetgeo", "=========", "", "``import schnetgeo as sg`` gives these names:", ""]
    for name in sorted(schnetgeo.__all__, key=str.lower):
        value = getattr(schnetgeo, name)
        if id(value) in homes:
            lines.append(f"* ``sg.{name}``: :py:obj:`{homes[id(value)]}`")
        elif type(value).__name__ == "module":
            lines.append(f"* ``sg.{name}``: :py:mod:`{value.__name__}`")
    return "\n".join([*lines, ""])


def as_restructured_text(app, what, name, value, options, lines: list[str]) -> None:
    """Called by autodoc with a docstring: examples and tables become blocks, |x| stays |x|."""
    result, literal = [], False
    for before, line in zip(["", *lines], lines, strict=False):
        begins = line.startswith("    ") and not before or line.startswith("| ")
        if begins and not literal:
            result += ["", "::", ""]
        goes_on = not line or line.startswith(("    ", "| "))
        if literal and not goes_on:
            result.append("")
        literal = begins or (literal and goes_on)
        result.append(f"    {line}" if literal else line.replace("|", "\\|"))
    lines[:] = result


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:  # else sphinx reads it again
        path.write_text(text)

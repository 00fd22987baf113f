"""What README and docs/ show works: code runs, commands exist, links lead somewhere."""

import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "pages").glob("*.py"))
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SHOWN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *PAGES]
# tests/interop compares what the two columns give, tests/export runs the blocks one by one
RUN_ELSEWHERE = {"coming_from.md", "programs.md"}
PROGRAMS = {"data": {"info", "download", "stats", "convert", "check"}}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, language: str) -> list[str]:
    """Blocks of code of a text in Markdown, or in the comments of a page."""
    fenced = re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)
    plain = re.sub(r"^# ?", "", text, flags=re.M)
    indented = rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)"
    return fenced + re.findall(indented, plain, re.M)


def commands(text: str) -> list[list[str]]:
    """The words of each call of schnetgeo or a benchmark in the shell blocks of a text."""
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    calls = [shlex.split(line, comments=True) for line in lines if line.strip()]
    found = []
    for call in calls:
        for place, word in enumerate(call):
            if word == "schnetgeo" or word.startswith("benchmarks."):
                found.append(call[place:])
                break
    return found


def options_of(*command: str) -> set[str]:
    """Options in the help of a command."""
    name = "schnetgeo.cli" if command[0] == "schnetgeo" else command[0]
    if name != "schnetgeo.cli" and importlib.util.find_spec(name).submodule_search_locations:
        name += ".__main__"
    module = importlib.import_module(name)
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as end:
        module.main([*command[1:], "--help"])
    assert end.value.code in (0, None), command
    return set(re.findall(r"--[\w.-]+", text.getvalue()))


WITH_CODE = [p for p in TEXTS if blocks(p.read_text(), "python") and p.name not in RUN_ELSEWHERE]


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_CODE, ids=name)
def test_python_of_a_text_runs(path, tmp_path):
    """All blocks of a text in their order, as a reader would paste them."""
    code = "\n".join(blocks(path.read_text(), "python"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def known_options():
    """Options by command, each asked for once."""
    known: dict[tuple[str, ...], set[str]] = {}

    def look_up(call: list[str]) -> set[str]:
        command = call[:1]
        if call[0] == "schnetgeo":
            words = call[1:3] if call[1] in PROGRAMS else call[1:2]
            command = [*command, *(w for w in words if not w.startswith("-"))]
        if tuple(command) not in known:
            known[tuple(command)] = options_of(*command)
        return known[tuple(command)]

    return look_up


@pytest.mark.parametrize("path", SHOWN, ids=name)
def test_commands_and_their_options_exist(path, known_options):
    for call in commands(path.read_text()):
        given = {word.partition("=")[0] for word in call if word.startswith("--")}
        unknown = {o for o in given if not o.startswith("--model.conv.")} - known_options(call)
        assert not unknown - {"--help", "--version"}, call


def test_commands_are_found():
    assert ["schnetgeo", "doctor"] in commands((ROOT / "README.md").read_text())
    text = "# .. code-block:: sh\n#\n#    a=1 python -m benchmarks.qm9 --x \\\n#        1 # y\n\nz"
    assert commands(text) == [["benchmarks.qm9", "--x", "1"]]


def anchors(path: Path) -> set[str]:
    """Anchors of the headings of a text, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_links_between_files_lead_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file) if file else path
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), target


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_between_pages_lead_somewhere(path):
    """Also those of the reference to classes."""
    for target in re.findall(r":doc:`(?:[^<`]*<)?([^`>]+)>?`", path.read_text()):
        folder = ROOT / "docs" if target.startswith("../") else path.parent
        stem = target.removeprefix("../")
        assert (folder / f"{stem}.py").exists() or (folder / f"{stem}.md").exists(), target


def test_every_page_is_in_the_contents():
    contents = re.findall(r"^guide/(\w+)$", (ROOT / "docs" / "index.md").read_text(), re.M)
    assert sorted(contents) == [path.stem for path in PAGES]


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_pages_begin_with_a_title_and_are_short(path):
    lines = path.read_text().splitlines()
    assert set(lines[2]) == {"="}
    assert len(lines[1]) == len(lines[2])
    assert len(lines) <= 250

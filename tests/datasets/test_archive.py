import io
import tarfile
import zipfile

import pytest

from schnetgeo.datasets.archive import extract, members
from schnetgeo.errors import InputError

FILES = {"set/a.txt": b"first", "set/deep/b.txt": b"second" * 5000, "c.txt": b"third"}
KINDS = ["set.tar", "set.tar.gz", "set.tar.bz2", "set.zip"]


def archive(path, files=FILES):
    """An archive of the kind that its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for name, content in files.items():
                out.writestr(name, content)
        return path
    mode = {".tar": "w", ".gz": "w:gz", ".bz2": "w:bz2"}[path.suffix]
    with tarfile.open(path, mode) as out:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_members_in_one_pass(tmp_path, kind):
    found = {m.name: m.read() for m in members(archive(tmp_path / kind))}
    assert found == FILES


@pytest.mark.parametrize("kind", KINDS)
def test_extract_takes_what_is_asked_for(tmp_path, kind):
    path = archive(tmp_path / kind)
    out = tmp_path / "out"
    paths = extract(path, ["set/deep/b.txt", "c.txt"], out)
    assert paths == [out / "b.txt", out / "c.txt"]
    assert [p.read_bytes() for p in paths] == [FILES["set/deep/b.txt"], FILES["c.txt"]]
    assert sorted(p.name for p in out.iterdir()) == [".lock", "b.txt", "c.txt"]


def test_what_is_there_stays(tmp_path):
    path = archive(tmp_path / "set.zip")
    (tmp_path / "c.txt").write_text("mine")
    assert extract(path, ["c.txt"], tmp_path)[0].read_text() == "mine"
    path.unlink()
    assert extract(path, ["c.txt"], tmp_path)[0].read_text() == "mine"


def test_names_with_a_dot(tmp_path):
    path = archive(tmp_path / "set.tar.gz", {"./set/a.txt": b"first"})
    assert extract(path, ["set/a.txt"], tmp_path)[0].read_bytes() == b"first"


@pytest.mark.parametrize("kind", KINDS)
def test_missing_member(tmp_path, kind):
    path = archive(tmp_path / kind)
    with pytest.raises(InputError, match=f"{kind}: has no member 'set/d.txt'; it is another arch"):
        extract(path, ["set/a.txt", "set/d.txt"], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["../out.txt", "set/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:\\out.txt"]
)
def test_paths_that_climb_out(tmp_path, kind, name):
    path = archive(tmp_path / kind, {name: b"bad", "a.txt": b"good"})
    with pytest.raises(InputError, match=f"{kind}: holds .*, a path that leads out of its folder"):
        extract(path, ["a.txt"], tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize("entry", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_no_files(tmp_path, entry):
    with tarfile.open(tmp_path / "set.tar", "w") as out:
        link = tarfile.TarInfo("a.txt")
        link.type, link.linkname = entry, "/etc/passwd"
        out.addfile(link)
    with pytest.raises(InputError, match=r"set.tar: has no member 'a.txt'"):
        extract(tmp_path / "set.tar", ["a.txt"], tmp_path)
    assert not (tmp_path / "a.txt").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_half_an_archive(tmp_path, kind):
    path = archive(tmp_path / kind)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=f"{kind}: not an archive, or not a whole one"):
        extract(path, list(FILES), tmp_path / "out")
    assert not (tmp_path / "out" / "b.txt").exists()


def test_damaged_content(tmp_path):
    path = archive(tmp_path / "set.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"deep/b.txt") + 20] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match="set.zip: not an archive, or not a whole one"):
        extract(path, ["set/deep/b.txt"], tmp_path / "out")
    assert not (tmp_path / "out" / "b.txt").exists()


def test_other_files(tmp_path):
    (tmp_path / "set.tar.bz2").write_bytes(b"<html>log in first</html>")
    with pytest.raises(InputError, match="set.tar.bz2: not an archive, or not a whole one"):
        next(members(tmp_path / "set.tar.bz2"))
    with pytest.raises(InputError, match="absent.zip: no such file"):
        next(members(tmp_path / "absent.zip"))

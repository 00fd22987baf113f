import errno
import hashlib
import json
import shutil
import time
from pathlib import Path

import pytest

from schnetgeo.datasets import source
from schnetgeo.datasets.source import File, fetch
from schnetgeo.errors import InputError
from tests.datasets.server import cut, send, serve
from tests.processes import PROCESSES

CONTENT = b"what the authors published" * 1000
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def published(server, *paths, **facts):
    url, *mirrors = [server.url + path for path in paths]
    return File("data.bin", url, tuple(mirrors), **facts)


def files_in(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.name != ".lock")


@pytest.mark.parametrize("checksum", [None, SHA256, MD5])
def test_downloads_once(tmp_path, checksum):
    with serve({"/a": CONTENT}) as server:
        file = published(server, "a", size=len(CONTENT), checksum=checksum)
        for _ in range(2):
            assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["/a"]
    assert files_in(tmp_path) == ["checksums.json", "data.bin"]
    record = json.loads((tmp_path / "checksums.json").read_text())["data.bin"]
    assert record["sha256"] == SHA256.removeprefix("sha256:")


def slow(handler):
    time.sleep(0.6)
    send(handler, CONTENT)


def stalling(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT[:100])
    handler.wfile.flush()
    time.sleep(0.6)


FAILURES = {
    "refusing": (403, "403 Client Error"),
    "gone": (404, "404 Client Error"),
    "cut": (cut(CONTENT), "IncompleteRead"),
    "corrupt": (CONTENT[:-1] + b"!", "what it sent has the sha256 checksum [0-9a-f]{64}, but"),
    "short": (CONTENT[:-1], "what it sent has 25999 bytes, but data.bin has 26000"),
    "page": (b"<html>log in first</html>", "what it sent has 25 bytes, but data.bin has 26000"),
    "slow": (slow, "timed out"),
    "stalling": (stalling, "timed out"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_second_mirror_helps(tmp_path, name):
    with serve({"/bad": FAILURES[name][0], "/good": CONTENT}) as server:
        file = published(server, "bad", "good", size=len(CONTENT), checksum=SHA256)
        assert fetch(file, tmp_path, timeout=0.3).read_bytes() == CONTENT
    assert server.asked == ["/bad", "/good"]
    assert files_in(tmp_path) == ["checksums.json", "data.bin"]


@pytest.mark.parametrize("name", FAILURES)
def test_failure_leaves_nothing(tmp_path, name):
    answer, message = FAILURES[name]
    with serve({"/a": answer, "/b": 403}) as server:
        file = published(server, "a", "b", size=len(CONTENT), checksum=SHA256)
        with pytest.raises(
            InputError,
            match=rf"(?s)data.bin: cannot be downloaded from {server.url}a \(.*{message}.*; nor "
            rf"from {server.url}b \(403.*put it into {tmp_path}, or name it with file= or --data",
        ):
            fetch(file, tmp_path, timeout=0.3)
    assert files_in(tmp_path) == []


def test_cut_connection_without_known_size(tmp_path):
    with serve({"/a": cut(CONTENT)}) as server, pytest.raises(InputError, match="IncompleteRead"):
        fetch(published(server, "a"), tmp_path)
    assert files_in(tmp_path) == []


def test_a_download_that_fails_leaves_no_folders(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="cannot be downloaded"):
        fetch(File("data.bin", "http://127.0.0.1:9/"), tmp_path / "data" / "MD17" / "more")
    assert [path.name for path in tmp_path.rglob("*")] == ["data"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://no-such-host.invalid/a?b=c"])
def test_failure_of_a_network_is_one_short_line(tmp_path, url):
    with pytest.raises(InputError) as caught:
        fetch(File("data.bin", url, (url,)), tmp_path)
    text = str(caught.value).replace(str(tmp_path), "").replace(url, "")
    assert len(text) < 350
    assert "\n" not in text
    assert not any(word in text for word in ("Pool", "Max retries", "object at 0x", "Caused"))


def test_no_server(tmp_path):
    with pytest.raises(InputError, match="cannot be downloaded from http://127.0.0.1:9/ .*refused"):
        fetch(File("data.bin", "http://127.0.0.1:9/"), tmp_path)


def test_file_brought_here(tmp_path):
    origin = tmp_path / "usb" / "other name"
    origin.parent.mkdir()
    origin.write_bytes(CONTENT)
    file = File("data.bin", "http://127.0.0.1:9/", size=len(CONTENT), checksum=SHA256)
    assert fetch(file, tmp_path / "data", copy=origin).read_bytes() == CONTENT
    assert fetch(file, tmp_path / "data").read_bytes() == CONTENT


def test_wrong_file_brought_here_leaves_the_right_one(tmp_path):
    file = File("data.bin", "http://127.0.0.1:9/", size=len(CONTENT), checksum=SHA256)
    origin = tmp_path / "copy"
    origin.write_bytes(CONTENT)
    fetch(file, tmp_path / "data", copy=origin)
    origin.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(InputError, match="copy has the sha256 checksum .* get a fresh copy"):
        fetch(file, tmp_path / "data", copy=origin)
    with pytest.raises(InputError, match="nowhere: no such file; it was to be data.bin"):
        fetch(file, tmp_path / "data", copy=tmp_path / "nowhere")
    assert fetch(file, tmp_path / "data").read_bytes() == CONTENT


def test_new_copy_of_a_file_without_published_checksum(tmp_path):
    file = File("data.bin", "http://127.0.0.1:9/")
    for content in (b"old", b"new"):
        (tmp_path / "copy").write_bytes(content)
        fetch(file, tmp_path / "data", copy=tmp_path / "copy")
        assert fetch(file, tmp_path / "data").read_bytes() == content


@pytest.mark.parametrize("checksum", [None, SHA256])
def test_later_change_is_refused(tmp_path, checksum):
    with serve({"/a": CONTENT}) as server:
        file = published(server, "a", checksum=checksum)
        path = fetch(file, tmp_path)
        path.write_bytes(CONTENT[:-1] + b"!")
        for _ in range(2):
            with pytest.raises(InputError, match="(changed since|the sha256)"):
                fetch(file, tmp_path)
        path.write_bytes(CONTENT)
        assert fetch(file, tmp_path) == path


def test_untouched_file_is_not_read_again(tmp_path, monkeypatch):
    with serve({"/a": CONTENT}) as server:
        file = published(server, "a", checksum=SHA256)
        fetch(file, tmp_path)
        monkeypatch.setattr(source, "digest", None)
        fetch(file, tmp_path)


def test_file_that_was_put_there(tmp_path):
    (tmp_path / "data.bin").write_bytes(b"half of it")
    with pytest.raises(InputError, match="data.bin has 10 bytes, but data.bin has 26000; get a fr"):
        fetch(File("data.bin", "http://127.0.0.1:9/", size=len(CONTENT)), tmp_path)


def test_broken_record_is_named(tmp_path):
    (tmp_path / "data.bin").write_bytes(CONTENT)
    (tmp_path / "checksums.json").write_text("{")
    with pytest.raises(InputError, match=r"checksums.json: cannot be read \(.*; delete it"):
        fetch(File("data.bin", "http://127.0.0.1:9/"), tmp_path)


def test_full_disk(tmp_path, monkeypatch):
    def copyfile(origin, part):
        part.write_bytes(b"a little of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    (tmp_path / "copy").write_bytes(CONTENT)
    with pytest.raises(InputError, match="data.bin: cannot be written: No space left .*; fr"):
        fetch(File("data.bin", ""), tmp_path / "data", copy=tmp_path / "copy")
    assert files_in(tmp_path / "data") == []


def test_disk_full_while_downloading_asks_no_other_mirror(tmp_path, monkeypatch):
    def get(self, url, part, pooch):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(source.pooch.HTTPDownloader, "__call__", get)
    with pytest.raises(InputError, match="data.bin: cannot be written: No space left .*; fr"):
        fetch(File("data.bin", "http://one/", ("http://two/",)), tmp_path)


def test_folder_that_cannot_be(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(InputError, match="data: cannot be written: .*; nothing was left"):
        fetch(File("data.bin", "http://127.0.0.1:9/"), tmp_path / "data")


def _fetch(url, folder):
    fetch(File("data.bin", url), folder)


@pytest.mark.slow
def test_of_two_processes_one_downloads(tmp_path):
    with serve({"/a": slow}) as server:
        processes = [
            PROCESSES.Process(target=_fetch, args=(server.url + "a", tmp_path)) for _ in range(2)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert server.asked == ["/a"]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT

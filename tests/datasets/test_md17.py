import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from schnetgeo.datasets import MD17, load_data
from schnetgeo.datasets.md17 import FILES
from schnetgeo.errors import InputError
from tests.datasets.archives import ENERGY, FORCE, FRAMES, fixed, md17, revised_md17, write
from tests.shared_data import shared


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of the file of ethanol, whole, of that of toluene, cut, and of nothing else."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    content = write(tmp_path / "published.npz", md17(name="Ethanol")).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            if self.path not in ("/md17_ethanol.npz", "/md17_toluene.npz"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            whole = self.path == "/md17_ethanol.npz"
            self.wfile.write(content if whole else content[: len(content) // 2])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def files_in(folder):
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_downloads_once(tmp_path, server):
    root = tmp_path / "data"
    for _ in range(2):
        dataset = MD17(root, "ethanol", url=server.url)
        assert len(dataset) == FRAMES
        assert float(dataset[0].energy) == pytest.approx(ENERGY, abs=1e-9)
        assert float(dataset[0].forces[0, 0]) == pytest.approx(FORCE, abs=1e-6)
    assert server.asked == ["/md17_ethanol.npz"]
    assert files_in(root) == ["md17_ethanol.npz"]


def test_missing_file_leaves_nothing(tmp_path, server):
    root = tmp_path / "data"
    with pytest.raises(InputError, match=r"aspirin.npz: cannot be downloaded \(404 .*file= "):
        MD17(root, "aspirin", url=server.url)
    assert files_in(root) == []


def test_cut_connection_leaves_nothing(tmp_path, server):
    root = tmp_path / "data"
    with pytest.raises(
        InputError, match=r"toluene.npz: cannot be downloaded \(.*fetch it elsewher"
    ):
        MD17(root, "toluene", url=server.url)
    assert files_in(root) == []


def test_no_server(tmp_path, server):
    with pytest.raises(InputError, match="uracil.npz: cannot be downloaded"):
        MD17(tmp_path / "data", "uracil", url="http://127.0.0.1:9/")
    assert files_in(tmp_path / "data") == []


def test_broken_file_in_the_folder_is_named(tmp_path, server):
    folder = tmp_path / "data" / "MD17"
    folder.mkdir(parents=True)
    (folder / "md17_ethanol.npz").write_bytes(b"PK half of it")
    with pytest.raises(InputError, match=r"MD17/md17_ethanol.npz: not an .npz archive, or not a w"):
        MD17(tmp_path / "data", url=server.url)
    assert server.asked == []


@pytest.mark.parametrize("layout", [md17, revised_md17, fixed])
def test_file_at_hand(tmp_path, layout):
    path = write(tmp_path / "own.npz", layout())
    dataset = MD17(tmp_path / "data", file=path)
    assert float(dataset[0].energy) == pytest.approx(ENERGY, abs=1e-9)
    assert not (tmp_path / "data").exists()


def test_shared_file():
    train, val, test = load_data(
        "MD17", file=shared("md17_ethanol.npz"), num_train=900, num_val=100
    )
    assert len(test.dataset) == 500
    assert float(next(iter(val)).energy.mean()) == pytest.approx(-4214.4, abs=1)


@pytest.mark.parametrize("missing", ["E", "F"])
def test_other_file(tmp_path, missing):
    path = write(tmp_path / "own.npz", fixed(**{missing: None}))
    label = {"E": "energy", "F": "forces"}[missing]
    with pytest.raises(InputError, match=f"own.npz: has no {label}; it is not a file of MD17"):
        MD17(file=path)


def test_unknown_molecule():
    with pytest.raises(InputError, match="unknown molecule 'methanol'; known: aspirin, .* uracil"):
        MD17(molecule="methanol")
    assert len(FILES) == 11

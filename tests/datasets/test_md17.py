import numpy as np
import pytest
import torch
from torch_geometric.datasets import MD17 as PyGMD17

from schnetgeo.datasets import MD17, RevisedMD17, load_data
from schnetgeo.datasets.md17 import MOLECULES, SOURCE
from schnetgeo.datasets.source import File
from schnetgeo.errors import InputError
from tests.datasets.archives import ENERGY, FRAMES, ethanol, fixed, md17, revised_md17, write
from tests.datasets.published import md17_npz, write_zip
from tests.datasets.server import serve
from tests.shared_data import shared

KCAL_MOL = 0.0433641042418  # eV
FIRST = -4214.774627792057  # eV: -97195.01189948035 kcal/mol of the first frame
FORCE = 1.13747024  # eV/Å: 26.23068692 kcal/mol/Å of its first atom along x


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of 6 frames of ethanol, under that name and under that of toluene."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    content = write(tmp_path / "published.npz", md17(name="Ethanol")).read_bytes()
    with serve({"/md17_ethanol.npz": content, "/md17_toluene.npz": content}) as server:
        for molecule, facts in MOLECULES.items():
            monkeypatch.setitem(SOURCE.files, molecule, File(facts.file, server.url + facts.file))
        ethanol = MOLECULES["ethanol"]._replace(frames=FRAMES)
        monkeypatch.setitem(MOLECULES, "ethanol", ethanol)
        yield server


def test_downloads_once(tmp_path, server):
    root = tmp_path / "data"
    for _ in range(2):
        dataset = MD17(root, "ethanol")
        assert len(dataset) == FRAMES
        assert float(dataset[0].energy) == pytest.approx(ENERGY, abs=1e-9)
    assert server.asked == ["/md17_ethanol.npz"]
    assert (root / "MD17" / "md17_ethanol.npz").is_file()


def test_missing_file(tmp_path, server):
    with pytest.raises(InputError, match=r"aspirin.npz: cannot be downloaded from .*404 .*file= "):
        MD17(tmp_path, "aspirin")


def test_file_of_another_molecule(tmp_path, server):
    with pytest.raises(
        InputError, match="md17_toluene.npz: structure 0 is C2H6O, but toluene is C7H8; it is the"
    ):
        MD17(tmp_path, "toluene")


@pytest.mark.parametrize("layout", [md17, fixed])
def test_file_at_hand(tmp_path, layout):
    path = write(tmp_path / "own.npz", layout())
    dataset = MD17(tmp_path / "data", file=path)
    assert float(dataset[0].energy) == pytest.approx(ENERGY, abs=1e-9)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "arrays", [revised_md17(), fixed(theory="PBE/def2-SVP"), fixed(theory=b"rMD17")]
)
def test_revised_md17_is_another_set(tmp_path, arrays):
    path = write(tmp_path / "own.npz", arrays)
    with pytest.raises(InputError, match="own.npz: is a file of revised MD17, another level of th"):
        MD17(file=path)
    assert len(RevisedMD17(file=path)) == FRAMES


@pytest.mark.parametrize("arrays", [md17(), fixed(theory="DFT PBE+vdW-TS")])
def test_md17_is_not_revised(tmp_path, arrays):
    path = write(tmp_path / "own.npz", arrays)
    with pytest.raises(InputError, match="own.npz: is a file of MD17, another level of theory"):
        RevisedMD17(file=path)
    assert len(MD17(file=path)) == FRAMES


@pytest.mark.parametrize("dataset", [MD17, RevisedMD17])
def test_file_at_hand_of_another_molecule(tmp_path, dataset):
    path = write(tmp_path / "own.npz", fixed())
    with pytest.raises(InputError, match="structure 0 is C2H6O, but aspirin is C9H8O4; it is the"):
        dataset(molecule="aspirin", file=path)
    arrays = ethanol()
    z = np.tile(arrays["z"], (FRAMES, 1))
    z[3, 0] = 7
    path = write(tmp_path / "mixed.npz", fixed(z=None, Z=z))
    with pytest.raises(InputError, match="not all frames are C2H6O, as ethanol is"):
        dataset(file=path)


def test_units_of_a_published_file(tmp_path):
    (tmp_path / "md17_ethanol.npz").write_bytes(md17_npz())
    first = MD17(file=tmp_path / "md17_ethanol.npz")[0]
    assert float(first.energy) == pytest.approx(FIRST, abs=1e-9)
    assert float(first.forces[0, 0]) == pytest.approx(FORCE, abs=1e-8)
    assert float(first.pos[0, 0]) == pytest.approx(0.3252893, abs=1e-7)


def test_units_that_a_file_of_the_format_does_not_state(tmp_path):
    arrays = md17()
    path = write(tmp_path / "own.npz", {**arrays, "E": arrays["E"].ravel()})
    assert float(MD17(file=path)[0].energy) == pytest.approx(ENERGY, abs=1e-9)


def test_same_as_pyg_but_for_its_rounding(tmp_path):
    raw = tmp_path / "ethanol" / "raw"
    raw.mkdir(parents=True)
    (raw / "md17_ethanol.npz").write_bytes(md17_npz())
    theirs = PyGMD17(str(tmp_path), "ethanol")
    ours = MD17(file=raw / "md17_ethanol.npz")
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.z, b.z)
        torch.testing.assert_close(a.pos.float(), b.pos)
        torch.testing.assert_close((a.forces / KCAL_MOL).float(), b.force)
        assert float(a.energy) / KCAL_MOL == pytest.approx(float(b.energy), abs=0.004)
    rounded = np.array([float(b.energy) for b in theirs])
    assert np.abs(ours.get_property("energy").numpy() / KCAL_MOL - rounded).max() > 1e-4


def coupled_cluster(path):
    files = {
        "ethanol_ccsd_t-train.npz": md17_npz(slice(0, 8)),
        "ethanol_ccsd_t-test.npz": md17_npz(slice(8, 12)),
    }
    return write_zip(path / "ethanol_ccsd_t.zip", files)


def test_coupled_cluster_has_its_own_test_frames(tmp_path):
    path = coupled_cluster(tmp_path)
    dataset = MD17(tmp_path, "ethanol_ccsd_t", file=path)
    assert [pool.tolist() for pool in dataset.pools[:2]] == [[*range(8)], [*range(8, 12)]]
    loaders = load_data(
        "MD17", root=tmp_path, molecule="ethanol_ccsd_t", file=path, num_train=6, num_val=2
    )
    energies = dataset.get_property("energy")
    seen = [torch.cat([batch.energy for batch in loader]) for loader in loaders]
    assert sorted(torch.cat(seen[:2]).tolist()) == sorted(energies[:8].tolist())
    assert sorted(seen[2].tolist()) == sorted(energies[8:].tolist())
    message = "MD17 ethanol_ccsd_t: 9 structures asked for where 8 are published for train"
    with pytest.raises(InputError, match=message):
        load_data("MD17", molecule="ethanol_ccsd_t", file=path, root=tmp_path, num_train=9,
                  num_val=0)  # fmt: skip


def test_coupled_cluster_without_test_frames(tmp_path):
    path = write_zip(tmp_path / "ethanol_ccsd_t.zip", {"ethanol_ccsd_t-train.npz": md17_npz()})
    with pytest.raises(InputError, match="has no member 'ethanol_ccsd_t-test.npz'; it is another"):
        MD17(tmp_path, "ethanol_ccsd_t", file=path)


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
    with pytest.raises(InputError, match="unknown molecule 'methanol'; known: benzene, .* toluene"):
        MD17(molecule="methanol")


def test_ten_molecules_of_the_report_and_their_relatives():
    assert sum(facts.frames for facts in list(MOLECULES.values())[:10]) == 3_817_604
    assert set(SOURCE.files) == set(MOLECULES)
    assert SOURCE.files["ethanol"].url.endswith("gdml/data/npz/md17_ethanol.npz")

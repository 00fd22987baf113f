import pytest
import torch
from ase.build import bulk, molecule
from torch_geometric.data import Batch

from benchmarks.speed import peers
from schnetgeo.data import from_ase, with_edges
from schnetgeo.nn import SchNet
from schnetgeo.potential import Potential
from tests.nn.weights import randomize

MOLECULES = ("H2O", "CH3CH2OH", "C6H6", "SiH4", "isobutane", "LiH")
SETTINGS = {
    "pyg": dict(num_basis=50, cutoff=10.0),
    "schnetpack": dict(num_basis=20, cutoff=5.0),
}


def structures(*names):
    data = []
    for seed, name in enumerate(names):
        atoms = molecule(name)
        atoms.rattle(0.05, seed=seed)
        data.append(from_ase(atoms))
    return Batch.from_data_list(data)


@pytest.fixture(scope="module", params=["pyg", "schnetpack"])
def pair(request):
    """A potential of ours and the peer with the same weights, both in float64."""
    if request.param == "schnetpack":
        peers.provide_removed_names()
        pytest.importorskip(
            "schnetpack", reason="SchNetPack is installed by `make peers`", exc_type=ImportError
        )
    ours = randomize(SchNet.preset(request.param).double(), seed=3)
    build = getattr(peers, f"{request.param}_schnet")
    theirs = build(dtype=torch.float64, **SETTINGS[request.param]).eval()
    getattr(peers, f"copy_to_{request.param}")(ours, theirs)
    return Potential(ours, filters="exact").eval(), theirs


def assert_equal(pair, data):
    data = with_edges(data, pair[0].model.cutoff)
    energy, forces = peers.energy_and_forces(pair[0], data)
    their_energy, their_forces = peers.energy_and_forces(pair[1], data)
    assert their_energy.dtype == their_forces.dtype == torch.float64
    assert their_forces.abs().max() > 1e-6
    torch.testing.assert_close(energy, their_energy, rtol=1e-10, atol=0)
    largest = float(their_forces.abs().max())
    torch.testing.assert_close(forces, their_forces, rtol=0, atol=1e-10 * largest)


@pytest.mark.parametrize("name", MOLECULES)
def test_molecule_equals_peer(pair, name):
    assert_equal(pair, structures(name))


def test_batch_equals_peer(pair):
    assert_equal(pair, structures(*MOLECULES, "H2O"))


@pytest.mark.parametrize("pair", ["schnetpack"], indirect=True)
def test_crystals_equal_peer(pair):
    """SchNetPack's alone, as PyG's SchNet knows no periodic images."""
    atoms = bulk("NaCl", "rocksalt", a=5.64) * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    assert_equal(pair, Batch.from_data_list([from_ase(atoms), from_ase(bulk("Si"))]))


def test_gradients_of_the_force_loss_equal_peer(pair):
    """What training on forces descends along, the sum over all parameters of both models."""
    data = with_edges(structures("CH3CH2OH", "H2O"), pair[0].model.cutoff)
    gradients = []
    for model in pair:
        model.train()
        energy, forces = peers.energy_and_forces(model, data)
        (forces.square().sum() + 0.01 * energy.square().sum()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        model.zero_grad()
        model.eval()
    ours, theirs = (g.abs().sort().values for g in gradients)  # their order differs
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10 * float(theirs.max()))


def test_copy_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"mlp.0.weight: \(128, 20\) into \(128, 50\)"):
        peers.copy_to_pyg(SchNet.preset("pyg", num_basis=20), peers.pyg_schnet())
    with pytest.raises(ValueError, match="no weights for interactions.5"):
        peers.copy_to_pyg(SchNet.preset("pyg", num_layers=5), peers.pyg_schnet())


def test_peers_leave_the_default_type_alone():
    peers.pyg_schnet(channels=4, num_layers=1, dtype=torch.float64)
    assert torch.get_default_dtype() == torch.float32

import pytest
import torch
from torch_geometric.nn.models import SchNet as PyGSchNet

import schnetgeo as sg
from schnetgeo.interop import from_pyg, read, to_pyg
from schnetgeo.nn import MeanReadout, StepCutoff
from schnetgeo.units import HARTREE
from tests.interop.structures import AllPairs, assert_equal, rattled
from tests.nn.weights import randomize

CUTOFF = 5.3  # no number of float32
VARIANTS = {
    "plain": {},
    "mean": {"readout": "mean"},
    "statistics": {"mean": -3.2, "std": 1.7, "atomref": 20 * torch.randn(100, 1)},
    "more filters": {"hidden_channels": 16, "num_filters": 24},
    "fewer filters": {"hidden_channels": 24, "num_filters": 16},
}
DTYPES = torch.float64, torch.float32


def peer(dtype=torch.float64, **options):
    """A SchNet as users have it: made in float32, with other random numbers everywhere."""
    graph = AllPairs(CUTOFF)
    usual = dict(hidden_channels=16, num_filters=16, num_interactions=2, cutoff=CUTOFF)
    net = PyGSchNet(**{**usual, "interaction_graph": graph, **options})
    return randomize(net, seed=2).to(dtype).eval()


def trained(net):
    """The same after steps of Adam in float32 on energies, with its own code alone."""
    net, data = net.float(), rattled(torch.float32)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(30):
        error = net(data.z, data.pos, data.batch).flatten() - torch.tensor([-3.0, 2.0, 5.0])
        optimizer.zero_grad()
        error.square().sum().backward()
        optimizer.step()
    return net.eval()


def energy_and_forces(net, data):
    pos = data.pos.clone().requires_grad_()
    energy = net(data.z, pos, data.batch)
    return energy, -torch.autograd.grad(energy.sum(), pos)[0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_object_equals_source(name, dtype):
    net, data = peer(dtype, **VARIANTS[name]), rattled(dtype)
    assert_equal(from_pyg(net, "eV"), *energy_and_forces(net, data), data)


@pytest.mark.parametrize("name", ["plain", "statistics"])
def test_file_equals_source(tmp_path, name):
    net, data = peer(**VARIANTS[name]), rattled(torch.float64)
    torch.save(net, tmp_path / "model.pt")
    assert_equal(read(tmp_path / "model.pt", "eV"), *energy_and_forces(net, data), data)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_trained_weights_equal_source(dtype):
    net, data = trained(peer()).to(dtype), rattled(dtype)
    assert_equal(from_pyg(net, "eV"), *energy_and_forces(net, data), data)


def test_state_dict_equals_source(tmp_path):
    """Statistics are not in it, and are said; the cutoff is the last center's decimal."""
    net, data = peer(mean=-3.2, std=1.7), rattled(torch.float64)
    state = net.state_dict()
    potential = from_pyg(state, "eV", mean=-3.2, std=1.7)
    assert potential.model.cutoff == CUTOFF
    assert_equal(potential, *energy_and_forces(net, data), data)
    net.mean = net.std = None
    torch.save(state, tmp_path / "weights.pt")
    assert_equal(read(tmp_path / "weights.pt", "eV"), *energy_and_forces(net, data), data)


def test_dipole_equals_source():
    net, data = peer(dipole=True), rattled(torch.float64)
    net.scale = 4.8
    target = sg.Target("mu", "e*Angstrom", extensive=False)
    potential = from_pyg(net, "e*Angstrom", target)
    potential.filters = "exact"
    expected = net(data.z, data.pos, data.batch).detach().flatten()
    torch.testing.assert_close(potential(data)["mu"], expected, rtol=1e-10, atol=0)


def test_unit_is_asked_for_and_converted():
    net, data = peer(), rattled(torch.float64)
    with pytest.raises(sg.InputError, match="unit: the file does not say"):
        from_pyg(net)
    with pytest.raises(sg.InputError, match="Debye"):
        from_pyg(net, "Debye")
    energies = [from_pyg(net, unit)(data).energy for unit in ("eV", "Hartree")]
    torch.testing.assert_close(energies[1], energies[0] * HARTREE)


def test_saved_and_loaded_with_its_centers(tmp_path):
    potential = from_pyg(peer(torch.float32), "eV")
    potential.save(tmp_path / "ours.safetensors")
    loaded = sg.load(tmp_path / "ours.safetensors")
    assert torch.equal(loaded.model.basis.centers, potential.model.basis.centers)
    assert loaded.model.basis.exponents.dtype == torch.float64
    data = rattled(torch.float32)
    assert torch.equal(loaded(data).forces, potential(data).forces)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_engine_runs_it_fast(dtype):
    potential, data = from_pyg(peer(dtype), "eV"), rattled(dtype)
    assert potential.reading() is not None
    spline = potential(data).forces
    potential.filters = "exact"
    assert (potential(data).forces - spline).abs().max() < 1e-4 * spline.abs().max()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("readout", [sg.nn.SumReadout, MeanReadout])
def test_export_equals_potential(dtype, readout):
    model = randomize(sg.SchNet(16, 2, 20, CUTOFF, gamma=8.0, readout=readout, readout_channels=7))
    references = 30 * torch.randn(100, generator=torch.Generator().manual_seed(1)).double()
    target = sg.Target("energy", "eV", extensive=readout is sg.nn.SumReadout)
    potential = sg.Potential(model.to(dtype), references, 1.7, targets=[target]).eval()
    net, data = to_pyg(potential), rattled(dtype)
    net.interaction_graph = AllPairs(CUTOFF)
    assert_equal(potential, *energy_and_forces(net, data), data)
    again = from_pyg(net, "eV")
    assert_equal(again, *energy_and_forces(net, data), data)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cutoff_fn": StepCutoff}, "StepCutoff"),
        ({"filter_last_activation": True}, "filter_last_activation"),
        ({"basis": sg.BesselBasis(8, 5.0)}, "BesselBasis"),
        ({"readout_activation": torch.nn.SiLU}, "SiLU of the readout"),
    ],
)
def test_export_refuses_what_has_no_counterpart(options, reason):
    with pytest.raises(sg.InputError, match=f"to_pyg: .*{reason}"):
        to_pyg(sg.Potential(sg.SchNet(8, 1, cutoff=5.0, **options)))


def test_other_models_are_refused():
    with pytest.raises(sg.InputError, match="distance_expansion.offset is missing"):
        from_pyg({"weight": torch.ones(2)}, "eV")
    state = peer().state_dict()
    state["interactions.0.gate.weight"] = torch.ones(2)
    with pytest.raises(sg.InputError, match="interactions.0.gate.weight, which is not known"):
        from_pyg(state, "eV")

import re

import pytest
import torch

import schnetgeo as sg
from schnetgeo.interop import from_torchmdnet, read
from tests.interop.structures import assert_equal, rattled
from tests.interop.torchmdnet import energy, graph_network

CUTOFF = 5.3
CASES = [("gauss", "ssp", "sum"), ("gauss", "silu", "mean"), ("expnorm", "silu", "sum")]
DTYPES = torch.float64, torch.float32


def energy_and_forces(net, data):
    pos = data.pos.clone().requires_grad_()
    result = energy(net, data.z, pos, data.batch)
    return result, -torch.autograd.grad(result.sum(), pos)[0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_object_equals_formulas(case, dtype):
    torch.manual_seed(0)
    net = graph_network(case[0], case[1], CUTOFF, case[2]).to(dtype)
    data = rattled(dtype)
    assert_equal(from_torchmdnet(net, "eV"), *energy_and_forces(net, data), data)


@pytest.mark.parametrize("case", CASES, ids="-".join)
@pytest.mark.parametrize("old", [False, True], ids=["new", "old names"])
def test_checkpoint_equals_formulas(tmp_path, case, old):
    torch.manual_seed(0)
    rbf, activation, reduce = case
    net = graph_network(rbf, activation, CUTOFF, reduce).double()
    state = {f"model.{name}": value for name, value in net.state_dict().items()}
    if old:
        state = {re.sub("network.layers", "network", name): v for name, v in state.items()}
    options = dict(
        model="graph-network", rbf_type=rbf, activation=activation, cutoff_upper=CUTOFF,
        cutoff_lower=0.0, neighbor_embedding=False, aggr="add", output_model="Scalar",
        reduce_op=reduce, prior_model=[{"Atomref": {"max_z": 100}}],
    )  # fmt: skip
    torch.save({"state_dict": state, "hyper_parameters": options}, tmp_path / "epoch=3.ckpt")
    data = rattled(torch.float64)
    potential = read(tmp_path / "epoch=3.ckpt", "eV")
    assert_equal(potential, *energy_and_forces(net, data), data)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_neighbor_embedding_equals_formulas(dtype):
    """Its default: expnorm, silu, and a first layer of neighbors; the engine runs it too."""
    torch.manual_seed(0)
    net, data = graph_network("expnorm", "silu", CUTOFF, neighbors=True).to(dtype), rattled(dtype)
    net.mean.zero_()
    potential = from_torchmdnet(net, "eV")
    assert_equal(potential, *energy_and_forces(net, data), data)
    forces = potential(data).forces
    potential.filters = "spline"
    assert potential.reading() is not None
    difference = (potential(data).forces - forces).abs().max()
    assert difference < 1e-4 * forces.abs().max()


def test_constant_of_a_structure_keeps_its_digits(tmp_path):
    """The mean is that of structures, a float64 number also in a float32 model."""
    net = graph_network("gauss", "silu", CUTOFF)
    potential = from_torchmdnet(net, "eV")
    potential.save(tmp_path / "ours.safetensors")
    shift = sg.load(tmp_path / "ours.safetensors").model.readout.shift
    assert shift == float(net.mean) / float(net.std)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model": "tensornet"}, "'tensornet' has no counterpart"),
        ({"aggr": "mean"}, "aggr='mean'"),
        ({"prior_model": ["ZBL"]}, "prior ZBL"),
    ],
)
def test_other_models_are_refused(options, reason):
    usual = dict(model="graph-network", activation="silu", cutoff_upper=CUTOFF, prior_model=None)
    state = graph_network("gauss", "silu", CUTOFF).state_dict()
    with pytest.raises(sg.InputError, match=reason):
        from_torchmdnet({"state_dict": state, "hyper_parameters": usual | options}, "eV")

import pytest
import torch
from torch import nn

import schnetgeo as sg
from benchmarks.speed import peers
from schnetgeo.interop import from_schnetpack, read, to_schnetpack
from schnetgeo.nn import MeanReadout, SumReadout
from tests.interop.structures import assert_equal, rattled
from tests.nn.weights import randomize

peers.provide_removed_names()
spk = pytest.importorskip(
    "schnetpack", reason="SchNetPack is installed by `make peers`", exc_type=ImportError
)
snn = pytest.importorskip("schnetpack.nn")
transform = pytest.importorskip("schnetpack.transform")
CUTOFF = 5.3  # no number of float32
DTYPES = torch.float64, torch.float32


def peer(kind="SchNet", basis=None, cutoff=None, mode="sum", post=(), seed=1, **options):
    """A model as users have it: made in float32, with other random numbers everywhere."""
    from schnetpack.atomistic import Atomwise, Forces, PairwiseDistances
    from schnetpack.model import NeuralNetworkPotential

    parts = (basis or snn.GaussianRBF)(20, CUTOFF), (cutoff or snn.CosineCutoff)(CUTOFF)
    representation = getattr(spk.representation, kind)(16, 2, *parts, **options)
    output = Atomwise(16, output_key="energy", aggregation_mode=mode)
    net = NeuralNetworkPotential(
        representation,
        input_modules=[PairwiseDistances()],
        output_modules=[output, Forces()],
        postprocessors=list(post),
    )
    return randomize(net, seed=seed).eval()


def trained(net):
    """The same after steps of Adam in float32 on energies and forces."""
    data = rattled(torch.float32, CUTOFF)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    net.train()
    for _ in range(20):
        energy, forces = peers.energy_and_forces(net, data)
        loss = (energy - torch.tensor([-3.0, 2.0, 5.0])).square().sum() + forces.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def offsets(extensive=True):
    module = transform.AddOffsets(
        "energy", add_mean=True, add_atomrefs=True, is_extensive=extensive
    )
    module.mean, module.atomref = torch.tensor([-3.21]), 20 * torch.randn(100)
    return module


VARIANTS = {
    "plain": lambda: peer(),
    "shared": lambda: peer(shared_interactions=True),
    "filters": lambda: peer(n_filters=24),
    "mean": lambda: peer(mode="avg"),
    "offsets": lambda: peer(post=[transform.CastTo64(), offsets()]),
    "offsets of a mean": lambda: peer(mode="avg", post=[offsets(False)]),
    "mollifier": lambda: peer(cutoff=snn.MollifierCutoff),
    "bessel": lambda: peer(basis=snn.BesselRBF),
    "centered": lambda: peer(basis=snn.GaussianRBFCentered),
    "activation": lambda: peer(activation=nn.SiLU()),
    "PaiNN": lambda: peer("PaiNN"),
    "PaiNN bessel": lambda: peer("PaiNN", basis=snn.BesselRBF),
    "PaiNN shared": lambda: peer("PaiNN", shared_filters=True, shared_interactions=True),
}


def assert_equals_peer(potential, net, dtype):
    data = rattled(dtype, potential.model.cutoff)
    assert_equal(potential, *peers.energy_and_forces(net, data), data)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_object_equals_source(name, dtype):
    net = VARIANTS[name]().to(dtype)
    assert_equals_peer(from_schnetpack(net, "eV"), net, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["SchNet", "PaiNN"])
def test_trained_weights_equal_source(kind, dtype):
    net = trained(peer(kind)).to(dtype)
    assert_equals_peer(from_schnetpack(net, "eV"), net, dtype)


@pytest.mark.parametrize("name", ["offsets", "PaiNN"])
def test_best_model_equals_source(tmp_path, name):
    net = VARIANTS[name]().double()
    torch.save(net, tmp_path / "best_model")
    potential = read(tmp_path / "best_model", "eV")
    assert potential.notes == {"source": f"SchNetPack {net.spk_version}"}
    assert_equals_peer(potential, net, torch.float64)


def test_checkpoint_equals_source(tmp_path):
    """The module among the hyperparameters says what is built, the state dict its weights."""
    net, before = VARIANTS["offsets"]().double(), peer(post=[offsets()], seed=5)
    state = {f"model.{name}": value for name, value in net.state_dict().items()}
    state = {name.replace("postprocessors.1", "postprocessors.0"): v for name, v in state.items()}
    content = {"state_dict": state, "hyper_parameters": {"model": before}, "epoch": 3}
    torch.save(content, tmp_path / "last.ckpt")
    assert_equals_peer(read(tmp_path / "last.ckpt", "eV"), net, torch.float64)


@pytest.mark.parametrize("name", ["plain", "PaiNN", "offsets"])
def test_state_dict_equals_source(name):
    net = VARIANTS[name]().double()
    assert_equals_peer(from_schnetpack(net.state_dict(), "eV"), net, torch.float64)


EXPORTS = {
    "SchNet": lambda: sg.SchNet(16, 2, 20, CUTOFF, gamma=8.0, readout_channels=7),
    "mean": lambda: sg.SchNet(16, 2, 20, CUTOFF, readout=MeanReadout, activation=nn.SiLU),
    "bessel": lambda: sg.SchNet(16, 2, basis=sg.BesselBasis(8, CUTOFF), cutoff=CUTOFF),
    "PaiNN": lambda: sg.PaiNN(16, 2, 20, CUTOFF, max_z=10),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", EXPORTS)
def test_export_equals_potential(name, dtype):
    model = randomize(EXPORTS[name]()).to(dtype)
    target = sg.Target("energy", "eV", extensive=type(model.readout) is SumReadout)
    generator = torch.Generator().manual_seed(1)
    references = 30 * torch.randn(model.max_z, generator=generator).double()
    potential = sg.Potential(model, references, 1.7, targets=[target]).eval()
    net = to_schnetpack(potential)
    assert_equals_peer(potential, net, dtype)
    again = from_schnetpack(net, "eV")
    assert_equals_peer(again, net, dtype)


def test_unknown_version_is_named(tmp_path):
    net = peer()
    net.spk_version = "3.4.1"
    torch.save(net, tmp_path / "best_model")
    with pytest.raises(sg.InputError, match=r"best_model: .*SchNetPack 3.4.1; known are"):
        read(tmp_path / "best_model", "eV")


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: peer(post=[offsets(False)]), "is_extensive"),
        (lambda: peer(activation=torch.relu), "activation 'relu'"),
        (lambda: peer("PaiNN", activation=torch.tanh), "PaiNN with Tanh"),
    ],
)
def test_other_parts_are_refused(build, reason):
    with pytest.raises(sg.InputError, match=reason):
        from_schnetpack(build(), "eV")


def test_other_cutoff_functions_are_refused():
    net = peer()
    net.representation.cutoff_fn = snn.SwitchFunction(1.0, CUTOFF)
    with pytest.raises(sg.InputError, match="cutoff_fn SwitchFunction"):
        from_schnetpack(net, "eV")

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch import nn
from torch_geometric.data import Batch

from schnetgeo.data import from_ase, neighbor_list, with_edges
from schnetgeo.errors import InputError
from schnetgeo.nn import (
    Baseline,
    CFConv,
    CosineCutoff,
    EdgeFeatures,
    MeanReadout,
    RadialConv,
    SchNet,
    ShiftedSoftplus,
    StepCutoff,
    SumReadout,
    num_parameters,
)
from tests import numpy_schnet
from tests.nn.weights import randomize

# channels, layers, functions, cutoff, γ, envelope, activated filters, hidden, its activation, zero
PUBLISHED = {
    "paper2017": (64, 3, 300, 30.0, 10.0, StepCutoff, True, 32, ShiftedSoftplus, True),
    "jcp2018": (64, 6, 200, 20.0, 10.0, StepCutoff, True, 32, ShiftedSoftplus, True),
    "schnetpack": (128, 6, 20, 5.0, 7.22, CosineCutoff, False, 64, nn.SiLU, False),
    "pyg": (128, 6, 50, 10.0, 12.005, CosineCutoff, False, 64, ShiftedSoftplus, False),
    "torchmd_gn": (128, 6, 50, 5.0, 48.02, CosineCutoff, False, 64, ShiftedSoftplus, False),
}


class Gate(RadialConv):
    """A layer as a user would write it."""

    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)

    def message(self, x_i, x_j, edge_attr):
        return torch.tanh(x_i) * x_j * self.filter(edge_attr)


def rattled(name_or_atoms, seed=0):
    atoms = molecule(name_or_atoms) if isinstance(name_or_atoms, str) else name_or_atoms
    atoms.rattle(0.1, seed=seed)
    return atoms


def small(**changes):
    settings = dict(channels=16, num_layers=2, num_basis=10, cutoff=5.0)
    return randomize(SchNet(**{**settings, **changes}).double(), seed=1)


def assert_equals_numpy(preset, atoms):
    model = randomize(SchNet.preset(preset).double(), seed=2)
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    expected = numpy_schnet.energy(
        weights,
        numpy_schnet.VARIANTS[preset],
        atoms.numbers,
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
    )
    energy = model(from_ase(atoms))
    assert energy.dtype == torch.float64
    assert energy.shape == (1,)
    assert float(energy) == pytest.approx(expected, rel=1e-10, abs=0)


@pytest.mark.parametrize("name", ["H2O", "CH3CH2OH", "SiH4", "O"])
@pytest.mark.parametrize("preset", PUBLISHED)
def test_molecule_equals_numpy(preset, name):
    assert_equals_numpy(preset, rattled(name))


@pytest.mark.parametrize("preset", ["schnetpack", "torchmd_gn"])
def test_crystal_equals_numpy(preset):
    assert_equals_numpy(preset, rattled(bulk("NaCl", "rocksalt", a=5.64)))


def test_slab_equals_numpy():
    slab = rattled(bulk("Al", cubic=True))
    slab.pbc = (True, True, False)
    assert_equals_numpy("schnetpack", slab)


def test_all_presets_are_checked():
    assert SchNet.presets.keys() == PUBLISHED.keys() == numpy_schnet.VARIANTS.keys()


@pytest.mark.parametrize("preset", PUBLISHED)
def test_preset_is_as_published(preset):
    model = SchNet.preset(preset)
    readout = model.readout
    first = model.interactions[0]
    settings = (
        model.embedding.embedding_dim,
        len(model.interactions),
        model.basis.num_basis,
        model.cutoff,
        pytest.approx(model.basis.gamma, rel=1e-12),
        type(model.cutoff_fn),
        isinstance(first.conv.filter[-1], ShiftedSoftplus),
        readout.lin1.out_features,
        type(readout.activation),
        not readout.lin2.weight.any(),
    )
    assert settings == PUBLISHED[preset]
    assert model.basis.cutoff == model.cutoff_fn.cutoff == model.cutoff
    assert model.embedding.weight.shape == (100, PUBLISHED[preset][0])
    assert type(readout) is SumReadout
    for interaction in model.interactions:
        assert type(interaction.conv) is CFConv
        assert interaction.lin1.bias is None
        assert interaction.lin2.bias is not None
        assert isinstance(interaction.activation, ShiftedSoftplus)
        assert isinstance(interaction.conv.filter[1], ShiftedSoftplus)


@pytest.mark.parametrize("preset", ["paper2017", "jcp2018"])
def test_papers_start_from_zero(preset):
    assert SchNet.preset(preset)(from_ase(molecule("CH4"))) == 0


def test_preset_with_changes():
    model = SchNet.preset("pyg", cutoff=6.0, channels=32)
    assert (model.cutoff, model.basis.cutoff, model.cutoff_fn.cutoff) == (6.0, 6.0, 6.0)
    assert model.readout.lin1.out_features == 16
    assert model.basis.gamma == pytest.approx(0.5 * (49 / 6) ** 2)


@pytest.mark.parametrize(
    ("channels", "num_layers", "num_basis", "expected"),
    [(64, 3, 300, 116_225), (32, 1, 150, 13_345), (128, 6, 600, 874_817)],
)
def test_number_of_parameters_is_that_of_the_report(channels, num_layers, num_basis, expected):
    model = SchNet.preset(
        "paper2017", channels=channels, num_layers=num_layers, num_basis=num_basis, in_bias=True
    )
    assert num_parameters(model) == expected


def test_number_of_parameters_of_the_baseline():
    assert num_parameters(Baseline()) == 1_160


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"num_basis": 1}, "num_basis must be at least 2 .* got 1"),
        ({"cutoff": 0.0}, "cutoff must be a positive distance in Å, got 0.0"),
        ({"cutoff": float("inf")}, "cutoff must be .* got inf"),
        ({"gamma": -10.0}, "gamma must be a positive exponent in Å⁻², got -10.0"),
        ({"readout_channels": 0}, "readout_channels must be at least 1, got 0"),
        ({"max_z": 0}, "max_z must be at least 1, got 0"),
        (
            {"conv": Gate, "filter_last_activation": True},
            "filter_last_activation belongs to CFConv, but conv is Gate",
        ),
    ],
)
def test_refused_arguments(changes, message):
    with pytest.raises(InputError, match=message):
        SchNet(**changes)


def test_unknown_preset_names_the_known():
    with pytest.raises(InputError, match="unknown preset 'schnet'; known: paper2017, jcp2018, "):
        SchNet.preset("schnet")


def test_one_channel_keeps_a_readout():
    model = randomize(SchNet(channels=1, num_layers=1))
    energies = [float(model(from_ase(molecule(name)))) for name in ("H2O", "CO2")]
    assert energies[0] != energies[1]


def test_initial_embedding_has_unit_width():
    torch.manual_seed(0)
    assert float(SchNet(channels=64).embedding.weight.std()) == pytest.approx(1, rel=0.05)


def test_user_conv_plugs_in():
    model = small(conv=Gate)
    assert [type(i.conv) for i in model.interactions] == [Gate, Gate]
    data = from_ase(rattled("CH3CH2OH"))
    stretched = data.clone()
    stretched.pos = 1.1 * data.pos
    assert (model(data) - model(stretched)).abs() > 1e-3
    far = data.clone()
    far.pos = 100 * data.pos
    alone = sum(model(from_ase(Atoms(atom))) for atom in molecule("CH3CH2OH").symbols)
    torch.testing.assert_close(model(far), alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize("conv", [Gate, CFConv])
def test_conv_sums_weighted_messages(conv):
    """Against a loop over the edges, one of them repeated, with an atom that has none."""
    torch.set_default_dtype(torch.float64)
    try:
        layer = randomize(conv(4, 3))
        x, edge_weight, edge_attr = torch.randn(5, 4), torch.rand(6), torch.rand(6, 3)
    finally:
        torch.set_default_dtype(torch.float32)
    edge_index = torch.tensor([[1, 2, 2, 0, 3, 0], [0, 0, 0, 1, 1, 3]])
    expected = torch.zeros_like(x)
    for (j, i), weight, basis in zip(edge_index.T.tolist(), edge_weight, edge_attr, strict=True):
        gate = torch.tanh(x[i]) if conv is Gate else 1.0
        expected[i] += weight * gate * x[j] * layer.filter(basis)
    edges = EdgeFeatures(edge_index, edge_weight, edge_attr, torch.zeros(6, 3))
    torch.testing.assert_close(layer(x, edges), expected)
    assert not layer(x, edges)[[2, 4]].any()


def test_activation_reaches_every_layer_but_not_a_user_conv():
    model = SchNet(channels=8, num_layers=1, activation=nn.Tanh)
    activations = [m for m in model.modules() if isinstance(m, nn.Tanh | ShiftedSoftplus)]
    assert [type(m) for m in activations] == 3 * [nn.Tanh]


def test_mean_readout_divides_by_the_number_of_atoms():
    batch = Batch.from_data_list([from_ase(rattled(n)) for n in ("H2O", "CH3CH2OH", "O")])
    total = small(readout=SumReadout)(batch)
    mean = small(readout=MeanReadout)(batch)
    torch.testing.assert_close(mean, total / torch.tensor([3.0, 9, 1]).double())
    assert (total[1] - mean[1]).abs() > 1e-3


@pytest.mark.parametrize("preset", PUBLISHED)
def test_edges_beyond_the_cutoff_change_nothing(preset):
    """A longer list of neighbors, as kept with a skin, gives the same energy."""
    model = randomize(SchNet.preset(preset, cutoff=3.0, num_layers=1).double())
    data = from_ase(rattled("C6H6"))
    longer = with_edges(data, 6.0)
    assert longer.num_edges > neighbor_list(data, 3.0)[0].size(1)
    torch.testing.assert_close(model(longer), model(data), rtol=1e-13, atol=0)


def test_smooth_at_the_cutoff():
    """Energy and slope of a dimer go to those of two atoms apart, with an envelope."""
    model = small()

    def energy(distance):
        return float(model(from_ase(Atoms("CO", [[0, 0, 0], [0, 0, distance]]))))

    apart = energy(5.0)
    assert apart == energy(7.0)
    assert 0 < abs(energy(5.0 - 1e-3) - apart) < 1e-6
    assert abs(energy(3.0) - apart) > 1e-4


def rotated(data):
    """The same molecule, turned about an axis in general position."""
    turn = torch.linalg.matrix_exp(
        torch.tensor([[0, -0.7, 0.4], [0.7, 0, -1.1], [-0.4, 1.1, 0]], dtype=torch.float64)
    )
    out = data.clone()
    out.pos = data.pos @ turn.T
    return out


def shifted(data):
    out = data.clone()
    out.pos = data.pos + torch.tensor([0.5, -0.3, 1.0], dtype=torch.float64)
    return out


def renumbered(data):
    atoms = molecule("CH3CH2OH")
    order = np.random.default_rng(0).permutation(len(atoms))
    out = data.clone()
    out.pos, out.z = data.pos[order], data.z[order]
    return out


@pytest.mark.parametrize("moved", [rotated, shifted])
def test_baseline_depends_on_place_and_orientation(moved):
    """As the negative control that it is; SchNet passes where it fails."""
    data = from_ase(molecule("CH3CH2OH"))
    baseline = randomize(Baseline().double())
    assert (baseline(moved(data)) - baseline(data)).abs() > 1e-2
    torch.testing.assert_close(small()(moved(data)), small()(data), rtol=1e-11, atol=0)


def test_baseline_does_not_depend_on_numbering():
    data = from_ase(molecule("CH3CH2OH"))
    baseline = randomize(Baseline().double())
    torch.testing.assert_close(baseline(renumbered(data)), baseline(data), rtol=1e-12, atol=0)

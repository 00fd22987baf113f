"""PaiNN is that of the paper, as SchNetPack has it, and is physical."""

from functools import partial

import pytest
import torch
from ase.build import bulk, molecule
from hypothesis import given, settings
from torch_geometric.data import Batch

import schnetgeo as sg
from benchmarks.speed import peers
from schnetgeo.data import from_ase, with_edges
from schnetgeo.nn import EdgeFeatures, GaussianBasis, MeanReadout, PolynomialCutoff
from schnetgeo.nn.painn import PaiNNConv
from tests.nn.weights import randomize
from tests.structures import clusters, crystals

SMALL = dict(channels=8, num_layers=2, num_basis=6, cutoff=4.0)


def small(**changes):
    return randomize(sg.PaiNN(**{**SMALL, **changes}).double(), seed=1)


def rattled(atoms, seed=0):
    atoms = molecule(atoms) if isinstance(atoms, str) else atoms
    atoms.rattle(0.1, seed=seed)
    return from_ase(atoms)


@pytest.fixture(scope="module")
def pair():
    """A potential of ours and SchNetPack's with the same weights, both in float64."""
    peers.provide_removed_names()
    pytest.importorskip("schnetpack", reason="installed by `make peers`", exc_type=ImportError)
    basis = GaussianBasis(20, 5.0)
    ours = randomize(sg.PaiNN(channels=32, num_layers=3, basis=basis).double(), seed=3)
    theirs = peers.schnetpack_painn(channels=32, dtype=torch.float64).eval()
    peers.copy_to_schnetpack_painn(ours, theirs)
    return sg.Potential(ours, filters="exact").eval(), theirs


@pytest.mark.parametrize("training", [False, True])
def test_equals_schnetpack(pair, training):
    """Energies, forces and, in training, gradients of a loss on both, molecules and crystals."""
    structures = [rattled(n, k) for k, n in enumerate(("H2O", "CH3CH2OH", "C6H6", "LiH"))]
    structures.append(rattled(bulk("NaCl", "rocksalt", a=5.64) * (2, 1, 1)))
    data = with_edges(Batch.from_data_list(structures), 5.0)
    results = []
    for model in pair:
        model.train(training)
        energy, forces = peers.energy_and_forces(model, data)
        results.append([energy.detach(), forces.detach()])
        if training:
            (forces.square().sum() + 0.01 * energy.square().sum()).backward()
            gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
            results[-1].append(gradients.abs().sort().values)  # their order differs
            model.zero_grad()
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10 * float(theirs.abs().max()))


@pytest.mark.slow
@settings(max_examples=10, deadline=None, derandomize=True)
@given(atoms=clusters(7) | crystals(3))
def test_vector_features_turn_with_the_structure(atoms):
    data, model = with_edges(from_ase(atoms), 4.0), small()
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())
    edges = model.edge_features(data)
    turned = edges._replace(edge_unit=edges.edge_unit @ q)
    (x, v), (y, w) = (_features(model, data.z, e) for e in (edges, turned))
    torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.einsum("ncf,cd->ndf", v, q), w, rtol=1e-10, atol=1e-10)


def _features(model, z, edges):
    x, v = model.embedding(z), None
    for interaction in model.interactions:
        x, v = interaction(x, v, edges)
    return x, v


def test_angles_count():
    """Same distances of neighbors, other angles: what SchNet sees of one layer stays the same."""
    bent, straight = molecule("H2O"), molecule("H2O")
    length = bent.get_distance(0, 1)
    straight.positions = [[0, 0, 0], [length, 0, 0], [-length, 0, 0]]
    model = sg.PaiNN(channels=8, num_layers=1, cutoff=1.2).double()
    energies = [randomize(model, 0)(from_ase(atoms)) for atoms in (bent, straight)]
    assert abs(energies[0] - energies[1]) > 1e-4


def test_messages_against_a_loop_over_edges():
    torch.manual_seed(0)
    conv = randomize(PaiNNConv(4, 3)).double()
    phi, v = torch.randn(3, 12).double(), torch.randn(3, 3, 4).double()
    edges = EdgeFeatures(
        torch.tensor([[1, 2, 0, 2], [0, 0, 1, 1]]), torch.rand(4).double(),
        torch.rand(4, 3).double(), torch.nn.functional.normalize(torch.randn(4, 3).double()),
    )  # fmt: skip
    for vectors in (v, None):
        scalars, out = torch.zeros(3, 4).double(), torch.zeros(3, 3, 4).double()
        for (j, i), f, e, u in zip(edges[0].T.tolist(), *edges[1:], strict=True):
            s, a, b = (phi[j] * conv.filter(e)).chunk(3)
            scalars[i] += f * s
            out[i] += f * torch.outer(u, a)
            if vectors is not None:
                out[i] += f * b * v[j]
        found = conv(phi, edges, vectors)
        torch.testing.assert_close(found, (scalars, out), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, dict(basis=GaussianBasis(6, 4.0)), dict(cutoff_fn=partial(PolynomialCutoff, exponent=5)),
     dict(readout=MeanReadout, activation=torch.nn.Tanh, num_layers=1)],
    ids=["plain", "gaussians", "polynomial", "mean"],
)  # fmt: skip
def test_is_physical_and_can_be_saved(changes, tmp_path):
    model = small(**changes)
    report = sg.testing.check_potential(model)
    skipped = {r.name for r in report.results if r.status == "skipped"}
    assert skipped <= {"fast path"} | ({"extensive"} if "readout" in changes else set())
    potential, data = sg.Potential(model).eval(), rattled("CH3OH")
    potential.save(tmp_path / "model.safetensors")
    loaded = sg.load(tmp_path / "model.safetensors")
    assert torch.equal(loaded(data).forces, potential(data).forces)


def test_preset_and_arguments():
    model = sg.PaiNN.preset("painn2021", channels=16)
    assert (len(model.interactions), model.basis.num_basis, model.cutoff) == (3, 20, 5.0)
    with pytest.raises(sg.InputError, match="channels must be a whole number"):
        sg.PaiNN(channels=1.5)
    with pytest.raises(sg.InputError, match="unknown preset 'pyg'; known: painn2021"):
        sg.PaiNN.preset("pyg")

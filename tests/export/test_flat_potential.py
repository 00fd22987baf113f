"""The flat module that files for other programs hold."""

import pytest
import torch
from ase.build import bulk
from torch import Tensor

import schnetgeo as sg
from schnetgeo.data.coverage import Coverage
from schnetgeo.export.flat_potential import FlatPotential, straight_code
from schnetgeo.geometry import edge_vectors
from schnetgeo.nn import SchNet
from schnetgeo.nn.readout import MeanReadout
from schnetgeo.targets import Target
from tests.engine.potentials import MODELS, exact, potential_of, rattled


def graph(atoms, cutoff: float, dtype=torch.float64) -> tuple[Tensor, ...]:
    """Atomic numbers, targets, sources and vectors of edges."""
    data = sg.from_ase(atoms)
    data.edge_index, data.edge_shift = sg.neighbor_list(data, cutoff)
    return data.z, data.edge_index[1], data.edge_index[0], edge_vectors(data).to(dtype)


def predicted(module, z, target, source, vectors) -> tuple[Tensor, Tensor, Tensor]:
    """Energy, forces and ∂E/∂strain."""
    vectors = vectors.clone().requires_grad_()
    energy = module(z, target, source, vectors).sum()
    (g,) = torch.autograd.grad(energy, vectors)
    forces = torch.zeros(len(z), 3, dtype=g.dtype).index_add(0, target, g)
    return energy.detach(), forces.index_add(0, source, -g), g.t() @ vectors.detach()


def covered(potential, *elements: int):
    """The potential, as if trained on these elements alone."""
    counts = torch.zeros(119, dtype=torch.long)
    counts[list(elements)] = 1
    potential.trained_on = Coverage(counts, None)
    return potential


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("atoms", ["CH3CH2OH", "crystal"])
def test_equals_the_model(name, atoms):
    """With exact filters, for every model that the engine reads; as module and as script."""
    potential = potential_of(name).eval()
    atoms = rattled(bulk("Al", cubic=True) * (2, 1, 1) if atoms == "crystal" else atoms)
    flat = FlatPotential(potential, 1e-9)
    expected = exact(potential)(sg.from_ase(atoms), stress=bool(atoms.pbc.any()))
    inputs = graph(atoms, potential.model.cutoff)
    for module in (flat, torch.jit.script(straight_code(flat))):
        energy, forces, virial = predicted(module, *inputs)
        assert float(energy) == pytest.approx(float(expected.energy), abs=1e-9)
        torch.testing.assert_close(forces, expected.forces, rtol=0, atol=1e-8)
        if expected.stress is not None:
            stress = virial / atoms.get_volume()
            torch.testing.assert_close(stress, expected.stress[0], rtol=0, atol=1e-9)


def test_float32():
    potential = potential_of("PaiNN").eval().float()
    flat = FlatPotential(potential)
    atoms = rattled("CH3CH2OH")
    energy, forces, _ = predicted(flat, *graph(atoms, 4.0, torch.float32))
    expected = exact(potential_of("PaiNN").eval())(sg.from_ase(atoms))
    assert energy.dtype == torch.float64
    assert float(energy) == pytest.approx(float(expected.energy), abs=1e-5)
    torch.testing.assert_close(forces.double(), expected.forces, rtol=0, atol=1e-4)


def test_edges_beyond_the_cutoff_count_nothing():
    """They come from lists with a skin, of other programs."""
    flat, atoms = FlatPotential(potential_of().eval()), rattled("CH3CH2OH")
    short, long = (predicted(flat, *graph(atoms, cutoff)) for cutoff in (4.0, 40.0))
    for one, other in zip(short, long, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    z = torch.tensor([6, 6])
    far = predicted(flat, z, torch.tensor([0, 1]), torch.tensor([1, 0]), torch.full((2, 3), 1e9))
    assert not far[1].any()


def test_unseen_elements_are_nan():
    flat = FlatPotential(covered(potential_of().eval(), 1, 6))
    assert flat.facts.as_text()["elements"] == "H C"
    edges = torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([[1.0, 0, 0], [-1, 0, 0]])
    known = predicted(flat, torch.tensor([1, 6]), *edges)
    assert all(value.isfinite().all() for value in known)
    energy, forces, _ = predicted(flat, torch.tensor([1, 8]), *edges)
    assert energy.isnan()
    assert forces.isnan().all()


def test_what_cannot_be_exported_is_refused():
    potential = potential_of().eval()
    with pytest.raises(sg.InputError, match="ensemble.*one by one"):
        FlatPotential(sg.Ensemble([potential, potential_of().eval()]))
    with pytest.raises(sg.InputError, match=r"schnetgeo\.Potential, got TabulatedPotential"):
        FlatPotential(potential.tabulate())
    dipole = sg.Potential(SchNet(channels=8, num_layers=1), targets=[Target("gap", "eV")])
    with pytest.raises(sg.InputError, match="gap"):
        FlatPotential(dipole)
    model = SchNet(channels=8, num_layers=1, readout=MeanReadout)
    mean = sg.Potential(model, targets=[Target("energy", "eV", extensive=False)])
    with pytest.raises(sg.InputError, match="MeanReadout"):
        FlatPotential(mean)
    with pytest.raises(sg.InputError, match="tolerance"):
        FlatPotential(potential.float(), 1e-12)

"""Attributions add up to energies, and are what finite differences say."""

import json

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from torch_geometric.data import Batch

import schnetgeo as sg
from schnetgeo import explain
from schnetgeo.nn import MeanReadout, StepCutoff
from tests.nn.weights import randomize

MODELS = {
    "SchNet": lambda: sg.SchNet(8, 2, 10, 4.0),
    "PaiNN": lambda: sg.PaiNN(8, 2, 10, 4.0),
    "states": lambda: sg.SchNet(8, 1, 10, 4.0, state_embedding=sg.nn.StateEmbedding),
}


def structure(name="CH3CH2OH", seed=1):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=seed)
    return sg.from_ase(atoms)


@pytest.fixture(params=MODELS)
def potential(request):
    model = randomize(MODELS[request.param]().double(), seed=3)
    references = -3.0 * torch.arange(100.0).double()
    return sg.Potential(model, references, 1.7, filters="exact").eval()


def energy(potential, data):
    return float(potential(data, forces=False).energy)


def test_atomic_energies_add_up(potential):
    structures = [structure(), structure("H2O")]
    batch = Batch.from_data_list(structures)
    atoms = explain.atomic_energies(potential, batch)
    total = torch.zeros(2).double().index_add(0, batch.batch, atoms)
    torch.testing.assert_close(total, potential(batch).energy, rtol=0, atol=1e-9)
    learned = explain.atomic_energies(potential, batch, references=False)
    references = potential.atomic_references.values[batch.z]
    torch.testing.assert_close(learned + references, atoms)
    assert learned.std() > 1e-3


def test_atomic_energies_of_a_mean_are_its_terms():
    model = randomize(sg.SchNet(8, 1, 10, 4.0, readout=MeanReadout).double())
    potential = sg.Potential(model, torch.ones(100), 1.7)
    data = structure()
    total = float(explain.atomic_energies(potential, data).sum())
    assert abs(total - energy(potential.eval(), data)) < 1e-4  # through splines


def test_occlusion_is_a_difference_of_energies(potential):
    data = structure()
    values = explain.occlusion(potential, data)
    references = potential.atomic_references.values[data.z]
    for atom in (0, 4, 8):
        keep = torch.arange(9) != atom
        rest = type(data)(z=data.z[keep], pos=data.pos[keep])
        expected = energy(potential, data) - energy(potential, rest) - float(references[atom])
        assert abs(float(values[atom]) - expected) < 1e-9


@pytest.mark.parametrize("name", ["CH3CH2OH", "C6H6", "H2"])
def test_integrated_gradients_add_up_to_the_binding_energy(potential, name):
    data = structure(name)
    pairs = explain.integrated_gradients(potential, data)
    alone = [type(data)(z=data.z[[k]], pos=data.pos[[k]]) for k in range(len(data.z))]
    binding = energy(potential, data) - sum(energy(potential, atom) for atom in alone)
    assert abs(binding) > 1e-5
    assert abs(pairs.total - binding) < 1e-6
    assert abs(pairs.difference - binding) < 1e-9
    assert pairs.index.shape[1] == (torch.pdist(data.pos) < potential.model.cutoff).sum()


def test_integrated_gradients_between_two_geometries(potential):
    """Across the cutoff too; pairs that do not move have nothing."""
    data = structure()
    baseline = data.pos.double().clone()
    baseline[8] += torch.tensor([1.5, -0.7, 0.4])
    pairs = explain.integrated_gradients(potential, data, baseline)
    before = type(data)(z=data.z, pos=baseline)
    change = energy(potential, data) - energy(potential, before)
    assert abs(pairs.total - change) < 1e-6
    if not isinstance(potential.model, sg.PaiNN):
        assert (pairs.index == 8).any(0).all()


def test_integrated_gradients_of_a_pair_is_the_energy_curve(potential):
    """Two atoms have one pair, whose number is the change of energy between two distances."""
    data = sg.from_ase(molecule("H2"))
    longer = data.pos.double() * 1.4
    pairs = explain.integrated_gradients(potential, data, longer)
    change = energy(potential, data) - energy(potential, type(data)(z=data.z, pos=longer))
    assert pairs.value.tolist() == pytest.approx([change], abs=1e-6)


def test_pair_gradients_are_slopes_of_distances(potential):
    """Forces are their sum over pairs, for a model of distances."""
    data = structure()
    pairs = explain.pair_gradients(potential, data)
    if isinstance(potential.model, sg.PaiNN):
        two = sg.from_ase(molecule("H2"))
        slope = explain.pair_gradients(potential, two).value
        along = (two.pos[0] - two.pos[1]).double()
        force = potential(two).forces[0] @ along / along.norm()
        assert float(slope) == pytest.approx(-float(force), abs=1e-9)
        return
    forces = torch.zeros(9, 3).double()
    for (i, j), value in zip(pairs.index.T, pairs.value, strict=True):
        unit = (data.pos[i] - data.pos[j]).double()
        unit /= unit.norm()
        forces[i] -= value * unit
        forces[j] += value * unit
    torch.testing.assert_close(forces, potential(data).forces, rtol=0, atol=1e-9)


def test_filter_curves_are_what_layers_compute(potential):
    distance = torch.linspace(0.5, 4.5, 40).double()
    curves = explain.filter_curves(potential, distance)
    assert len(curves) == len(potential.model.interactions)
    layer = potential.model.interactions[0].conv
    expected = layer.filter(potential.model.basis(distance[:3]))
    expected = expected * potential.model.cutoff_fn(distance[:3])[:, None]
    torch.testing.assert_close(curves["interactions.0.conv"][:3], expected)
    assert (curves["interactions.0.conv"][distance >= 4.0] == 0).all()


def test_a_jump_is_named():
    model = randomize(sg.SchNet(8, 1, 10, 2.0, cutoff_fn=StepCutoff).double())
    with pytest.raises(sg.InputError, match="which jumps at 0.* of the path"):
        explain.integrated_gradients(sg.Potential(model), structure())


@pytest.mark.parametrize("function", [explain.occlusion, explain.pair_gradients])
def test_one_structure_is_asked_for(function):
    batch = Batch.from_data_list([structure(), structure()])
    with pytest.raises(sg.InputError, match="must be one structure"):
        function(sg.Potential(sg.SchNet(8, 1)), batch)


def test_bad_input_is_named():
    potential = sg.Potential(sg.SchNet(8, 1))
    with pytest.raises(sg.InputError, match="must be a molecule, got pbc"):
        explain.integrated_gradients(potential, sg.from_ase(bulk("Si")))
    with pytest.raises(sg.InputError, match=r"baseline must have shape \(9, 3\)"):
        explain.integrated_gradients(potential, structure(), torch.zeros(2, 3))
    dipole = sg.Potential(sg.SchNet(8, 1, readout=sg.nn.DipoleReadout), targets=[_dipole()])
    with pytest.raises(sg.InputError, match="DipoleReadout is no sum or mean"):
        explain.atomic_energies(dipole, structure())
    with pytest.raises(sg.InputError, match="Baseline has no filters"):
        explain.filter_curves(sg.Potential(sg.Baseline(4)), torch.ones(2))


def _dipole():
    return sg.targets.known_target("dipole")


def test_the_potential_is_left_alone(potential):
    data = structure()
    before = potential(data).forces
    explain.integrated_gradients(potential, data)
    explain.occlusion(potential, data)
    assert torch.equal(potential(data).forces, before)
    assert all(parameter.requires_grad for parameter in potential.parameters())
    assert "edge_index" not in data


@pytest.mark.parametrize("kind", ["SchNet", "PaiNN"])
def test_explainer_of_pyg_runs_on_a_model_as_it_is(kind):
    """Masks of edges in explain mode; pairs that are far count less than bonds."""
    from torch_geometric.explain import Explainer, GNNExplainer

    torch.manual_seed(0)
    model = randomize(MODELS[kind]())
    data = sg.data.graph.with_edges(structure(), model.cutoff)

    class Energies(torch.nn.Module):
        """What PyG's Explainer calls: a model of features of atoms and of edges."""

        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x, edge_index, data):
            return self.model(data).reshape(1, 1)

    config = {"mode": "regression", "task_level": "graph", "return_type": "raw"}
    explainer = Explainer(
        Energies(), GNNExplainer(epochs=30), "model", edge_mask_type="object", model_config=config
    )
    mask = explainer(torch.ones(9, 1), data.edge_index, data=data).edge_mask
    assert mask.shape == (data.edge_index.size(1),)
    assert mask.max() > mask.min() >= 0


def test_command_draws_and_writes(tmp_path, capsys):
    from ase.io import write
    from PIL import Image

    from schnetgeo.cli import main

    atoms = molecule("CH3CH2OH")
    write(tmp_path / "a.xyz", atoms)
    model = randomize(MODELS["SchNet"](), seed=3)
    sg.Potential(model).save(tmp_path / "m.safetensors")
    words = "explain", tmp_path / "m.safetensors", tmp_path / "a.xyz", "--out", tmp_path / "a.png"
    main([*map(str, words), "--json", str(tmp_path / "a.json")])
    assert "binding energy" in capsys.readouterr().out
    assert np.asarray(Image.open(tmp_path / "a.png")).std() > 10
    content = json.loads((tmp_path / "a.json").read_text())
    total = sum(content["integrated_gradients_eV"])
    assert total == pytest.approx(content["binding_energy_eV"], abs=1e-6)
    assert len(content["occlusion_eV"]) == 9
    for extra, message in (("--index 7", "has 1 structures"), (f"--out {tmp_path}", "cannot be")):
        with pytest.raises(SystemExit):
            main([*map(str, words[:3]), *extra.split()])
        assert message in capsys.readouterr().err

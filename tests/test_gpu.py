"""What must be the same on a GPU as on the CPU, from the radius graph to a training."""

import copy
import subprocess
import sys

import pytest
import torch
from ase.build import bulk, molecule

import schnetgeo as sg
from schnetgeo.data import neighbor_list, with_edges
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import Demo
from schnetgeo.train import TrainingConfig, evaluate, fit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.fixture
def molecules():
    """Of all sizes: the data set begins with the smallest."""
    demo = Demo("molecules")
    return demo[:: len(demo) // 64]


def rattled_crystals():
    atoms = bulk("MgO", "rocksalt", 4.21, cubic=True)
    slab = atoms.repeat((2, 2, 1))
    slab.pbc = (True, True, False)
    structures = [atoms, slab, atoms.repeat(3), molecule("C6H6", cell=(9, 9, 9), pbc=True)]
    for atoms in structures:
        atoms.rattle(0.1, seed=0)
    return StructureDataset.from_list([sg.from_ase(atoms) for atoms in structures])


@pytest.mark.parametrize("backend", ["torch", "torch_cluster"])
@pytest.mark.parametrize("cutoff", [2.5, 6.0])
def test_the_radius_graph(molecules, backend, cutoff):
    if backend == "torch_cluster":
        pytest.importorskip("torch_cluster")
    for dataset in (molecules, rattled_crystals()):
        batch = dataset.batch(range(len(dataset)))
        found = neighbor_list(batch.clone().to("cuda"), cutoff, backend)
        expected = neighbor_list(batch, cutoff, "torch")
        assert found[0].device.type == "cuda"
        assert all(torch.equal(a.cpu(), b) for a, b in zip(found, expected, strict=True))


def test_batches_are_made_on_the_device(molecules):
    kept, order = molecules.with_edges(5.0), [5, 3, 60, 3]
    found, expected = kept.to("cuda").batch(order), kept.batch(order)
    assert set(found.keys()) == set(expected.keys())
    for key in expected.keys():  # noqa: SIM118
        if torch.is_tensor(expected[key]):
            assert found[key].device.type == "cuda", key
            assert torch.equal(found[key].cpu(), expected[key]), key


@pytest.mark.parametrize("filters", ["spline", "exact"])
def test_energies_forces_and_gradients(molecules, filters):
    torch.manual_seed(0)
    model = sg.SchNet(channels=32, num_layers=3, num_basis=25, cutoff=5.0)
    potential = sg.Potential(model, filters=filters).double()
    batch = molecules.batch(range(32))

    def step(device):
        prediction = potential.to(device)(batch.clone().to(device))
        loss = prediction.energy.square().mean() + prediction.forces.square().mean()
        gradients = torch.autograd.grad(loss, list(potential.parameters()))
        return [t.cpu() for t in (prediction.energy, prediction.forces, *gradients)]

    torch.testing.assert_close(step("cuda"), step("cpu"), rtol=1e-9, atol=1e-11)


def num_graphs(potential) -> int:
    """Of the program that the potential runs."""
    return len(potential.engine.read(potential.model).cuda_graphs)


@pytest.mark.parametrize("readout_activation", [None, torch.nn.SiLU])
def test_cuda_graphs_change_nothing(molecules, readout_activation):
    """Every batch eight times, so that all have graphs; two share one, which has more room."""
    torch.manual_seed(0)
    model = sg.SchNet(32, 3, 25, cutoff=5.0, readout_activation=readout_activation)
    on_cpu = sg.Potential(model).double()
    potential = copy.deepcopy(on_cpu).to("cuda")
    groups = [range(20), range(1, 21), range(3), range(40, 64)]
    batches = [with_edges(molecules.batch(group), 5.0) for group in groups]

    def losses(potential, device):
        predictions = [potential(batch.clone().to(device)) for batch in batches]
        return [p.energy.square().mean() + p.forces.square().mean() for p in predictions]

    def gradients(potential, loss):
        found = torch.autograd.grad(loss, list(potential.parameters()), retain_graph=True)
        return [t.cpu() for t in (loss, *found)]

    for scale in (1.0, 0.9):  # weights change in place, as optimizers change them
        with torch.no_grad():
            for parameter in (*on_cpu.parameters(), *potential.parameters()):
                parameter.mul_(scale)
        expected = [gradients(on_cpu, loss) for loss in losses(on_cpu, "cpu")]
        for _ in range(4):
            found = losses(potential, "cuda")  # all of them before the way back of the first
            for loss, want in reversed(list(zip(found, expected, strict=True))):
                got = gradients(potential, loss)
                torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)
    assert 1 < num_graphs(potential) <= len(batches)
    assert num_graphs(copy.deepcopy(potential)) == 0

    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        on_cpu, potential = on_cpu.to(dtype).eval(), potential.to(dtype).eval()
        before = num_graphs(potential)
        for _ in range(4):
            found = potential(batches[0].clone().to("cuda"))
        assert num_graphs(potential) == before + 1
        expected = on_cpu(batches[0])
        for name in ("energy", "forces"):
            got, want = getattr(found, name).cpu(), getattr(expected, name)
            torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
    assert before == 0  # the graphs for weights of another type are gone


def test_a_weight_that_changed_before_the_way_back_is_an_error(molecules):
    potential = sg.Potential(sg.SchNet(16, 1)).to("cuda")
    batch = with_edges(molecules.batch(range(3)), 5.0).to("cuda")
    for _ in range(5):
        energy = potential(batch, forces=False).energy.sum()
    assert num_graphs(potential)
    with torch.no_grad():
        potential.model.interactions[0].lin1.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        energy.backward()


def test_single_precision_agrees_with_the_cpu_in_double():
    torch.manual_seed(0)
    potential = sg.Potential(sg.SchNet(64, 3)).eval()
    data = with_edges(rattled_crystals().batch(range(4)), 5.0)
    found = potential.to("cuda")(data.clone().to("cuda"), stress=True)
    expected = potential.cpu().double()(data, stress=True)
    for name in ("energy", "forces", "stress"):
        want = getattr(expected, name)
        error = (getattr(found, name).cpu().double() - want).abs().max()
        assert error <= 1e-5 * want.abs().max(), name


def test_edges_in_any_order(molecules):
    torch.manual_seed(0)
    potential = sg.Potential(sg.SchNet(16, 2)).double().eval()
    data = with_edges(molecules.batch(range(5)), 5.0)
    expected = potential(data)
    data.edge_index = data.edge_index[:, torch.randperm(data.num_edges)]
    data.edge_reverse = data.edge_cutoff = None
    found = potential.to("cuda")(data.to("cuda"))
    torch.testing.assert_close(found.forces.cpu(), expected.forces, rtol=1e-9, atol=1e-9)


def test_edges_that_claim_to_be_sorted_are_not_believed(tmp_path):
    """In a process of its own, which the assertion on the device ends."""
    script = """
import schnetgeo as sg
from ase.build import molecule
from schnetgeo.data import with_edges
potential = sg.Potential(sg.SchNet(16, 2)).cuda()
data = with_edges(sg.from_ase(molecule("CH3CH2OH")), 5.0)
data.edge_index = data.edge_index.flip(1)
print(potential(data.to("cuda")).energy.cpu())
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "assert" in done.stderr


def test_the_calculator_computes_there():
    torch.manual_seed(0)
    potential = sg.Potential(sg.SchNet(16, 2))
    atoms = molecule("CH3CH2OH")
    forces = {}
    for device in ("cpu", "cuda"):
        atoms.calc = sg.Calculator(potential, device=device)
        forces[device] = atoms.get_forces()
    assert abs(forces["cpu"] - forces["cuda"]).max() < 1e-5 * abs(forces["cpu"]).max()


def test_a_training_learns_and_its_model_is_for_any_device(tmp_path):
    frames = Demo("ethanol")
    training = TrainingConfig(
        task="forces", batch_size=16, lr=2e-3, max_steps=600, validate_every=200,
        device="cuda", progress=False,
    )  # fmt: skip
    torch.manual_seed(0)
    potential = sg.Potential(sg.SchNet(32, 2))
    before = evaluate(potential, frames[:50])
    fit(potential, frames[:800], frames[800:850], training, tmp_path)
    after = evaluate(sg.load(tmp_path / "model.safetensors"), frames[:50])
    assert after["forces"].mae < 0.5 * before["forces"].mae

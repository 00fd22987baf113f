"""What must be the same on a GPU as on the CPU, from the radius graph to a training."""

import pytest
import torch
from ase.build import bulk, molecule

import schnetgeo as sg
from schnetgeo.data import neighbor_list, with_edges
from schnetgeo.data.packed import PackedDataset
from schnetgeo.datasets import Demo
from schnetgeo.train import Training, evaluate, fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def molecules():
    return Demo("molecules")[:64]


def rattled_crystals():
    atoms = bulk("MgO", "rocksalt", 4.21, cubic=True)
    slab = atoms.repeat((2, 2, 1))
    slab.pbc = (True, True, False)
    structures = [atoms, slab, atoms.repeat(3), molecule("C6H6", cell=(9, 9, 9), pbc=True)]
    for atoms in structures:
        atoms.rattle(0.1, seed=0)
    return PackedDataset.from_list([sg.from_ase(atoms) for atoms in structures])


@pytest.mark.parametrize("backend", ["torch", "torch_cluster"])
@pytest.mark.parametrize("cutoff", [2.5, 6.0])
def test_the_radius_graph(molecules, backend, cutoff):
    if backend == "torch_cluster":
        pytest.importorskip("torch_cluster")
    for dataset in (molecules, rattled_crystals()):
        batch = dataset.batch(range(len(dataset)))
        found = neighbor_list(batch.to("cuda"), cutoff, backend)
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
    model = sg.SchNet(channels=32, num_layers=3, num_basis=25, cutoff=5.0, filters=filters)
    potential = sg.Potential(model).double()
    batch = molecules.batch(range(32))

    def step(device):
        prediction = potential.to(device)(batch.to(device))
        loss = prediction.energy.square().mean() + prediction.forces.square().mean()
        gradients = torch.autograd.grad(loss, list(potential.parameters()))
        return [t.cpu() for t in (prediction.energy, prediction.forces, *gradients)]

    torch.testing.assert_close(step("cuda"), step("cpu"), rtol=1e-9, atol=1e-11)


def test_single_precision_agrees_with_the_cpu_in_double():
    torch.manual_seed(0)
    potential = sg.Potential(sg.SchNet(64, 3)).eval()
    data = with_edges(rattled_crystals().batch(range(4)), 5.0)
    found = potential.to("cuda")(data.to("cuda"), stress=True)
    expected = potential.cpu().double()(data, stress=True)
    for name in ("energy", "forces", "stress"):
        want = getattr(expected, name)
        error = (getattr(found, name).cpu().double() - want).abs().max()
        assert error <= 1e-5 * want.abs().max(), name


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
    training = Training(
        task="forces", batch_size=16, lr=2e-3, max_steps=600, validate_every=200,
        device="cuda", progress=False,
    )  # fmt: skip
    torch.manual_seed(0)
    potential = sg.Potential(sg.SchNet(32, 2))
    before = evaluate(potential, frames[:50])
    fit(potential, frames[:800], frames[800:850], training, tmp_path)
    after = evaluate(sg.load(tmp_path / "model.safetensors"), frames[:50])
    assert after.force_mae < 0.5 * before.force_mae

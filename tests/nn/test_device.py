"""Nothing in a step ties SchNet to the CPU, on a machine that has no other device.

Tensors on torch's "meta" device have no values: whoever asks for one, as a GPU would have to be
waited for, fails, and a dispatch mode sees the device of every tensor of every operation.
"""

import pytest
import torch
from ase.build import molecule
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch_geometric.data import Batch

import schnetgeo as sg
from schnetgeo.data.graph import with_edges


class Devices(TorchDispatchMode):
    """Collects the operations that touch the CPU."""

    def __init__(self):
        super().__init__()
        self.on_cpu = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
        if any(t.device.type == "cpu" for t in tensors):
            self.on_cpu.add(str(func))
        return out


@pytest.mark.parametrize("filters", ["spline", "exact"])
@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_step_stays_on_its_device(filters, watched, training):
    molecules = [sg.from_ase(molecule(name)) for name in ("CH3CH2OH", "H2O")]
    batch = with_edges(Batch.from_data_list(molecules), 5.0).to("meta")
    model = sg.SchNet(channels=8, num_layers=2, num_basis=10, cutoff=5.0)
    potential = sg.Potential(model, filters=filters).to("meta").train(training)
    if watched:  # which takes autograd's way
        model.interactions[0].lin1.register_forward_hook(lambda *_: None)

    def step():
        prediction = potential(batch)
        if training:
            loss = prediction.energy.sum() + prediction.forces.square().sum()
            loss.backward()
            assert all(p.grad.device.type == "meta" for p in potential.parameters())

    step()  # brings the basis functions on the knots to the device, once
    with Devices() as devices:
        step()
    assert devices.on_cpu == set()

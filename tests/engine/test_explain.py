import pytest
from ase.build import bulk, molecule
from torch import nn

import schnetgeo as sg
from schnetgeo.engine import explain
from schnetgeo.nn import SchNet

ETHANOL = sg.from_ase(molecule("CH3CH2OH"))


class Attention(sg.RadialConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)

    def message(self, x_j, W):
        return (x_j * W).exp()


def small(**changes):
    return SchNet(channels=4, num_layers=1, num_basis=4, cutoff=3.0, **changes)


def test_compiled_code_runs_molecules():
    explanation = explain(sg.Potential(small()), ETHANOL)
    assert explanation.executor == "numba"
    text = str(explanation)
    assert text.startswith("numba: ")
    assert "FilterConv(r1, filter=0, direction=NONE)" in text
    assert text.count("Embedding(weight=p") == 1


@pytest.mark.parametrize(
    ("potential", "reason"),
    [
        (sg.Potential(small(), filters="exact"), "filters='exact'"),
        (sg.Potential(small(conv=Attention)), "takes EXP of b(x_j) W(r)"),
        (sg.Potential(sg.Baseline(4)), "no AtomisticModel"),
    ],
    ids=["exact", "attention", "baseline"],
)
def test_autograd_runs_the_rest(potential, reason):
    explanation = explain(potential, ETHANOL)
    assert explanation.executor == "autograd"
    assert reason in str(explanation)
    assert explanation.program is None


def test_threads_cannot_share_one_crystal(monkeypatch):
    monkeypatch.setattr("schnetgeo.ops.threads.num_threads", lambda: 2)
    crystal = sg.from_ase(bulk("Ni", cubic=True) * (6, 6, 6))
    explanation = explain(sg.Potential(small()), crystal)
    assert (explanation.executor, "large crystal" in explanation.reason) == ("torch", True)

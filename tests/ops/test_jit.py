"""What a process computes whose parent had threads."""

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import multiprocessing, sys
import torch
from ase.build import molecule
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch
import schnetgeo as sg
from schnetgeo.ops import get_backend

torch.set_num_threads(1)
# enough molecules that two threads are worth waking
batch = Batch.from_data_list([sg.from_ase(molecule(name)) for name in ("C6H6", "CH3OH")] * 40)
model = sg.SchNet(channels=16, num_layers=2, num_basis=20)
potential = sg.Potential(model)

def everything(seed):
    potential.zero_grad()
    result = potential(batch)
    (result.energy.sum() + result.forces.square().sum()).backward()
    samples, coefficients = torch.linspace(0, 1, 8080).reshape(-1, 8), torch.empty(1008, 8)
    get_backend(samples).spline_coefficients(samples, coefficients)  # shared by threads too
    gradients = [p.grad for p in model.parameters()]
    return [result.energy.detach(), result.forces.detach(), coefficients, *gradients]

class Results(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, n):
        return everything(n)

def start_threads():
    torch.set_num_threads(2)
    everything(0)

def same(results):
    return all(torch.equal(a, b) for r in results for a, b in zip(wanted, r, strict=True))

wanted = everything(0)
start_threads()
if sys.argv[1] == "pool":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map(everything, range(3))
else:
    loader = DataLoader(Results(), 1, num_workers=2, multiprocessing_context="fork")
    results = [[t.squeeze(0) for t in r] for r in loader]
print(len(results), same(results))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pool", "loader"])
def test_children_of_fork_compute_the_bits_of_one_thread(kind):
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, kind],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = child.communicate(timeout=200)
    finally:
        if child.poll() is None:  # with its own children, which hang
            os.killpg(child.pid, signal.SIGKILL)
    assert said.split() == ["3", "True"]


def test_a_child_of_fork_starts_threads_of_its_own():
    """Those of its parent are not there, so that work given to them would never be done."""
    program = (
        "import os, signal\nfrom schnetgeo.ops import threads\ndone = []\n"
        "threads.run(done.append, 2)\nchild = os.fork()\nif child == 0:\n    signal.alarm(20)\n"
        "    threads.run(done.append, 2)\n    os._exit(len(done))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.split() == ["4"], ran.stderr

"""The compiled training step equals the operators it stands for."""

import copy
import gc
import weakref

import numba
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from torch import nn
from torch_geometric.data import Batch

from schnetgeo.data import from_ase, with_edges
from schnetgeo.nn import MeanReadout, SchNet, compiled
from schnetgeo.nn.spline import PlacedFilters
from schnetgeo.ops import memory
from schnetgeo.ops.dense import add_outer, add_products, add_rows
from schnetgeo.potential import Potential
from tests.nn.weights import randomize

VARIANTS = {
    **{name: dict(preset=name, channels=8, num_basis=12, cutoff=4.0) for name in SchNet.presets},
    "in_bias": dict(in_bias=True),
    "mean": dict(readout=MeanReadout),
    "activated filters": dict(filter_last_activation=True),
    "silu": dict(readout_activation=nn.SiLU),
    "one layer": dict(num_layers=1),
    "one channel": dict(channels=1, readout_channels=1),
    "odd": dict(channels=7, readout_channels=5, num_basis=9),
}
NAMES = ("CH3CH2OH", "H2O", "C6H6", "CH4", "CH3CHO", "NH3", "C2H2", "C2H6", "CO2")


def potential_of(preset=None, **changes):
    arguments = {**dict(channels=8, num_layers=3, num_basis=8, cutoff=4.0), **changes}
    model = SchNet.preset(preset, **arguments) if preset else SchNet(**arguments)
    return Potential(randomize(model.double(), seed=1), scale=1.3).train()


def batch_of(*atoms):
    structures = []
    for seed, one in enumerate(atoms):
        one = molecule(one) if isinstance(one, str) else one
        one.rattle(0.1, seed=seed)
        structures.append(from_ase(one))
    return with_edges(Batch.from_data_list(structures), 4.0)


ALONE, APART = Atoms("H"), Atoms("CO", [[0, 0, 0], [0, 0, 10]])
BATCH = batch_of(*NAMES, ALONE, APART, *NAMES)


def gradients(potential, batch, forces=True):
    """Of a loss whose gradients differ from place to place."""
    potential.zero_grad()
    random = torch.Generator().manual_seed(5)
    prediction, loss = potential(batch, forces=forces), 0.0
    for value in prediction[: 1 + forces]:
        weights = torch.randn(value.shape, generator=random).double()
        loss = loss + value.square().sum() + (weights * value).sum()
    loss.backward()
    return prediction, [p.grad for p in potential.parameters()]


@pytest.fixture
def used(monkeypatch):
    """What the compiled functions were asked for, and whether they took it.

    Memory that they read before they write it is not a number here.
    """
    taken, prepare, empty = [], compiled.prepare, memory.empty

    def spoiled(shape, dtype):
        array = empty(shape, dtype)
        array.fill(np.nan)
        return array

    monkeypatch.setattr(memory, "empty", spoiled)

    def watched(*arguments):
        taken.append(prepare(*arguments))
        return taken[-1]

    monkeypatch.setattr(compiled, "prepare", watched)
    return taken


@pytest.mark.parametrize("forces", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_operators(variant, forces, used, monkeypatch):
    potential = potential_of(**VARIANTS[variant])
    found, found_gradients = gradients(potential, BATCH, forces)
    assert used[0] is not None
    monkeypatch.setattr(compiled, "prepare", lambda *_: None)
    wanted, wanted_gradients = gradients(potential, BATCH, forces)
    torch.testing.assert_close(found.energy, wanted.energy, rtol=1e-12, atol=1e-12)
    if forces:
        torch.testing.assert_close(found.forces, wanted.forces, rtol=1e-11, atol=1e-12)
    for one, other in zip(found_gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11 * float(other.abs().max()))


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread has nothing to share")
def test_one_large_structure_is_left_to_the_operators(used):
    """They share its atoms among threads."""
    places = np.random.default_rng(0).random((200, 3)) * 12
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients(potential_of(), batch_of(Atoms("C200", places), "H2O"))
    finally:
        torch.set_num_threads(threads)
    assert used == [None]


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU])
def test_other_activations_are_left_to_the_operators(activation, used):
    gradients(potential_of(activation=activation), BATCH)
    assert used == [None]


def test_edges_between_structures_are_left_to_the_operators(used):
    joined = from_ase(molecule("C6H6"))
    joined.ptr = torch.tensor([0, 4, 12])  # two structures with edges from one to the other
    joined.batch = torch.tensor([0] * 4 + [1] * 8)
    whole = with_edges(from_ase(molecule("C6H6")), 4.0)
    for key in ("edge_index", "edge_reverse"):
        joined[key] = whole[key]
    joined.edge_cutoff = whole.edge_cutoff
    gradients(potential_of(), joined)
    assert used == [None]


def test_edges_from_atoms_to_themselves_are_left_to_the_operators(used):
    data = from_ase(molecule("H2O"))
    data.edge_index = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]])
    data.edge_reverse = torch.tensor([0, 2, 1, 3])
    data.edge_cutoff = torch.tensor([4.0])
    gradients(potential_of(), data)
    assert used == [None]


@pytest.mark.parametrize("wrong", [[0, 4, 9], [1, 4, 12], [0, 8, 4, 12], [0, 10**9, 12], [0]])
def test_a_ptr_that_does_not_cut_the_atoms_is_left_to_the_operators(wrong):
    potential, distance = potential_of(), torch.ones(BATCH.edge_index.size(1)).double()
    filters = PlacedFilters(potential.fast.knots, potential.model.cutoff_fn, BATCH, distance)
    (source, _, start, reverse), z = filters.arrays[2], BATCH.z.numpy()
    ptr, last = BATCH.ptr.numpy(), int(BATCH.ptr[-1])
    assert compiled._one_by_one(z, ptr, source, start, reverse, 9)
    broken = np.array([last if k == 12 else k for k in wrong])
    assert not compiled._one_by_one(z, broken, source, start, reverse, 9)
    assert not compiled._one_by_one(z, ptr, source, start, reverse, 8)  # no row for oxygen


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("sizes", [[1], [3, 3], [0, 5, 0], [9] * 10, [18] * 100, [1, 70, 2, 3] * 9])
def test_blocks_cover_all_structures_and_share_the_work(sizes, threads):
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    start = np.arange(ptr[-1] + 1) * 5
    blocks, tasks, longest = compiled._blocks(ptr, start, threads)
    assert len(tasks) == threads + 1
    assert tasks[0] == 0
    assert tasks[-1] == len(blocks) - 1
    assert (np.diff(tasks) >= 0).all()
    assert (blocks[0], blocks[-1]) == (0, len(sizes))
    assert (np.diff(blocks) > 0).all()
    share = np.diff(ptr[blocks[tasks]])
    assert share.max() <= ptr[-1] / threads + max(sizes)
    assert np.diff(ptr[blocks]).max() == longest <= compiled._BLOCK + max(sizes)


@pytest.mark.parametrize("forces", [True, False])
def test_images_of_atoms_themselves(forces, used, monkeypatch):
    """Cells shorter than the cutoff, and a molecule whose atoms are too far apart for edges."""
    cells = [Atoms("Si", cell=[3, 3.3, 3.6], pbc=True), Atoms("NaCl", [[0, 0, 0], [1.4, 1.5, 1.6]])]
    cells[1].set_cell([2.9, 3.1, 3.3])
    cells[1].pbc = True
    batch, potential = batch_of(*cells, Atoms("H", cell=[9, 9, 9], pbc=True)), potential_of()
    found, found_gradients = gradients(potential, batch, forces)
    assert used[0] is not None
    monkeypatch.setattr(compiled, "prepare", lambda *_: None)
    wanted, wanted_gradients = gradients(potential, batch, forces)
    torch.testing.assert_close(found.energy, wanted.energy, rtol=1e-12, atol=1e-12)
    for one, other in zip(found_gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11 * float(other.abs().max()))


@pytest.mark.parametrize("smallest", [0, memory._SMALL])
def test_the_graph_can_be_kept_and_differentiated_again(smallest, monkeypatch):
    monkeypatch.setattr(memory, "_SMALL", smallest)
    potential = potential_of()
    prediction = potential(BATCH)
    loss = prediction.energy.square().sum() + prediction.forces.square().sum()
    parameters = list(potential.parameters())
    once = torch.autograd.grad(loss, parameters, retain_graph=True)
    potential(batch_of("CH4", "H2O"))  # another pass in between
    again = torch.autograd.grad(loss, parameters)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_the_same_bits_on_every_run_and_close_ones_for_other_threads():
    potential, threads = potential_of().float(), torch.get_num_threads()
    found = {}
    try:
        for number in (1, 2, 2):
            torch.set_num_threads(number)
            _, now = gradients(copy.deepcopy(potential), BATCH)
            if number in found:
                assert all(torch.equal(a, b) for a, b in zip(found[number], now, strict=True))
            found[number] = now
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(found[1], found[2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("forces", [True, False])
@pytest.mark.parametrize("step", [True, False])
def test_a_step_frees_its_memory(monkeypatch, forces, step):
    """Without the garbage collector: nothing refers to itself, after a backward pass or none."""
    monkeypatch.setattr(memory, "_SMALL", 0)
    kept, empty = [], compiled.Tape.empty

    def watched(*arguments):
        tape = empty(*arguments)
        kept.append(weakref.ref(tape.layers if tape.layers.base is None else tape.layers.base))
        return tape

    monkeypatch.setattr(compiled.Tape, "empty", watched)
    gc.collect()
    gc.disable()
    try:
        prediction = potential_of()(BATCH, forces=forces)
        loss = sum(value.square().sum() for value in prediction if value is not None)
        assert kept[0]() is not None
        if step:
            loss.backward()
        del prediction, loss
        assert kept[0]() is None
    finally:
        gc.enable()


def test_evaluation_keeps_nothing():
    prediction = potential_of().eval()(BATCH)
    assert prediction.energy.grad_fn is None
    assert not prediction.forces.requires_grad


@numba.njit
def add_both_products(x, y, weight, out, outer):
    add_products(x, weight, out)
    add_outer(x, y, outer)


@pytest.mark.parametrize("rows", range(14))
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 4), (8, 5), (6, 16), (5, 83)])
def test_products(rows, inputs, outputs):
    random = np.random.default_rng(rows)
    x, y = random.random((rows, inputs)), random.random((rows, outputs))
    weight, start = random.random((inputs, outputs)), random.random((rows, outputs))
    out, outer, total = start.copy(), weight.copy(), weight[0].copy()
    add_both_products(x, y, weight, out, outer)
    add_rows(y, total)
    np.testing.assert_allclose(out, start + x @ weight, rtol=1e-13)
    np.testing.assert_allclose(outer, weight + x.T @ y, rtol=1e-13)
    np.testing.assert_allclose(total, weight[0] + y.sum(0), rtol=1e-13)

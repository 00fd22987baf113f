"""Structures are shared among threads: the same bits on each run, in whatever order edges come."""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from schnetgeo.data import from_ase, with_edges
from schnetgeo.engine import engine
from schnetgeo.engine.numba import blocks
from schnetgeo.engine.numba.blocks import _BLOCK, partition, useful_threads
from schnetgeo.errors import InputError
from schnetgeo.ops import memory, threads
from tests.engine.on_knots import assert_equals_autograd
from tests.engine.potentials import (
    EXECUTORS,
    MODELS,
    assert_near,
    assert_same_training,
    batch_of,
    exact,
    loss_of,
    methanol,
    potential_of,
    rattled,
    training_step,
    use_executor,
)
from tests.structures import clusters, crystals, random_cluster

few_examples = settings(max_examples=10, deadline=None, derandomize=True)
NAMES = ("CH3CH2OH", "H2O", "C6H6", "CH4", "CH3CHO", "NH3", "C2H2", "C2H6", "CO2")
APART = Atoms("CO", [[0, 0, 0], [0, 0, 10]])


@pytest.fixture
def compiled_batches(monkeypatch):
    """What compiled code was asked for, `None` for what it left to torch.

    Memory that it reads before it writes it is not a number here.
    """
    batches, measure, empty = [], engine.measured_structures, memory.empty

    def spoiled(shape, dtype):
        array = empty(shape, dtype)
        array.fill(np.nan if array.dtype.kind == "f" else 0)
        return array

    def watched(*arguments):
        batches.append(measure(*arguments))
        return batches[-1]

    monkeypatch.setattr(memory, "empty", spoiled)
    monkeypatch.setattr(engine, "measured_structures", watched)
    return batches


def use_threads(number, monkeypatch):
    monkeypatch.setattr(threads, "num_threads", lambda: number)
    monkeypatch.setattr(blocks, "_WORK_OF_THREAD", 1)  # so that small batches are shared too


def context_of_engine(node):
    """What the engine's function keeps for its backward pass, among the causes of a result."""
    nodes = [node]
    while not {"tape", "tapes"} & set(dir(node := nodes.pop())):
        nodes += [cause for cause, _ in node.next_functions if cause is not None]
    return node


def many():
    return batch_of(*NAMES, Atoms("H"), APART, *NAMES)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_same_bits_on_every_run(name, dtype, executor, monkeypatch):
    use_executor(executor, monkeypatch)
    potential, tolerance = potential_of(name).to(dtype), {torch.float32: 1e-5}.get(dtype, 1e-13)
    steps = {}
    for number in (1, 2, 3, 2, 3):
        use_threads(number, monkeypatch)
        step = training_step(copy.deepcopy(potential), many())
        if number in steps:
            for one, other in zip(step[0], steps[number][0], strict=True):
                assert torch.equal(one, other)
            for parameter, gradient in step[1].items():
                assert torch.equal(gradient, steps[number][1][parameter]), parameter
        steps[number] = step
    assert_same_training(steps[2], steps[1], tolerance)
    assert_same_training(steps[3], steps[1], tolerance)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("forces", [True, False])
def test_compiled_code_reads_only_what_it_wrote(name, forces, compiled_batches, monkeypatch):
    use_threads(2, monkeypatch)
    potential = potential_of(name, spacing=0.02)
    assert_equals_autograd(potential, many(), forces=forces)
    assert compiled_batches[0] is not None


@pytest.mark.parametrize("name", ["SchNet", "PaiNN"])
def test_a_large_crystal_among_molecules(name, compiled_batches, monkeypatch):
    """Its atoms cannot be shared among threads that take a structure each."""
    use_threads(2, monkeypatch)
    potential = potential_of(name, spacing=0.02)
    places = np.random.default_rng(0).random((200, 3)) * 12
    data = batch_of(Atoms("C200", places), "H2O")
    assert_equals_autograd(potential, data)
    assert compiled_batches == [None]


def joined():
    """Two structures with edges from one to the other."""
    data, whole = from_ase(rattled("C6H6")), with_edges(from_ase(rattled("C6H6")), 4.0)
    data.ptr, data.batch = torch.tensor([0, 4, 12]), torch.tensor([0] * 4 + [1] * 8)
    for key in ("edge_index", "edge_reverse", "edge_cutoff"):
        data[key] = whole[key]
    return data


def to_themselves():
    """Edges from atoms to themselves, each of which is its own reverse."""
    data = from_ase(rattled("H2O"))
    data.edge_index = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]])
    data.edge_shift = torch.zeros(4, 3, dtype=torch.long)
    data.edge_reverse = torch.tensor([0, 2, 1, 3])
    data.edge_cutoff = torch.tensor([4.0])
    return data


@pytest.mark.parametrize("data", [joined(), to_themselves()], ids=["joined", "to themselves"])
def test_strange_edges_are_left_to_torch(data, compiled_batches):
    potential = potential_of(spacing=0.02)
    assert_equals_autograd(potential, data, forces=False)
    assert compiled_batches == [None]


@pytest.mark.parametrize("wrong", [[0, 4, 9], [1, 4, 12], [0, 8, 4, 12], [0, 10**9, 12]])
def test_a_ptr_that_does_not_cut_the_atoms_is_left_to_torch(wrong, compiled_batches):
    """No memory is read beside the arrays."""
    data = with_edges(from_ase(rattled("C6H6")), 4.0)
    expected = potential_of()(data, forces=False).energy
    data.batch, data.ptr = torch.zeros(12, dtype=torch.long), torch.tensor(wrong)
    try:
        found = potential_of()(data, forces=False).energy
    except InputError:
        return
    assert compiled_batches[-1] is None
    assert_near(found.sum(), expected.sum(), 1e-10)


def test_structures_whose_atoms_are_apart():
    """Without ptr, and without edges that would tell."""
    potential, data = potential_of().eval(), with_edges(from_ase(APART), 4.0)
    data.batch = torch.tensor([1, 0])
    energies = [potential(from_ase(Atoms(symbol))).energy for symbol in "OC"]
    assert_near(potential(data).energy, torch.cat(energies), 1e-12)


@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("sizes", [[1], [3, 3], [0, 5, 0], [9] * 10, [18] * 100, [1, 70, 2, 3] * 9])
def test_blocks_cover_all_structures_and_share_the_work(sizes, number):
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    first, tasks, max_atoms = partition(ptr, np.arange(ptr[-1] + 1) * 5, number)
    assert len(tasks) == number + 1
    assert (tasks[0], tasks[-1]) == (0, len(first) - 1)
    assert (np.diff(tasks) >= 0).all()
    assert (first[0], first[-1]) == (0, len(sizes))
    assert (np.diff(first) > 0).all()
    assert np.diff(ptr[first[tasks]]).max() <= ptr[-1] / number + max(sizes)
    assert np.diff(ptr[first]).max() == max_atoms <= _BLOCK + max(sizes)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("executor", EXECUTORS)
@few_examples
@given(atoms=st.one_of(clusters(8), crystals(3)), seed=st.integers(0, 99), reverse=st.booleans())
def test_edges_in_any_order(name, executor, atoms, seed, reverse):
    """With those of a skin among them."""
    potential, data = potential_of(name), with_edges(from_ase(atoms), 5.5)
    if executor == "torch":
        potential.reading().numba_refusal = "a test"
    expected = potential(from_ase(atoms))
    shuffled = copy.copy(data)
    order = torch.randperm(data.num_edges, generator=torch.Generator().manual_seed(seed))
    shuffled.edge_index = data.edge_index[:, order]
    if data.get("edge_shift") is not None:
        shuffled.edge_shift = data.edge_shift[order]
    shuffled.edge_reverse = order.argsort()[data.edge_reverse[order]] if reverse else None
    found = potential(shuffled)
    assert_near(found.energy.detach(), expected.energy.detach(), 1e-12)
    assert_near(found.forces.detach(), expected.forces.detach(), 1e-11)


@pytest.mark.parametrize("name", ["SchNet", "PaiNN"])
def test_edges_sorted_by_target_alone(name):
    """As other neighbor lists give them, of images of one atom too."""
    for atoms in (rattled("CH3CH2OH"), Atoms("Ne", cell=[2.5, 2.6, 2.7], pbc=True)):
        potential, data = potential_of(name).eval(), with_edges(from_ase(atoms), 4.0)
        expected, target = potential(data), data.edge_index[1]
        order = (target * data.num_edges - torch.arange(data.num_edges)).argsort()
        data.edge_index = data.edge_index[:, order]
        if data.get("edge_shift") is not None:
            data.edge_shift = data.edge_shift[order]
        del data.edge_reverse
        assert torch.equal(data.edge_index[1], target)
        assert_near(potential(data).forces, expected.forces, 1e-12)


@pytest.mark.parametrize("name", ["SchNet", "PaiNN"])
@pytest.mark.parametrize("training", [False, True])
def test_edges_without_their_reverse_are_refused(name, training):
    potential, data = potential_of(name).train(training), from_ase(rattled("H2O"))
    data.edge_index = torch.tensor([[1, 2, 0], [0, 0, 1]])
    data.edge_cutoff = torch.tensor([4.0])
    with pytest.raises(InputError, match="give every edge its reverse, or take filters='exact'"):
        potential(data)
    exact(potential)(data)


def test_images_without_their_reverse_are_refused():
    """Both edges lead from the one atom to itself, but not back."""
    data = from_ase(Atoms("Ne", cell=[2.5, 2.6, 2.7], pbc=True))
    data.edge_index = torch.zeros(2, 2, dtype=torch.long)
    data.edge_shift = torch.tensor([[1, 0, 0], [0, 1, 0]])
    data.edge_cutoff = torch.tensor([4.0])
    with pytest.raises(InputError, match="give every edge its reverse"):
        potential_of()(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SchNet", "PaiNN"])
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("forces", [True, False])
@pytest.mark.parametrize("step", [True, False])
def test_a_step_frees_its_memory(name, executor, forces, step, monkeypatch):
    """Without the garbage collector: nothing refers to itself, after a backward pass or none."""
    use_executor(executor, monkeypatch)
    potential, data = potential_of(name), with_edges(many(), 4.0)
    gc.collect()
    gc.disable()
    try:
        prediction = potential(data, forces=forces)
        loss = loss_of(prediction)
        context = weakref.ref(context_of_engine(prediction.energy.grad_fn))
        assert context() is not None
        if step:
            loss.backward()
        del prediction, loss
        assert context() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("name", MODELS)
def test_a_crystal_and_its_repetition(name):
    """Atoms shared by compiled code, or by torch: the energy per atom is the same."""
    potential = potential_of(name).eval()
    one = potential(from_ase(bulk("Si", cubic=True))).energy
    many = potential(from_ase(bulk("Si", cubic=True) * (3, 3, 3))).energy
    assert_near(many / 27, one, 1e-10)


def test_one_large_cluster_and_methanol_agree_with_exact_filters():
    potential = potential_of(spacing=0.02).eval()
    data = from_ase(random_cluster(np.random.default_rng(0), 300))
    for one in (data, methanol()):
        assert_near(potential(one).forces, exact(potential)(one).forces, 2e-6)


def test_small_batches_have_one_thread():
    """Where others would come too late; the rule does not depend on the run."""
    for count, expected in ((10, 1), (35, 2), (200, 3)):
        assert useful_threads(9 * count, 72 * count, 3) == expected

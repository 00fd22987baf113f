"""Trainings as users run them: to the end, killed, resumed, on several processes."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split_methods import random_split
from schnetgeo.data.store_writer import write_on_disk
from schnetgeo.datasets import QM9, Demo, load_data
from schnetgeo.errors import InputError
from schnetgeo.nn import Baseline, SchNet, StepCutoff
from schnetgeo.potential import Potential, load
from schnetgeo.train import TrainingConfig, evaluate, fit, new_potential, predict, refit_references
from tests.shared_data import shared

SCRIPT = str(Path(__file__).with_name("run_training.py"))
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def small_model(**changed):
    return SchNet(**{**dict(channels=16, num_layers=2, num_basis=12, cutoff=4.0), **changed})


def small_fit(out, dataset=None, model=None, num_train=64, resume=False, **options):
    dataset = Demo("molecules") if dataset is None else dataset
    train, val, test = (dataset[part] for part in random_split(len(dataset), num_train, 16, 50))
    options = {"max_steps": 60, "validate_every": 20, "checkpoint_every": 20, **options}
    training = TrainingConfig(device="cpu", progress=False, **options)
    torch.manual_seed(0)
    potential = new_potential(model or small_model(), train)
    before = evaluate(potential, test)
    return fit(potential, train, val, training, out, resume), before, test


def command(out, **options):
    return [sys.executable, SCRIPT, str(out), *(f"{k}={v}" for k, v in options.items())]


def finish(run):
    done = subprocess.run(run, env=ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def weights(out):
    return load_file(out / "model.safetensors")


def checkpoint(out):
    return torch.load(out / "last.ckpt", weights_only=True)


def assert_same_state(a: dict, b: dict):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_energy_errors_fall(tmp_path):
    options = dict(task="energy", max_steps=300, lr=1e-2, num_train=800)
    result, before, test = small_fit(tmp_path, **options)
    assert result.steps == 300
    assert result.stopped_by == "max_steps"
    assert evaluate(result.potential, test)["energy"].mae < 0.8 * before["energy"].mae


@pytest.mark.parametrize("task", ["forces", "energy_and_forces"])
def test_force_errors_fall(tmp_path, task):
    options = dict(task=task, max_steps=200, lr=2e-2, num_train=200)
    result, before, test = small_fit(tmp_path, Demo("ethanol"), **options)
    assert evaluate(result.potential, test)["forces"].mae < 0.5 * before["forces"].mae


def test_the_model_file_is_what_fit_returns(tmp_path):
    result, _, test = small_fit(tmp_path)
    assert evaluate(load(tmp_path / "model.safetensors"), test) == evaluate(result.potential, test)


@pytest.mark.parametrize("schedule", ["linear", "plateau", "exponential", "constant"])
def test_schedules_move_the_step_size(tmp_path, schedule):
    # steps too small to get better: after the first of three validations none is the best so far
    options = dict(
        decay=0.5, decay_steps=30, patience=0, lr=1e-7 if schedule == "plateau" else 1e-3
    )
    small_fit(tmp_path, schedule=schedule, max_steps=60, **options)
    end = checkpoint(tmp_path)["optimizer_states"][0]["param_groups"][0]["lr"]
    expected = {"linear": 0.0, "exponential": 0.25e-3, "constant": 1e-3, "plateau": 0.25e-7}
    assert end == pytest.approx(expected[schedule])


def test_clipped_gradients_are_no_larger(tmp_path):
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small_fit(tmp_path, model=model, clip=1e-20, max_steps=3)  # far below Adam's eps
    for name, value in before.items():
        after = checkpoint(tmp_path)["state_dict"][f"potential.model.{name}"]
        assert torch.allclose(after, value, rtol=0, atol=1e-9)


def test_a_validation_at_the_end_of_the_time_is_none_of_the_plateau(tmp_path):
    options = dict(schedule="plateau", patience=0, lr=1.0, validate_every=10**6)
    small_fit(tmp_path, max_steps=None, max_minutes=0.01, checkpoint_every=10**6, **options)
    assert checkpoint(tmp_path)["lr_schedulers"][0]["last_epoch"] == 0


def test_validation_counts_the_labels_that_there_are(tmp_path):
    structures = list(Demo()[:84])
    for data in structures[::3]:
        data.energy = None
    for data in structures[::4]:
        data.forces = None
    mixed = StructureDataset.from_list(structures)
    train, val = mixed[:64], mixed[64:]
    options = TrainingConfig(max_steps=4, validate_every=4, batch_size=8, progress=False)
    done = fit(new_potential(small_model(), train), train, val, options, tmp_path)
    errors = evaluate(done.potential, val).as_row()
    for name, value in done.potential.notes["validation"].items():
        if name != "val_loss":
            assert value == pytest.approx(errors[name.removeprefix("val_")], rel=1e-4)


def test_early_stopping(tmp_path):
    result, *_ = small_fit(tmp_path, lr=1e-12, stop_patience=1, max_steps=400, ema_decay=0.0)
    assert result.steps < 400
    assert result.stopped_by == "early_stopping"


def test_wall_clock_limit(tmp_path):
    started = time.monotonic()
    result, *_ = small_fit(tmp_path, max_steps=None, max_minutes=0.03)
    assert result.stopped_by == "max_minutes"
    assert 1.8 < result.seconds < 10
    assert time.monotonic() - started < 30


def test_compiling_takes_no_time_from_a_training(tmp_path, monkeypatch):
    forward, calls = Potential.forward, []

    def slow_at_first(self, *arguments, **options):
        if self.training and not calls:
            calls.append(time.sleep(4))
        return forward(self, *arguments, **options)

    monkeypatch.setattr(Potential, "forward", slow_at_first)
    dataset = Demo("molecules")
    train, val, _ = (dataset[part] for part in random_split(len(dataset), 64, 16, 10))
    options = TrainingConfig(max_minutes=0.03, device="cpu", progress=False)
    result = fit(new_potential(small_model(), train), train, val, options, tmp_path)
    assert result.steps > 20
    assert result.compile_seconds > 4
    assert 1.8 < result.seconds < 3
    assert checkpoint(tmp_path)["compile_seconds"] == result.compile_seconds


def test_same_seed_same_weights(tmp_path):
    small_fit(tmp_path / "a")
    small_fit(tmp_path / "b")
    assert_same_state(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_without_validation_the_last_average_is_kept(tmp_path):
    dataset = Demo("molecules")
    train = dataset[:32]
    training = TrainingConfig(max_steps=10, device="cpu", progress=False)
    result = fit(new_potential(Baseline(), train), train, dataset[:0], training, tmp_path)
    last = checkpoint(tmp_path)["state_dict"]
    assert torch.equal(result.potential.model.output.weight, last["average.model.output.weight"])
    assert result.steps == 10


def test_average_and_weights_are_kept_apart(tmp_path):
    small_fit(tmp_path, ema_decay=0.99)
    state = checkpoint(tmp_path)["state_dict"]
    raw, average = state["potential.model.readout.lin1.weight"], "average.model.readout.lin1.weight"
    assert not torch.equal(raw, state[average])


def test_batches_are_made_on_the_device_of_the_training(tmp_path, monkeypatch):
    from schnetgeo.train import PotentialModule

    frames = Demo("ethanol")
    on_disk = write_on_disk(tmp_path / "val.store", [frames[100:120]])
    on_disk.with_edges(4.0, on_disk=True)
    potential = new_potential(small_model(), frames[:100])
    training = TrainingConfig(max_steps=1)
    module = PotentialModule(potential, frames[:100], on_disk, training, tmp_path / "last.ckpt", {})
    strategy = SimpleNamespace(root_device=torch.device("meta"))
    trainer = SimpleNamespace(strategy=strategy, global_step=0, global_rank=0, world_size=1)
    monkeypatch.setattr(PotentialModule, "trainer", trainer)
    assert next(iter(module.train_dataloader())).edge_index.device.type == "meta"
    assert next(iter(module.val_dataloader())).edge_index.device.type == "cpu"  # may be too large


def test_labels_that_the_task_needs_must_be_there(tmp_path):
    structures = list(Demo("molecules")[:100])
    for data in structures:
        del data.forces
    with pytest.raises(InputError, match="training structures have no forces, which the task for"):
        small_fit(tmp_path, StructureDataset.from_list(structures), num_train=30, task="forces")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_a_training_is_not_overwritten(tmp_path):
    small_fit(tmp_path)
    with pytest.raises(InputError, match="holds a training already"):
        small_fit(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(channels=8), "begun with model.channels = 16, not 8; resume it with that"),
        (
            dict(cutoff_fn=StepCutoff),
            "model.cutoff_fn = 'schnetgeo.*Cosine.*', not 'schnetgeo.*Step",
        ),
        (dict(task="forces"), "begun with task = 'energy_and_forces', not 'forces'"),
        (dict(batch_size=8), "begun with batch_size = 10, not 8"),
        (dict(precision="64"), "begun with precision = '32', not '64'"),
        (dict(seed=1), "begun with seed = 0, not 1"),
    ],
)
def test_resuming_with_other_settings_is_refused(tmp_path, begun, changed, message):
    options, model = dict(max_steps=20, validate_every=10), {}
    for name, value in changed.items():
        (model if name in ("channels", "cutoff_fn") else options)[name] = value
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message):
        small_fit(begun, resume=True, model=small_model(**model), **options)
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("part", ["training", "validation"])
def test_resuming_with_other_structures_is_refused(begun, part):
    dataset = Demo("molecules")
    split = random_split(len(dataset), 64, 16, 50)
    dataset.packed.energy[(split.train if part == "training" else split.val)[3]] += 1e-9
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"was begun with {part} structures = '[0-9a-f]{{16}}', n"):
        small_fit(begun, dataset, resume=True, max_steps=20, validate_every=10)
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A training of 10 steps, to be resumed."""
    out = tmp_path_factory.mktemp("begun")
    small_fit(out, max_steps=10, validate_every=10)
    return out


def test_limits_may_change_on_resuming(tmp_path):
    small_fit(tmp_path, max_steps=10, schedule="constant")
    options = dict(max_minutes=5, validate_every=4, checkpoint_every=3, threads=1)
    result, *_ = small_fit(tmp_path, resume=True, max_steps=14, schedule="constant", **options)
    assert result.steps == 14


def test_resuming_what_is_no_checkpoint(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"hello")
    with pytest.raises(InputError, match="last.ckpt: no checkpoint of this version; overwrite"):
        small_fit(tmp_path, resume=True)


def test_resuming_a_checkpoint_that_counts_its_steps_elsewhere(begun, tmp_path):
    state = checkpoint(begun)
    state["settings"] = state.pop("started_with")
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="last.ckpt: no checkpoint of this version; overwrite"):
        small_fit(tmp_path, resume=True, max_steps=10, validate_every=10)


def test_loaders_instead_of_data_sets_are_refused(tmp_path):
    loaders = load_data("Demo", num_train=20, num_val=5, num_test=5)
    with pytest.raises(InputError, match="train must be a data set, .* got a Loader; the load"):
        new_potential(SchNet(8, 1), loaders.train)
    with pytest.raises(InputError, match="val must be a data set, .* got a Loader"):
        fit(
            Potential(SchNet(8, 1)), Demo()[:20], loaders.val, TrainingConfig(max_steps=1), tmp_path
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("start", [
    lambda data, out: new_potential(small_model(), data),
    lambda data, out: fit(
        Potential(small_model()), data, data[:0], TrainingConfig(max_steps=1), out
    ),
])  # fmt: skip
def test_a_target_of_qm9_that_is_no_energy_is_refused_at_once(tmp_path, start):
    data = QM9(target="mu", file=shared("qm9_all_properties.npz"))[:20]
    with pytest.raises(InputError, match="target mu is in Debye, .* take another target, or a mod"):
        start(data, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("measure", [predict, evaluate])
def test_errors_are_those_of_a_data_set_with_structures(measure):
    dataset = Demo("molecules")
    potential = Potential(small_model())
    for other in ([dataset[0]], torch.utils.data.DataLoader(dataset)):
        with pytest.raises(InputError, match="dataset must be a data set"):
            measure(potential, other)
    with pytest.raises(InputError, match="dataset has no structure; give some"):
        measure(potential, dataset[:0])


def test_elements_above_the_table_are_refused_before_anything_is_written(tmp_path):
    model = SchNet(channels=8, num_layers=1, num_basis=8, cutoff=4.0, max_z=8)
    with pytest.raises(InputError, match=r"structure \d+: z\[\d+\] = 8 .* from 1 to 7"):
        small_fit(tmp_path, model=model)
    assert not list(tmp_path.iterdir())


def test_refitted_references_remove_the_mean_error_of_each_composition(tmp_path):
    result, *_ = small_fit(tmp_path, Demo("ethanol"), max_steps=20)
    part = Demo("ethanol")[:50]
    part.packed.energy = part.packed.energy + 7.0
    refit_references(result.potential, part)
    errors = [
        float(result.potential(part[i], forces=False).energy - part[i].energy) for i in range(50)
    ]
    assert sum(errors) / 50 == pytest.approx(0, abs=1e-6)


KILLED = dict(max_steps=300, schedule="plateau", patience=0, decay=0.5, validate_every=40)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A training that nobody disturbs, to compare with."""
    out = tmp_path_factory.mktemp("uninterrupted")
    finish(command(out, checkpoint_every=7, **KILLED))
    return out


@pytest.mark.parametrize(
    ("how", "checkpoint_every"), [(signal.SIGKILL, 7), (signal.SIGKILL, 40), (signal.SIGTERM, 7)]
)
def test_a_killed_training_resumes_bit_for_bit(tmp_path, uninterrupted, how, checkpoint_every):
    run = command(tmp_path, checkpoint_every=checkpoint_every, **KILLED)
    steps = []
    for _ in range(2):
        process = subprocess.Popen(run, env=ONE_THREAD, stdout=-3, stderr=-3)
        first = (tmp_path / "last.ckpt").stat().st_mtime if steps else 0
        while process.poll() is None and not _newer(tmp_path / "last.ckpt", first):
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.7))
        process.send_signal(how)
        process.wait(60)
        steps.append(checkpoint(tmp_path)["global_step"])
    assert 0 < steps[0] <= steps[1]
    finish(run)
    assert checkpoint(tmp_path)["global_step"] == 300
    assert_same_state(checkpoint(tmp_path)["state_dict"], checkpoint(uninterrupted)["state_dict"])
    assert_same_state(weights(tmp_path), weights(uninterrupted))


def _newer(path, than):
    return path.exists() and path.stat().st_mtime > than


def test_sigterm_keeps_the_last_step(tmp_path):
    run = command(tmp_path, max_steps=100000, validate_every=1000, checkpoint_every=100000)
    process = subprocess.Popen(run, env=ONE_THREAD, stdout=-3, stderr=-3)
    while process.poll() is None and not list(tmp_path.glob("logs/*/metrics.csv")):
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) != 0
    assert checkpoint(tmp_path)["global_step"] > 50


@pytest.mark.parametrize("changed", [dict(clip=1.0), dict(task="forces"), dict(lacking=1)])
def test_two_processes_follow_the_loss_curve_of_one(tmp_path, changed):
    options = dict(max_steps=100, batch_size=8, precision=64, validate_every=50, schedule="linear")
    options |= changed
    one, two = tmp_path / "one", tmp_path / "two"
    finish(command(one, **options))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    finish(torchrun + command(two, **options)[1:])
    curves = [_losses(out) for out in (one, two)]
    assert len(curves[0]) == 4  # two of training, two of validation
    assert curves[0] == pytest.approx(curves[1], rel=1e-6)
    for a, b in zip(weights(one).values(), weights(two).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def _losses(out):
    with open(out / "logs/version_0/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    return [float(r[k]) for k in ("train_loss", "val_loss") for r in rows if r[k]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "nothing ends the training"),
        (dict(max_steps=0), "max_steps must be positive, got 0"),
        (dict(max_steps=1, batch_size=0), "batch_size must be positive, got 0"),
        (dict(max_steps=1, device="mps"), "unknown device 'mps'; known: auto, cpu, cuda"),
        (dict(max_steps=1, schedule="cosine"), "unknown schedule 'cosine'; known: linear, plat"),
        (dict(max_steps=1, task="heat"), "unknown task 'heat'; known: energy, forces, energy_and"),
        (dict(max_steps=1, loss="huber"), "unknown loss 'huber'; known: mse, mae"),
        (dict(max_steps=1, ema_decay=1.5), "ema_decay must lie in 0 … 1, 1 excluded, got 1.5"),
    ],
)
def test_impossible_trainings_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        TrainingConfig(**options)

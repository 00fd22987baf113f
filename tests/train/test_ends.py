"""How trainings begin and end: interrupted, diverged, stopped early, beside another, resumed."""

import contextlib
import copy
import csv
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import callbacks as of_lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import nn

import schnetgeo as sg
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import Demo
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from schnetgeo.train import Diverged, PotentialModule, TrainingConfig, evaluate, fit, new_potential
from schnetgeo.train.folder import reserve
from schnetgeo.train.predict import evaluation_mode

FRAMES = Demo("ethanol")
TRAIN, VAL = FRAMES[:40], FRAMES[40:50]


class Norm(sg.RadialConv):
    """A layer with running statistics and dropout."""

    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)
        self.norm, self.drop = nn.BatchNorm1d(channels), nn.Dropout(0.2)

    def message(self, x_j, W):
        return self.drop(self.norm(x_j)) * W


def potential(**changed):
    torch.manual_seed(0)
    options = dict(channels=8, num_layers=2, num_basis=8, cutoff=3.0) | changed
    return new_potential(sg.SchNet(**options), TRAIN)


def training(**options):
    defaults = dict(max_steps=20, validate_every=10, checkpoint_every=10, device="cpu")
    return TrainingConfig(**defaults | dict(progress=False) | options)


def step_of(out):
    return torch.load(out / "last.ckpt", weights_only=True)["global_step"]


class At(Callback):
    """Calls a function at the end of a step, and lists steps with their step size."""

    def __init__(self, step=None, call=lambda: None):
        self.step, self.call, self.rates = step, call, {}

    def on_train_batch_end(self, trainer, module, *args):
        self.rates[trainer.global_step] = trainer.optimizers[0].param_groups[0]["lr"]
        if trainer.global_step == self.step:
            self.call()


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", [interrupt, lambda: os.kill(os.getpid(), signal.SIGINT)])
def test_ctrl_c_keeps_the_step_and_comes_as_keyboard_interrupt(tmp_path, how):
    before = signal.getsignal(signal.SIGINT)
    options = training(max_steps=60, validate_every=20, checkpoint_every=50)
    with pytest.raises(KeyboardInterrupt, match="last.ckpt holds step 33; go on with --resume"):
        fit(potential(), TRAIN, VAL, options, tmp_path / "a", callbacks=[At(33, how)])
    assert step_of(tmp_path / "a") == 33
    assert signal.getsignal(signal.SIGINT) is before
    resumed = fit(potential(), TRAIN, VAL, options, tmp_path / "a", resume=True)
    whole = fit(potential(), TRAIN, VAL, options, tmp_path / "b")
    for a, b in zip(resumed.potential.parameters(), whole.potential.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("stop", [33, 40])
@pytest.mark.parametrize("how", [interrupt, lambda: os.kill(os.getpid(), signal.SIGINT)])
def test_random_numbers_and_validations_go_on_as_if_never_interrupted(tmp_path, how, stop):
    options = training(max_steps=60, validate_every=20, checkpoint_every=15)
    models = []
    for out, callbacks in ((tmp_path / "a", []), (tmp_path / "b", [At(stop, how)])):
        start = potential(conv=Norm)
        torch.manual_seed(1)
        with contextlib.suppress(KeyboardInterrupt):
            fit(start, TRAIN, VAL, options, out, callbacks=callbacks)
        if callbacks:
            assert step_of(out) in (stop, 30)
            torch.manual_seed(2)
            fit(potential(conv=Norm), TRAIN, VAL, options, out, resume=True)
        models.append(torch.load(out / "last.ckpt", weights_only=True)["state_dict"])
    for name, value in models[0].items():
        assert torch.equal(value, models[1][name]), name
    logs = [(tmp_path / out).glob("logs/*/metrics.csv") for out in "ab"]
    validations = [set().union(*map(_validation, files)) for files in logs]
    assert validations[0] == validations[1]


def _validation(file):
    """Steps and errors of the validations of a log."""
    with file.open() as lines:
        return {(r["step"], r["val_loss"]) for r in csv.DictReader(lines) if r.get("val_loss")}


class Noting(Callback):
    """A callback with a state."""

    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return {"value": self.value}


@pytest.mark.parametrize("value", [Path("a"), np.float64(1.0)])
def test_a_callback_whose_state_cannot_be_read_again_is_named(tmp_path, value):
    with pytest.raises(InputError, match="the callback Noting has a state .* str"):
        fit(potential(), TRAIN, VAL, training(), tmp_path, callbacks=[Noting(value)])
    assert not (tmp_path / "last.ckpt").exists()
    fit(potential(), TRAIN, VAL, training(), tmp_path, callbacks=[Noting("a")])


def test_ctrl_c_waits_for_a_step_only_where_there_is_one(tmp_path, monkeypatch):
    """While edges are built nothing is lost by ending at once."""
    build = StructureDataset.with_edges

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return build(*arguments)

    monkeypatch.setattr(StructureDataset, "with_edges", interrupted)
    with pytest.raises(KeyboardInterrupt) as stop:
        fit(potential(), TRAIN, VAL, training(), tmp_path)
    assert stop.traceback[-1].name == "interrupted"
    assert not (tmp_path / "model.safetensors").exists()


def test_ctrl_c_in_the_last_step_names_the_model(tmp_path):
    stop = At(20, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"ended at step 20; .*model.safetensors holds"):
        fit(potential(), TRAIN, VAL, training(), tmp_path, callbacks=[stop])
    assert (tmp_path / "model.safetensors").exists()


def test_a_refused_training_leaves_the_potential_as_it_was(tmp_path):
    start = potential()
    start.trained_on = None
    with pytest.raises(InputError, match=r"have N \(z = 7\)"):
        fit(start, TRAIN, Demo("molecules")[:100], training(), tmp_path)
    assert start.trained_on is None
    fit(start, TRAIN, VAL, training(), tmp_path)
    assert start.trained_on.elements == ["H", "C", "O"]


def test_the_shell_says_what_ctrl_c_leaves(tmp_path):
    out = tmp_path / "out"
    run = [sys.executable, "-m", "schnetgeo", "train", "--max-steps=100000", f"--out={out}"]
    process = subprocess.Popen(
        [*run, "--progress=false", "--num-train=50", "--model.channels=8"],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while process.poll() is None and not list(out.glob("logs/*/metrics.csv")):
        pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"last.ckpt holds step \d+; go on with --resume", said.splitlines()[-1])
    assert "Traceback" not in said
    assert step_of(out) > 0


@pytest.mark.parametrize("val", [VAL, VAL[:0]])
def test_a_training_that_diverges_leaves_no_model(tmp_path, val):
    with pytest.raises(Diverged, match=r"diverged by step \d+, .* lower lr \(1e\+09\), or limit"):
        fit(potential(), TRAIN, val, training(max_steps=200, validate_every=150, lr=1e9), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_longer_end_makes_no_jump_of_the_step_size(tmp_path):
    seen = At(30, interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(potential(), TRAIN, VAL, training(max_steps=40, validate_every=7), tmp_path,
            callbacks=[seen])  # fmt: skip
    seen.step = None
    longer = training(max_steps=80, validate_every=7)
    fit(potential(), TRAIN, VAL, longer, tmp_path, resume=True, callbacks=[seen])
    assert max(seen.rates.values()) == seen.rates[1]
    assert all(0 < seen.rates[step] <= seen.rates[30] for step in range(31, 80))


def test_a_finished_line_is_not_trained_on_with_step_size_zero(tmp_path):
    fit(potential(), TRAIN, VAL, training(), tmp_path)
    with pytest.raises(InputError, match="to 0, so that more steps change nothing; .*--init"):
        fit(potential(), TRAIN, VAL, training(max_steps=40), tmp_path, resume=True)
    assert step_of(tmp_path) == 20


def test_a_training_that_stopped_early_has_ended(tmp_path):
    options = training(max_steps=500, stop_patience=1, lr=1e-12, ema_decay=0.0, schedule="constant")
    first = fit(potential(), TRAIN, VAL, options, tmp_path)
    model = (tmp_path / "model.safetensors").read_bytes()
    again = fit(potential(), TRAIN, VAL, options, tmp_path, resume=True)
    assert first.stopped_by == again.stopped_by == "early_stopping"
    assert first.steps == again.steps < 500
    assert (tmp_path / "model.safetensors").read_bytes() == model


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    fit(potential(), TRAIN, VAL, training(), tmp_path)
    with pytest.raises(InputError, match="give one of --resume and --overwrite"):
        fit(potential(), TRAIN, VAL, training(), tmp_path, resume=True, overwrite=True)
    assert step_of(tmp_path) == 20


def test_one_training_writes_a_folder(tmp_path):
    errors = []

    def second():
        try:
            fit(potential(), TRAIN, VAL, training(), tmp_path, overwrite=True)
        except InputError as error:
            errors.append(str(error))

    def start():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    result = fit(potential(), TRAIN, VAL, training(), tmp_path, callbacks=[At(5, start)])
    assert f"another training writes there, process {os.getpid()} on " in errors[0]
    assert result.steps == 20
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_lock_is_that_of_its_thread(tmp_path):
    with reserve(tmp_path), reserve(tmp_path / ".."), reserve(tmp_path):
        pass
    with reserve(tmp_path):
        pass


def test_a_folder_whose_holder_cannot_be_written_is_free_again(tmp_path):
    (tmp_path / ".training.holder").mkdir()
    with pytest.raises(InputError, match="cannot be written"), reserve(tmp_path):
        pass
    assert not (tmp_path / ".training.lock").exists()
    (tmp_path / ".training.holder").rmdir()
    with reserve(tmp_path):
        pass


@pytest.mark.parametrize("file", [False, True])
def test_a_trained_potential_trains_on(tmp_path, file):
    first = fit(potential(), TRAIN, VAL, training(), tmp_path / "a").potential
    start = sg.load(tmp_path / "a/model.safetensors") if file else first
    before = copy.deepcopy(start.state_dict())
    second = fit(start, FRAMES[50:90], VAL, training(), tmp_path / "b")
    moved = [not torch.equal(before[k], v) for k, v in second.potential.state_dict().items()]
    assert sum(moved) > 10
    assert all(p.requires_grad for p in second.potential.parameters())


def test_frozen_parts_stay_and_stay_frozen(tmp_path):
    start = potential()
    start.model.interactions.requires_grad_(False)
    before = copy.deepcopy(start.state_dict())
    end = fit(start, TRAIN, VAL, training(), tmp_path).potential
    for name, parameter in end.named_parameters():
        frozen = "interactions" in name
        assert parameter.requires_grad is not frozen
        assert torch.equal(parameter, before[name]) is frozen, name
    with pytest.raises(InputError, match="no parameter that can be trained: all have requires_g"):
        fit(start.requires_grad_(False), TRAIN, VAL, training(), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_potential_of_another_precision_is_left_as_it_is(tmp_path):
    double = potential().double()
    before = copy.deepcopy(double.state_dict())
    with pytest.warns(DataNote, match="is trained and saved in float32; set precision='64'"):
        result = fit(double, TRAIN, VAL, training(), tmp_path)
    assert result.potential.scale.dtype == torch.float32
    for name, value in double.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


def test_running_statistics_reach_the_averaged_model(tmp_path):
    trained = potential(conv=Norm)
    fitted = fit(trained, TRAIN, VAL, training(), tmp_path).potential
    ours, theirs = (p.model.interactions[0].conv.norm for p in (fitted, trained))
    assert int(ours.num_batches_tracked) == 20
    assert torch.equal(ours.running_mean, theirs.running_mean)
    loaded = sg.load(tmp_path / "model.safetensors", classes=[Norm])
    assert evaluate(loaded, VAL) == evaluate(fitted, VAL)


def test_parts_keep_their_modes(tmp_path):
    mixed = potential(conv=Norm)
    mixed.model.interactions[0].eval()
    modes = [part.training for part in mixed.modules()]
    seen = []
    look = At(2, lambda: seen.extend(part.training for part in mixed.modules()))
    evaluate(mixed, VAL)
    with evaluation_mode(mixed):
        assert not any(part.training for part in mixed.modules())
    with pytest.raises(ValueError, match="batch_size"):
        evaluate(mixed, VAL, batch_size=-1)
    assert [part.training for part in mixed.modules()] == modes
    fit(mixed, TRAIN, VAL, training(max_steps=2), tmp_path, callbacks=[look])
    assert seen == modes


def test_a_loaded_potential_trains_in_training_mode(tmp_path):
    potential(conv=Norm).save(tmp_path / "a.safetensors")
    loaded, seen = sg.load(tmp_path / "a.safetensors", classes=[Norm]), []
    look = At(1, lambda: seen.extend(part.training for part in loaded.modules()))
    fit(loaded, TRAIN, VAL, training(max_steps=1), tmp_path / "out", callbacks=[look])
    assert all(seen)


def test_numbers_of_numpy_train_and_resume(tmp_path):
    numbers = dict(channels=np.int64(8), cutoff=np.float32(3.0))
    options = training(lr=np.float64(1e-3), schedule="constant")
    fit(potential(**numbers), TRAIN, VAL, options, tmp_path)
    longer = training(lr=1e-3, max_steps=np.int64(22), schedule="constant")
    assert fit(potential(), TRAIN, VAL, longer, tmp_path, resume=True).steps == 22
    assert sg.load(tmp_path / "model.safetensors").model.hyperparameters["channels"] == 8


def test_a_model_that_cannot_be_saved_is_refused_before_the_first_step(tmp_path):
    start = potential()
    start.model.hyperparameters["activation"] = lambda x: x
    with pytest.raises(InputError, match="is neither number, string, class"):
        fit(start, TRAIN, VAL, training(), tmp_path / "out")
    del start.model.hyperparameters
    with pytest.raises(InputError, match="has no attribute `hyperparameters`"):
        fit(start, TRAIN, VAL, training(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_validation_structures_with_other_elements_are_refused(tmp_path):
    molecules = Demo("molecules")
    nitrogen = torch.tensor([bool((data.z == 7).any()) for data in molecules[:80]])
    with_n, without = molecules[:80][nitrogen], molecules[:80][~nitrogen]
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, cutoff=3.0)
    with pytest.raises(InputError, match=r"have N \(z = 7\), of which this model was trained on"):
        fit(new_potential(model, without), without, with_n, training(), tmp_path / "out")


@pytest.mark.parametrize(
    "callback",
    [
        lambda path: of_lightning.ModelCheckpoint(path / "own", monitor="val_loss"),
        lambda path: of_lightning.TQDMProgressBar(),
        lambda path: of_lightning.ModelSummary(max_depth=1),
        lambda path: of_lightning.Timer("00:01:00:00"),
    ],
)
def test_callbacks_of_lightning_work(tmp_path, callback):
    options = training(progress=True)
    result = fit(potential(), TRAIN, VAL, options, tmp_path, callbacks=[callback(tmp_path)])
    assert result.steps == 20


def test_a_callback_that_needs_lightnings_optimization_is_refused_in_words(tmp_path):
    accumulate = of_lightning.GradientAccumulationScheduler({0: 2})
    average = of_lightning.StochasticWeightAveraging(1e-3)
    with pytest.raises(InputError, match="GradientAccumulationScheduler .* raise batch_size inst"):
        fit(potential(), TRAIN, VAL, training(), tmp_path, callbacks=[accumulate])
    with pytest.raises(InputError, match="^Lightning refuses this training: "):
        fit(potential(), TRAIN, VAL, training(), tmp_path, callbacks=[average])


class Mine(Logger):
    name, version = "mine", 0

    def __init__(self):
        super().__init__()
        self.seen = {}

    def log_hyperparams(self, params, *args):
        self.seen |= params

    def log_metrics(self, metrics, step=None):
        self.seen |= metrics


def test_loggers_of_ones_own(tmp_path):
    logger = Mine()
    fit(potential(), TRAIN, VAL, training(lr=1e-3), tmp_path, loggers=[logger])
    assert logger.seen["lr"] == 1e-3
    assert logger.seen["model.channels"] == 8
    assert "val_force_mae_kcal_mol_A" in logger.seen
    assert "lr: 0.001" in (tmp_path / "logs/version_0/hparams.yaml").read_text()


def test_notes_of_the_model_file_say_how_it_came_about(tmp_path):
    fit(potential(), TRAIN, VAL, training(seed=3), tmp_path, notes={"theory": "GFN2-xTB"})
    loaded = sg.load(tmp_path / "model.safetensors")
    expected = {"task": "energy_and_forces", "seed": 3, "num_train": 40, "theory": "GFN2-xTB"}
    assert expected.items() <= loaded.notes.items()
    assert loaded.notes["validation"]["val_loss"] > 0
    assert loaded.trained_on.elements == ["H", "C", "O"]


def test_a_checkpoint_is_no_model(tmp_path):
    fit(potential(), TRAIN, VAL, training(), tmp_path)
    with pytest.raises(InputError, match="trained model is in model.safetensors beside it"):
        PotentialModule.load_from_checkpoint(tmp_path / "last.ckpt")


def test_threads_are_as_before(tmp_path):
    before = torch.get_num_threads()
    fit(potential(), TRAIN, VAL, training(threads=before + 1), tmp_path)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("tasks", [{"SLURM_NTASKS_PER_NODE": "4"}, {}])
def test_one_process_in_an_allocation_for_several(tmp_path, monkeypatch, tasks):
    job = {"JOB_ID": "1", "JOB_NAME": "job.sh", "NTASKS": "4", "PROCID": "0", "LOCALID": "0"}
    for name, value in ({f"SLURM_{k}": v for k, v in job.items()} | tasks).items():
        monkeypatch.setenv(name, value)
    assert fit(potential(), TRAIN, VAL, training(max_steps=2), tmp_path).steps == 2

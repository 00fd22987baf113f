"""Speed and memory beside PyG's SchNet and SchNetPack: one process, steps in turn, medians.

`python -m benchmarks.speed --out DIR --readme README.md`

Denormal numbers, which PyG's Gaussians are full of, make processors several times slower. They are
flushed to zero for everybody here; `--keep-denormals` shows what users of the peers see.
"""

import copy
import functools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import lightning as L
import torch

from benchmarks.machine import hardware, versions
from benchmarks.speed.packages import (
    CASES,
    GPU_CASES,
    Case,
    Step,
    box,
    collations,
    feature_bytes,
    matrix_products,
    prepare,
    step,
)
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.data import neighbor_list
from schnetgeo.data.loader import train_loader
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import Demo
from schnetgeo.files import atomic_write
from schnetgeo.nn import SchNet
from schnetgeo.potential import Potential
from schnetgeo.train import TrainingConfig, fit
from schnetgeo.train.module import LOG_EVERY

_GROWTH = (100, 1_000, 10_000, 100_000)  # atoms


def interleaved(steps: dict[str, Step], seconds: float, wait: Callable = lambda: None) -> dict:
    """Median milliseconds of each, run in turn, at least three times each.

    A turn is as many runs as fit into 100 ms: in use, steps follow their like, not a step that has
    just given gigabytes back to the system.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    turns = {}
    for name, run in steps.items():
        run(), run(), wait()  # compiles, fills caches
        turns[name] = max(1, round(0.1 / _seconds(run, 1, wait)))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 3:
        for name, run in steps.items():
            times[name].append(1e3 * _seconds(run, turns[name], wait))
    return {name: statistics.median(values) for name, values in times.items()}


def _seconds(run: Step, turns: int, wait: Callable) -> float:
    before = time.perf_counter()
    for _ in range(turns):
        run()
    wait()
    return (time.perf_counter() - before) / turns


def measure(case: Case, device: str, seconds: float, memory: bool) -> dict:
    """One row: milliseconds of all contenders, of the bare matrix products, and peak memory."""
    data = prepare(case, device)
    row = {
        "case": case.name,
        "title": case.title,
        "atoms": data.z.numel(),
        "edges": data.edge_index.size(1),
    }
    on_gpu, steps, peaks = device == "cuda", {}, {}
    for name in case.contenders:
        if on_gpu and name == "schnetgeo, tabulated":  # which is for the CPU
            continue
        try:
            steps[name] = step(case, name, data)
            if on_gpu:
                peaks[name] = _gpu_peak(steps[name])
        except ImportError:
            print(f"{case.name}: without {name}, which is not installed", file=sys.stderr)
        except torch.OutOfMemoryError:
            print(f"{case.name}: without {name}, for which memory is too small", file=sys.stderr)
            steps.pop(name, None)
            torch.cuda.empty_cache()
    steps["matrix products"] = matrix_products(case, data)
    row["milliseconds"] = interleaved(steps, seconds, _wait(device))
    if on_gpu:
        row["memory_limit_ms"] = feature_bytes(case, data) / _bandwidth() * 1e3
        row["peak_memory_mb"] = peaks
        row["graph_ms"] = _graph(case, device)
    elif memory:
        row["peak_memory_mb"] = {name: _peak(case.name, name) for name in case.contenders}
    return row


def _gpu_peak(run: Step) -> float:
    """Megabytes of the GPU that a step needs beyond what there was before."""
    run()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


@functools.cache
def _bandwidth() -> float:
    """Bytes per second, read and written, of copies in the GPU's memory."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    out = torch.empty_like(source)
    copy = {"": lambda: out.copy_(source)}
    return 2e3 * source.numel() / interleaved(copy, 0.5, torch.cuda.synchronize)[""]


def _graph(case: Case, device: str) -> dict[str, float]:
    """Milliseconds that each backend for GPUs takes for the radius graph."""
    data = case.data().to(device)
    searches = {
        name: lambda name=name: neighbor_list(data, case.cutoff, name)
        for name in ("torch_cluster", "torch")
        if find_spec(name)
    }
    return interleaved(searches, 0.5, _wait(device))


def growth(seconds: float) -> dict[int, float]:
    """Microseconds per atom for energy and forces of crystals of 10² to 10⁵ atoms."""
    case = CASES[-1]
    found = {}
    for atoms in _GROWTH:
        cells = max(8, round((atoms / 16) ** (1 / 3)) ** 3 * 2)
        data = prepare(case._replace(data=lambda cells=cells: box(cells)))
        run = step(case, "schnetgeo, tabulated", data)
        found[data.z.numel()] = 1e3 * interleaved({"": run}, seconds)[""] / data.z.numel()
    return found


class _Turns(L.Callback):
    """Gives every other turn of a training's steps to the bare loop, and times both."""

    def __init__(self, bare: Step, steps: int):
        self.bare, self.steps = bare, steps
        self.milliseconds: dict[str, list[float]] = {"Lightning": [], "bare loop": []}

    def on_train_start(self, *args):
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, *args):
        if trainer.global_step % self.steps:
            return
        mine = (time.perf_counter() - self._began) / self.steps
        self.milliseconds["Lightning"].append(1e3 * mine)
        self.milliseconds["bare loop"].append(1e3 * _seconds(self.bare, self.steps, lambda: None))
        self._began = time.perf_counter()


def lightning(turns: int = 48) -> dict[str, float]:
    """Median milliseconds per step of 32 ethanols with forces, by Lightning and by a bare loop."""
    train = Demo("ethanol")[:960]
    training = TrainingConfig(
        batch_size=32,
        max_steps=turns * LOG_EVERY,  # so that each turn has its part of the logging
        validate_every=10**9,
        checkpoint_every=10**9,
        progress=False,
    )
    measured = _Turns(_bare_step(Potential(SchNet(64, 3)).train(), train, training), LOG_EVERY)
    with tempfile.TemporaryDirectory() as out:
        fit(Potential(SchNet(64, 3)), train, train[:0], training, out, callbacks=[measured])
    return {name: statistics.median(values) for name, values in measured.milliseconds.items()}


def _bare_step(potential: Potential, train: StructureDataset, training: TrainingConfig) -> Step:
    """The same step, with the same loader, loss, optimizer and moving average."""
    average = copy.deepcopy(potential).requires_grad_(False)
    weights = list(potential.parameters()), list(average.parameters())
    optimizer, loss = torch.optim.Adam(weights[0], fused=True), training.objective()
    batches = iter(train_loader(train.with_edges(potential.model.cutoff), training.batch_size))

    def step() -> None:
        optimizer.zero_grad()
        batch = next(batches)
        loss(potential(batch), batch).backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(weights[1], weights[0], 0.005)

    return step


def _peak(case: str, contender: str) -> float:
    """Megabytes that a fresh process needs beyond what it had before its first steps."""
    command = [sys.executable, "-m", "benchmarks.speed", "--peak", case, contender]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _measure_peak(case: str, contender: str) -> float:
    case = next(c for c in CASES if c.name == case)
    run = step(case, contender, prepare(case))
    if contender == "schnetgeo, tabulated":
        run()  # the compiler's memory is not the model's
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    run(), run()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    """Kilobytes, as Linux tells."""
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def _wait(device: str) -> Callable:
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def markdown(results: dict) -> str:
    """The table of the README."""
    header = ["case", "schnetgeo", "PyG", "SchNetPack", "PyG / schnetgeo", "over matrix products"]
    on_gpu = "memory_limit_ms" in results["cases"][0]
    if on_gpu:
        header += ["over memory limit", "radius graph"]
    lines = [_line(header), _line(["---"] * len(header))]
    for row in results["cases"]:
        ms = row["milliseconds"]
        ours = min(v for k, v in ms.items() if k in ("schnetgeo", "schnetgeo, tabulated"))
        pyg, pack = ms.get("PyG"), ms.get("SchNetPack")
        ratio = f"{pyg / ours:.1f}" if pyg else "–"
        cells = [row["title"], _ms(ours), _ms(pyg), _ms(pack), ratio]
        cells.append(f"{ours / ms['matrix products']:.1f}")
        if on_gpu:
            cells += [f"{ours / row['memory_limit_ms']:.1f}", _ms(min(row["graph_ms"].values()))]
        lines.append(_line(cells))
    text = "\n".join(lines) + f"\n\n{results['hardware']}, torch {results['versions']['torch']}"
    if "collation" in results:
        ms = results["collation"]
        text += f"; 100 molecules collated in {_ms(ms['schnetgeo'])}, by PyG in {_ms(ms['PyG'])}"
    if "growth_us_per_atom" in results:
        growth = results["growth_us_per_atom"].items()
        per_atom = (f"{us:.0f} µs for {int(n):,}" for n, us in growth)
        text += f"; energy and forces of crystals take, per atom, {', '.join(per_atom)} atoms"
    if "lightning" in results:
        ms = results["lightning"]
        text += f"; Lightning takes {ms['Lightning'] / ms['bare loop']:.2f} times a bare loop"
    return text + ".\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ms(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "–"
    if milliseconds >= 1000:
        return f"{milliseconds / 1e3:.3g} s"
    return f"{milliseconds:.3g} ms" if milliseconds >= 1 else f"{1e3 * milliseconds:.0f} µs"


def _marks(device: str) -> tuple[str, str]:
    """Between which the table of a device stands."""
    name = "speed" if device == "cpu" else f"speed {device}"
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def _write_readme(path: Path, marks: tuple[str, str], text: str) -> None:
    before, _, rest = path.read_text().partition(marks[0])
    after = rest.partition(marks[1])[2]
    path.write_text(f"{before}{marks[0]}\n{text}{marks[1]}{after}")


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, write results.json."""
    parser = Parser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--out", type=str, default="runs/speed", help="folder for results.json")
    parser.add_argument("--cases", type=str, nargs="+", help="names of some; all by default")
    parser.add_argument("--device", type=str, default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 is torch's choice")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each case")
    parser.add_argument("--readme", type=str | None, help="file whose table to replace")
    parser.add_argument("--peak", type=str, nargs=2, help="measure the memory of one contender")
    flag(parser, "--keep_denormals", "leave numbers below 1e-38 to the processor")
    flag(parser, "--memory", "peak memory too, of each contender in a process of its own")
    flag(parser, "--no_extras", "without collation, Lightning and growth")
    options = parser.parse_args(arguments)
    cases = {case.name: case for case in (GPU_CASES if options.device == "cuda" else CASES)}
    unknown = [name for name in options.cases or () if name not in cases]
    if unknown:
        parser.error(f"--cases: unknown {', '.join(unknown)}; known: {', '.join(cases)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: cuda, but torch finds no GPU; take cpu")
    marks, readme = _marks(options.device), options.readme and Path(options.readme)
    if readme and not (readme.is_file() and all(mark in readme.read_text() for mark in marks)):
        parser.error(f"--readme: {readme} is no file with the marks {' and '.join(marks)}")
    # before the first parallel region: threads inherit it
    torch.set_flush_denormal(not options.keep_denormals)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.peak:
        print(_measure_peak(*options.peak))
        return
    extras = not options.no_extras and options.device == "cpu"
    results = {"hardware": hardware(), "versions": versions(), "cases": []}
    for name in options.cases or cases:
        row = measure(cases[name], options.device, options.seconds, options.memory)
        results["cases"].append(row)
        print(json.dumps(row), flush=True)
    if extras:
        results["collation"] = interleaved(collations(), options.seconds / 4)
        results["lightning"] = lightning()
        results["growth_us_per_atom"] = growth(options.seconds / 4)
    atomic_write(Path(options.out) / "results.json", json.dumps(results, indent=2).encode())
    table = markdown(results)
    print("\n" + table)
    if readme:
        _write_readme(readme, marks, table)


if __name__ == "__main__":
    main()

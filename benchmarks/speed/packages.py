"""One training step or one evaluation of each package, on the same batch."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from ase.build import bulk
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from benchmarks.speed.peers import energy_and_forces, pyg_schnet, schnetpack_schnet
from schnetgeo.data import from_ase, with_edges
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import AtomsFile, Demo
from schnetgeo.nn import SchNet
from schnetgeo.potential import Potential

Step = Callable[[], object]
PEERS = ("PyG", "SchNetPack")
OURS = ("schnetgeo", "schnetgeo, exact filters", "schnetgeo, tabulated")


class Case(NamedTuple):
    """What is computed, with what hyperparameters."""

    name: str
    title: str
    data: Callable[[], Data]  # without edges
    channels: int
    num_layers: int
    num_basis: int
    cutoff: float
    train: bool
    forces: bool = True

    @property
    def contenders(self) -> tuple[str, ...]:
        tabulated = () if self.train else ("schnetgeo, tabulated",)
        return ("schnetgeo", *tabulated, "schnetgeo, exact filters", *PEERS)


def molecules(count: int, size: int | None = None) -> Batch:
    """Molecules of QM9, of one size if asked for; the demo's where QM9 is not at hand."""
    file = Path(os.environ.get("SCHNETGEO_DATA", "../shared/data")) / "qm9_u0_part1.npz"
    dataset = AtomsFile(file) if file.exists() else Demo("molecules")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    if size:
        order = order[dataset.num_atoms[order] == min(size, int(dataset.num_atoms.max()))]
    return dataset.batch(order.repeat(-(-count // order.numel()))[:count])


def ethanols(count: int) -> Batch:
    """Frames of the demo's ethanol."""
    return Demo("ethanol").batch(range(count))


def ethanol() -> Data:
    """One frame of it."""
    return Demo("ethanol")[0]


def box(cells: int = 250) -> Data:
    """A rattled crystal of MgO, eight atoms a cell, 56 neighbors each within 5 Å."""
    edges = round((cells / 2) ** (1 / 3))
    atoms = bulk("MgO", "rocksalt", 4.21, cubic=True).repeat((edges, edges, cells // edges**2))
    atoms.rattle(0.05, seed=0)
    return from_ase(atoms)


CASES = (
    Case("qm9_energy", "100 molecules, 128/6/50, 10 Å, energy", lambda: molecules(100),
         128, 6, 50, 10.0, True, False),
    Case("qm9_forces", "100 molecules, 128/6/50, 10 Å, forces", lambda: molecules(100),
         128, 6, 50, 10.0, True),
    Case("paper", "32 molecules of 18 atoms, 64/3/300, 30 Å, forces", lambda: molecules(32, 18),
         64, 3, 300, 30.0, True),
    Case("ethanol32", "32 ethanols, 64/3/50, 5 Å, forces", lambda: ethanols(32),
         64, 3, 50, 5.0, True),
    Case("ethanol10", "10 ethanols, 64/3/50, 5 Å, forces", lambda: ethanols(10),
         64, 3, 50, 5.0, True),
    Case("latency", "one ethanol, 64/3/50, 5 Å, energy and forces", ethanol,
         64, 3, 50, 5.0, False),
    Case("box", "crystal of 2,000 atoms, 128/6/50, 5 Å, energy and forces", box,
         128, 6, 50, 5.0, False),
)  # fmt: skip


_BATCHES = 32, 128, 512, 2048, 4096  # molecules
GPU_CASES = (
    *(
        CASES[1]._replace(
            name=f"qm9_{count}",
            title=f"{count} molecules, 128/6/50, 10 Å, forces",
            data=lambda count=count: molecules(count),
        )
        for count in _BATCHES
    ),
    CASES[-1],
)


def prepare(case: Case, device: str = "cpu") -> Data:
    """The data of a case with its edges."""
    return with_edges(case.data().to(device), case.cutoff)


def step(case: Case, contender: str, data: Data) -> Step:
    """A function that trains one step, or evaluates energy and forces."""
    torch.manual_seed(0)
    settings = dict(
        channels=case.channels,
        num_layers=case.num_layers,
        num_basis=case.num_basis,
        cutoff=case.cutoff,
    )
    if contender in OURS:
        filters = "exact" if "exact" in contender else "spline"
        model = Potential(SchNet(**settings), filters=filters).to(data.z.device)
        if contender == "schnetgeo, tabulated":
            tabulated = model.tabulate()
            return lambda: tabulated(data)
    else:
        model = (pyg_schnet if contender == "PyG" else schnetpack_schnet)(**settings)
        model = model.to(data.z.device)
        data = data.clone()
        data.pos = data.pos.float()  # so that no peer pays for a conversion
    if case.train:
        return _training_step(model, data, case.forces)
    model.eval()
    return lambda: energy_and_forces(model, data)


def _training_step(model: nn.Module, data: Data, forces: bool) -> Step:
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-4, fused=True)
    evaluate = energy_and_forces if forces else _energy

    def train() -> None:
        optimizer.zero_grad()
        energy, force = evaluate(model, data)
        loss = 0.01 * energy.square().mean()
        if force is not None:
            loss = loss + force.square().sum(1).mean()
        loss.backward()
        optimizer.step()

    return train


def _energy(model: nn.Module, data: Data) -> tuple[Tensor, None]:
    if isinstance(model, Potential):
        return model(data, forces=False).energy, None
    if hasattr(model, "interaction_graph"):
        model.interaction_graph.edge_index = data.edge_index
        return model(data.z, data.pos, data.batch).squeeze(-1), None
    model.output_modules = model.output_modules[:1]  # without its module for forces
    model.required_derivatives, model.model_outputs = [], ["energy"]
    return energy_and_forces(model, data)[0], None


def matrix_products(case: Case, data: Data) -> Step:
    """The bare products of atoms' features and weights that a step cannot do without.

    A layer has three; a training step on energies runs them forth, back and for the weights, one
    on forces forth, back for the slopes, for the tangents, back, and twice for the weights.
    """
    atoms, channels = data.z.numel(), case.channels
    x = torch.randn(atoms, channels, device=data.z.device)
    weight, out = torch.randn(channels, channels).to(x), torch.empty_like(x)
    gradient = torch.empty_like(weight)
    rounds = 3 * case.num_layers
    passes = (4 if case.forces else 2) if case.train else 2
    for_weights = (2 if case.forces else 1) if case.train else 0

    def multiply() -> None:
        for _ in range(rounds):
            for _ in range(passes):
                torch.mm(x, weight, out=out)
            for _ in range(for_weights):
                torch.mm(x.t(), x, out=gradient)

    return multiply


def feature_bytes(case: Case, data: Data) -> int:
    """Bytes of features that a step moves if every operation reads and writes each array once.

    The operations of a layer are three products with the activation in one of them, the
    convolution, the slope along edges, the gradient of the table, and those of three weights:
    9 arrays (N, F) for the way forth, 12 for the slopes, 13 for the tangents, 28 back.
    """
    arrays = 9 + 12 * case.forces
    if case.train:
        arrays = 9 + 12 + 13 + 28 if case.forces else 9 + 18
    return arrays * case.num_layers * data.z.numel() * case.channels * 4


def collations(count: int = 100) -> dict[str, Step]:
    """One batch of molecules put together, by PyG from a list and by this package."""
    dataset: StructureDataset = Demo("molecules")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[:count]
    structures = [dataset[int(i)] for i in order]
    return {
        "schnetgeo": lambda: dataset.batch(order),
        "PyG": lambda: Batch.from_data_list(structures),
    }

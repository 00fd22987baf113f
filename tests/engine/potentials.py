"""Potentials of different architectures, structures, and comparisons for tests of the engine."""

import copy

import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from schnetgeo.data import from_ase
from schnetgeo.engine import engine
from schnetgeo.nn import AtomisticModel, PaiNN, RadialConv, SchNet
from schnetgeo.nn.basis import BesselBasis
from schnetgeo.nn.conv import CFConv, EdgeFeatures
from schnetgeo.nn.cutoff import PolynomialCutoff
from schnetgeo.nn.readout import SumReadout
from schnetgeo.potential import Potential
from tests.nn.weights import randomize

SIZES = dict(channels=8, num_layers=2, num_basis=8, cutoff=4.0)
EXECUTORS = ["numba", "torch"]


class Gate(RadialConv):
    """The layer of README.md."""

    def __init__(self, channels: int, num_basis: int):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)

    def message(self, x_i, x_j, W):
        return x_i.sigmoid() * x_j * W


class TwoConvolutions(nn.Module):
    """A layer of two convolutions, one after the other and side by side."""

    def __init__(self, channels: int, num_basis: int):
        super().__init__()
        self.first, self.second = CFConv(channels, num_basis), Gate(channels, num_basis)
        self.lin = nn.Linear(channels, channels)

    def forward(self, x: Tensor, edges: EdgeFeatures) -> Tensor:
        y = torch.tanh(self.first(x, edges))
        return self.lin(self.second(y, edges) * y)


class OwnModel(AtomisticModel):
    """A model that a user might write."""

    def __init__(self, channels: int = 8):
        super().__init__(4.0, 20, BesselBasis(6, 4.0), PolynomialCutoff(4.0))
        self.embedding = nn.Embedding(20, channels)
        self.block = TwoConvolutions(channels, 6)
        self.norm = nn.LayerNorm(channels)
        self.readout = SumReadout(channels, 4, nn.SiLU)

    def atomic_values(self, z: Tensor, edges: EdgeFeatures) -> Tensor:
        x = self.embedding(z)
        return self.readout(self.norm(x + self.block(x, edges)))


MODELS = {
    "SchNet": lambda: SchNet(**SIZES),
    "Gate": lambda: SchNet(**SIZES, conv=Gate),
    "PaiNN": lambda: PaiNN(**SIZES),
    "OwnModel": OwnModel,
}


def potential_of(name: str = "SchNet", filters: str = "spline", spacing=None, **arguments):
    """A potential in training mode, float64, nothing in it 0."""
    model = SchNet(**{**SIZES, **arguments}) if arguments else MODELS[name]()
    return Potential(
        randomize(model.double(), seed=1), scale=1.3, filters=filters, spacing=spacing
    ).train()


def exact(potential: Potential) -> Potential:
    """A copy whose layers run one by one, filters on every edge."""
    other = copy.deepcopy(potential)
    other.filters = "exact"
    return other


def rattled(atoms: Atoms | str, seed: int = 0) -> Atoms:
    atoms = molecule(atoms) if isinstance(atoms, str) else atoms
    atoms.rattle(0.1, seed=seed)
    return atoms


def batch_of(*atoms: Atoms | str) -> Data:
    """A batch of rattled structures."""
    return Batch.from_data_list([from_ase(rattled(a, seed)) for seed, a in enumerate(atoms)])


def crystals_and_atoms():
    """Two crystals, one with edges from atoms to their images, and structures without edges."""
    alone = Atoms("H", cell=[20, 20, 20], pbc=True)
    apart = Atoms("CO", [[0, 0, 0], [0, 0, 10]], cell=[30, 30, 30], pbc=True)
    neon = Atoms("Ne", cell=[3, 3.3, 3.6], pbc=True)
    return batch_of(alone, bulk("NaCl", "rocksalt", a=5.0), apart, neon, alone.copy())


def methanol() -> Data:
    return from_ase(rattled("CH3OH"))


def use_executor(name: str, monkeypatch) -> None:
    """From here on compiled code or torch runs what the engine reads."""
    if name == "torch":
        monkeypatch.setattr(engine, "refusal", lambda *_: "a test")


def loss_of(prediction) -> Tensor:
    """Of all results, with gradients that differ from place to place."""
    total, generator = 0.0, torch.Generator().manual_seed(5)
    for _, value in prediction.items():
        seed = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        value = value.nan_to_num().double()
        total = total + (value.square() + seed * value).sum()
    return total


def training_step(potential: Potential, data: Data, **what) -> tuple[list[Tensor], dict]:
    """Results, and gradients of a loss on them for all parameters."""
    potential.zero_grad()
    prediction = potential(data, **what)
    loss_of(prediction).backward()
    results = [value.detach() for _, value in prediction.items()]
    return results, {name: p.grad for name, p in potential.named_parameters()}


def assert_near(found: Tensor, expected: Tensor, tolerance: float, name: str = "result") -> None:
    """Differences relative to the largest number."""
    assert found.shape == expected.shape, name
    scale = max(float(expected.nan_to_num().abs().max()) if expected.numel() else 0.0, 1e-3)
    torch.testing.assert_close(
        found.double() / scale,
        expected.double() / scale,
        rtol=0,
        atol=tolerance,
        equal_nan=True,
        msg=lambda m: f"{name}: {m}",
    )


def assert_same_training(found: tuple, expected: tuple, tolerance: float) -> None:
    """Results and gradients of two training steps."""
    for k, (one, other) in enumerate(zip(found[0], expected[0], strict=True)):
        assert_near(one, other, tolerance, f"result {k}")
    for name, gradient in expected[1].items():
        if gradient is None:
            gradient = torch.zeros_like(found[1][name])
        assert found[1][name] is not None, name
        assert_near(found[1][name], gradient, tolerance, name)

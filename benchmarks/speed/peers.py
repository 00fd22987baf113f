"""The SchNets of PyTorch Geometric and SchNetPack, with this package's weights and edges.

SchNetPack 2.1.1 asks for sympy <= 1.12, which torch >= 2.5 forbids, so it is installed with
`pip install --no-deps`, beside the packages that its import needs (see the Makefile).
"""

import re
from collections.abc import Callable
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn.models import SchNet as PyGSchNet

from schnetgeo.geometry import batch_index, lattice_vectors, num_structures
from schnetgeo.nn import PaiNN, SchNet
from schnetgeo.potential import Potential

# names of parameters, ours to theirs, one substitution after the other
_TO_PYG = (
    (r"^(interactions\.\d+)\.lin3", r"\1.lin"),
    (r"^(interactions\.\d+)\.lin([12])", r"\1.conv.lin\2"),
    (r"\.conv\.filter", ".mlp"),
    (r"^readout\.", ""),
)
_TO_SCHNETPACK = (
    (r"^(embedding|interactions)", r"representation.\1"),
    (r"^readout\.lin1", "output_modules.0.outnet.0"),
    (r"^readout\.lin2", "output_modules.0.outnet.1"),
    (r"\.lin1\.", ".in2f."),
    (r"\.lin2\.", ".f2out.0."),
    (r"\.lin3\.", ".f2out.1."),
    (r"\.conv\.filter\.0", ".filter_network.0"),
    (r"\.conv\.filter\.2", ".filter_network.1"),
)


_TO_SCHNETPACK_PAINN = (
    (r"^embedding", "representation.embedding"),
    (r"^readout\.lin1", "output_modules.0.outnet.0"),
    (r"^readout\.lin2", "output_modules.0.outnet.1"),
    (r"(message|update)\.2", r"\1.1"),
    (r"^interactions\.(\d+)\.message", r"representation.interactions.\1.interatomic_context_net"),
    (r"^interactions\.(\d+)\.update", r"representation.mixing.\1.intraatomic_context_net"),
    (r"^interactions\.(\d+)\.mix\.", r"representation.mixing.\1.mu_channel_mix."),
    (r"^interactions\.(\d+)\.conv\.filter", r"representation.filter_net.\1"),
)


class GivenEdges:
    """An `interaction_graph` for PyG's SchNet: edges that are known, so that none is searched."""

    edge_index: Tensor
    offsets: Tensor | float = 0.0  # lattice vectors of the edges

    def __call__(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        source, target = self.edge_index
        return self.edge_index, (pos[source] - pos[target] + self.offsets).norm(dim=-1)


def pyg_schnet(
    channels: int = 128,
    num_layers: int = 6,
    num_basis: int = 50,
    cutoff: float = 10.0,
    dtype: torch.dtype = torch.float32,
) -> PyGSchNet:
    """PyG's SchNet; its edges are those of the data that `energy_and_forces` is called with."""
    with _default_dtype(dtype):
        return PyGSchNet(channels, channels, num_layers, num_basis, cutoff, GivenEdges())


def schnetpack_schnet(
    channels: int = 128,
    num_layers: int = 6,
    num_basis: int = 20,
    cutoff: float = 5.0,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """SchNetPack's SchNet as its configuration files build it, with a module for the forces.

    Raises:
        ImportError: where SchNetPack or a package it needs is not installed.
    """
    provide_removed_names()
    from schnetpack.representation import SchNet as SchNetPackSchNet

    return _schnetpack_potential(SchNetPackSchNet, channels, num_layers, num_basis, cutoff, dtype)


def schnetpack_painn(
    channels: int = 128,
    num_layers: int = 3,
    num_basis: int = 20,
    cutoff: float = 5.0,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """SchNetPack's PaiNN with Gaussians, as its configuration files build it.

    Raises:
        ImportError: where SchNetPack or a package it needs is not installed.
    """
    provide_removed_names()
    from schnetpack.representation import PaiNN as SchNetPackPaiNN

    return _schnetpack_potential(SchNetPackPaiNN, channels, num_layers, num_basis, cutoff, dtype)


def _schnetpack_potential(
    representation: Callable, channels: int, num_layers: int, num_basis: int, cutoff: float, dtype
) -> nn.Module:
    from schnetpack.atomistic import Atomwise, Forces, PairwiseDistances
    from schnetpack.model import NeuralNetworkPotential
    from schnetpack.nn import CosineCutoff, GaussianRBF

    basis, cutoff_fn = GaussianRBF(num_basis, cutoff), CosineCutoff(cutoff)
    model = NeuralNetworkPotential(
        representation(channels, num_layers, basis, cutoff_fn),
        input_modules=[PairwiseDistances()],
        output_modules=[Atomwise(channels, output_key="energy"), Forces()],
    ).to(dtype)
    # SchNetPack makes these in float32, whatever the default type
    basis.offsets = torch.linspace(0, cutoff, num_basis, dtype=dtype)
    basis.widths = torch.full_like(basis.offsets, cutoff / (num_basis - 1))
    cutoff_fn.cutoff = torch.tensor([cutoff], dtype=dtype)
    return model


def provide_removed_names() -> None:
    """Give torch the name that it dropped in 2.13 and that `import schnetpack` asks for."""
    from torch.utils.data import dataloader

    if not hasattr(dataloader, "T_co"):
        dataloader.T_co = TypeVar("T_co", covariant=True)


def copy_to_pyg(ours: SchNet, theirs: PyGSchNet) -> None:
    """Give PyG's SchNet the weights of ours, which must be of the preset `pyg` or its like."""
    _copy(ours, dict(theirs.named_parameters()), _TO_PYG)


def copy_to_schnetpack(ours: SchNet, theirs: nn.Module) -> None:
    """Give SchNetPack's SchNet the weights of ours, of the preset `schnetpack` or its like."""
    _copy(ours, dict(theirs.named_parameters()), _TO_SCHNETPACK)


@torch.no_grad()
def copy_to_schnetpack_painn(ours: PaiNN, theirs: nn.Module) -> None:
    """Give SchNetPack's PaiNN, one dense layer for all filters, the weights of ours."""
    targets = dict(theirs.named_parameters())
    for kind in ("weight", "bias"):
        rows = targets.pop(f"representation.filter_net.{kind}").chunk(len(ours.interactions))
        targets |= {f"representation.filter_net.{n}.{kind}": row for n, row in enumerate(rows)}
    _copy(ours, targets, _TO_SCHNETPACK_PAINN)


def energy_and_forces(model: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
    """Energies (B,) and forces (N, 3) of a potential or peer; differentiable in training mode.

    Args:
        model: `Potential`, or what `pyg_schnet` or `schnetpack_schnet` returned.
        data: structure or batch with its edges, as `with_edges` returns it; `pos` has the
            model's type.
    """
    if isinstance(model, Potential):
        prediction = model(data)
        return prediction.energy, prediction.forces
    evaluate: Callable = _pyg if isinstance(model, PyGSchNet) else _schnetpack
    return evaluate(model, data, data.pos.detach().clone())


def _pyg(model: PyGSchNet, data: Data, pos: Tensor) -> tuple[Tensor, Tensor]:
    model.interaction_graph.edge_index = data.edge_index
    model.interaction_graph.offsets = _offsets(data, pos)
    energy = model(data.z, pos.requires_grad_(), batch_index(data)).squeeze(-1)
    (gradient,) = torch.autograd.grad(energy.sum(), pos, create_graph=model.training)
    return energy, -gradient


def _schnetpack(model: nn.Module, data: Data, pos: Tensor) -> tuple[Tensor, Tensor]:
    source, target = data.edge_index
    batch = batch_index(data)
    results = model(
        {
            "_atomic_numbers": data.z,
            "_positions": pos,
            "_idx_i": target,
            "_idx_j": source,
            "_idx_m": batch,
            "_n_atoms": batch.bincount(minlength=num_structures(data)),
            "_offsets": _offsets(data, pos),
        }
    )
    return results["energy"], results.get("forces")


def _offsets(data: Data, pos: Tensor) -> Tensor:
    """Lattice vectors of the edges (E, 3), 0 for molecules."""
    if data.get("edge_shift") is None:
        return pos.new_zeros(data.edge_index.size(1), 3)
    cell = data.cell.to(pos.dtype)[batch_index(data)[data.edge_index[1]]]
    return lattice_vectors(data.edge_shift, cell)


@torch.no_grad()
def _copy(ours: nn.Module, targets: dict[str, Tensor], rules: tuple[tuple[str, str], ...]) -> None:
    """Copy each parameter to where the rules put its name, and let none go missing."""
    for name, parameter in ours.named_parameters():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        target = targets.pop(name)
        if target.shape != parameter.shape:
            raise ValueError(f"{name}: {tuple(parameter.shape)} into {tuple(target.shape)}")
        target.copy_(parameter)
    if targets:
        raise ValueError(f"no weights for {', '.join(targets)}")


@contextmanager
def _default_dtype(dtype: torch.dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)

"""The base of all models: edges, cutoff function, atomic values and what becomes of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data.graph import with_edges
from schnetgeo.errors import InputError
from schnetgeo.geometry import distances, edge_vectors
from schnetgeo.nn.arguments import cutoff_fn_of, part, with_changes
from schnetgeo.nn.configurable import Configurable
from schnetgeo.nn.conv import EdgeFeatures, RadialConv
from schnetgeo.nn.cutoff import CosineCutoff, PolynomialCutoff, StepCutoff
from schnetgeo.nn.mlp import num_parameters
from schnetgeo.nn.readout import AtomicValues, Readout
from schnetgeo.nn.state_embedding import StateEmbedding, States


class AtomisticModel(Configurable, ABC):
    """readout.reduce(y), with atomic values y that `atomic_values` computes.

    With `SumReadout` that is the energy E_b = Σ_{i∈b} y_i. A subclass calls `super().__init__`,
    sets `readout` and writes `atomic_values`, which ends in `readout(x)`, or `readout(x, v)` for a
    model with vector features. `hyperparameters`, what it was built with, needs no line.

    Args:
        cutoff: r_c in Å; atoms farther apart have no edge.
        max_z: rows of the embedding; atomic numbers must lie below.
        basis: radial basis functions, from distances (E,) to (E, K).
        cutoff_fn: cutoff function, from distances (E,) to (E,), 0 at and beyond the cutoff; or its
            class, called as cutoff_fn(cutoff).
    """

    presets: ClassVar[Mapping[str, dict]] = {}  # hyperparameters of published variants, by name
    has_vectors: ClassVar[bool] = False  # whether the readout is called with vector features
    readout: Readout
    state_embedding: StateEmbedding | None  # of a model that reads charge and spin

    def __init__(
        self,
        cutoff: float,
        max_z: int,
        basis: nn.Module,
        cutoff_fn: Callable[[float], nn.Module] | nn.Module,
    ):
        super().__init__()
        self.cutoff = cutoff
        self.max_z = max_z
        self.basis = basis
        self.cutoff_fn = cutoff_fn_of(cutoff_fn, cutoff)
        self.state_embedding = None

    def set_embedding(
        self, channels: int, state_embedding: Callable[[int], nn.Module] | None
    ) -> None:
        """Build what `embed` needs, for so many features of an atom."""
        self.embedding = nn.Embedding(self.max_z, channels)
        if state_embedding is not None:
            self.state_embedding = part("state_embedding", state_embedding, nn.Module, channels)

    def embed(self, z: Int[Tensor, "N"], states: States | None) -> Float[Tensor, "N F"]:
        """embedding[z_i], and what charge and spin add to it."""
        x = self.embedding(z)
        return x if states is None else x + self.state_embedding(x, states)

    @abstractmethod
    def atomic_values(
        self, z: Int[Tensor, "N"], edges: EdgeFeatures, states: States | None = None
    ) -> AtomicValues:
        """The values of each atom that the readout gives.

        Args:
            z: atomic numbers.
            edges: of the radius graph.
            states: charge and spin, for a model with a `state_embedding`; others need no such
                argument.
        """

    def forward(self, data: Data) -> Tensor | tuple[Tensor, ...]:
        """What the readout gives for each structure or atom, before scale and references.

        Args:
            data: structure or batch with `z`, `pos`; edges that are missing are built.

        Raises:
            InputError: unless `atomic_values` returns a row for each atom.
        """
        data = self._with_edges(data)
        inputs = data.z, self.edge_features(data)
        if self.state_embedding is not None:
            inputs = *inputs, States.of(data, inputs[1].edge_weight)
        values = self.atomic_values(*inputs)
        _check_rows(values, data.z.numel(), type(self).__name__)
        return self.readout.reduce(values, data)

    def edge_features(self, data: Data) -> EdgeFeatures:
        """Cutoff function, basis functions and directions of the edges of a batch."""
        return self.features_of(data.edge_index, edge_vectors(data))

    def features_of(
        self, edge_index: Int[Tensor, "2 E"], vectors: Float[Tensor, "E 3"]
    ) -> EdgeFeatures:
        """Cutoff function, basis functions and directions of edges with these vectors in Å."""
        vectors = vectors.to(next(self.parameters()).dtype)
        distance = distances(vectors)
        unit = vectors / torch.where(distance > 0, distance, 1).unsqueeze(-1)
        return EdgeFeatures(edge_index, self.cutoff_fn(distance), self.basis(distance), unit)

    @torch.compiler.disable
    def _with_edges(self, data: Data) -> Data:
        return with_edges(data, self.cutoff, longer=self.masks_edges)

    @property
    def masks_edges(self) -> bool:
        """Whether edges beyond the cutoff certainly have the weight 0, so that they may stay.

        To look for them would mean to wait for a GPU.
        """
        if type(self.cutoff_fn) not in (CosineCutoff, PolynomialCutoff, StepCutoff):
            return False
        if self.cutoff_fn.cutoff > self.cutoff or not is_ours(self):
            return False
        convs = (type(m) for m in self.modules() if isinstance(m, RadialConv))
        sums = RadialConv.forward, RadialConv.aggregate
        return all((conv.forward, conv.aggregate) == sums for conv in convs)

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff:g} Å, {num_parameters(self):,} parameters"

    @classmethod
    def preset(cls, name: str, **changes) -> Self:
        """A published variant, one of `presets`.

        Args:
            name: the variant.
            **changes: arguments that differ from it, as in `SchNet.preset("pyg", cutoff=6.0)`.

        Raises:
            InputError: for an unknown name; lists the known ones.
        """
        if name not in cls.presets:
            raise InputError(f"unknown preset {name!r}; known: {', '.join(cls.presets)}")
        return cls(**with_changes(cls.presets[name], changes))


def _check_rows(values: AtomicValues, number: int, name: str) -> None:
    if isinstance(values, tuple):
        for part in values:
            _check_rows(part, number, name)
    elif values.shape[:1] != (number,):
        raise InputError(
            f"{name}.atomic_values must return a row for each of {number} atoms, got shape "
            f"{tuple(values.shape)}; return what self.readout gives for the features of all atoms"
        )


def reads_states(model: nn.Module) -> bool:
    """Whether charge and spin are inputs of a model: of one of the user's own they may be."""
    return not is_ours(model) or getattr(model, "state_embedding", None) is not None


def is_ours(model: nn.Module) -> bool:
    """Whether a model is of this package."""
    return type(model).__module__.startswith("schnetgeo.")

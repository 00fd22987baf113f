"""SchNet of PyTorch Geometric: its objects, state dicts and files, in and out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.interop.build import Meaning, Source, count, decimal, renamed, shift_softplus
from schnetgeo.interop.parts import check_exports, gaussians
from schnetgeo.interop.tree import Node, is_module
from schnetgeo.nn import SchNet, ShiftedSoftplus
from schnetgeo.nn.dipole import MassCenteredDipoleNormReadout
from schnetgeo.nn.readout import MeanReadout, SumReadout
from schnetgeo.nn.stored_basis import StoredGaussianBasis
from schnetgeo.potential import Potential

if TYPE_CHECKING:
    from torch_geometric.nn.models import SchNet as PyGSchNet

_RULES = (
    (r"^(interactions\.\d+)\.conv\.nn\..*", ""),  # the same as mlp
    (r"^(interactions\.\d+)\.lin\.", r"\1.lin3."),
    (r"^(interactions\.\d+)\.conv\.lin([12])", r"\1.lin\2"),
    (r"^(interactions\.\d+)\.mlp", r"\1.conv.filter"),
    (r"^(lin[12])", r"readout.\1"),
    (r"^distance_expansion\.offset$", "basis.centers"),
    (r"^(atomref|initial_atomref|atomic_mass).*", ""),
)
LN2 = float(torch.tensor(2.0).log())  # as the package rounds it


def from_pyg(
    model: "PyGSchNet | Mapping[str, Tensor]",
    unit: str | None = None,
    target: str = "energy",
    *,
    mean: float | None = None,
    std: float | None = None,
    readout: str = "add",
    cutoff: float | None = None,
) -> Potential:
    """The potential that equals a SchNet of PyTorch Geometric.

    The weights keep their type: of `model.double()` the result equals it to 1e-10. Edges are those
    of all neighbors, where the source keeps 32 at most unless told otherwise.

    Args:
        model: `torch_geometric.nn.models.SchNet`, or its state dict.
        unit: of what it predicts, such as "eV"; the model does not say.
        target: name of what it predicts.
        mean: of atoms, for a state dict, which does not hold it.
        std: likewise.
        readout: "add" or "mean", likewise.
        cutoff: in Å, likewise; `None` is the last center of the Gaussians.

    Raises:
        InputError: for another model, and without a unit.
    """
    meaning = Meaning(unit, target)
    if is_module(model):
        return source_of(Node(model)).potential(meaning)
    tensors = dict(model)
    return _from_tensors(tensors, None, LN2, cutoff, mean, std, readout).potential(meaning)


def source_of(node: Node) -> Source:
    """A live model, or the stand-in of one, in our terms."""
    smearing, act = node["distance_expansion"], node["act"]
    mean, std, scale = (node.attribute(name) for name in ("mean", "std", "scale"))
    kind = node["readout"].name if "readout" in node.children else str(node.attribute("readout"))
    readout = {"SumAggregation": "add", "MeanAggregation": "mean"}.get(kind, kind)
    tensors, cutoff = dict(node.tensors()), _number(node, "cutoff")
    gamma, shift = -_number(smearing, "coeff"), _number(act, "shift")
    if not node.attribute("dipole"):
        tensors.pop("atomic_mass", None)
    source = _from_tensors(tensors, gamma, shift, cutoff, mean, std, readout)
    if scale is not None:
        source.scale *= float(scale)
        source.references = torch.as_tensor(source.references) * float(scale)
    return source


def _number(node: Node, name: str) -> float:
    value = node.attribute(name)
    if not isinstance(value, float | int):
        raise InputError(
            f"{node.name} of PyTorch Geometric has no {name}; its version is not known"
        )
    return float(value)


def _from_tensors(
    tensors: dict[str, Tensor], gamma: float | None, shift: float, cutoff: float | None,
    mean: float | None, std: float | None, readout: str,
) -> Source:  # fmt: skip
    if readout not in ("add", "sum", "mean"):
        raise InputError(f"readout {readout!r:.40} has no counterpart; known: add, mean")
    is_dipole, references = "atomic_mass" in tensors, tensors.get("atomref.weight", 0.0)
    for name in ("distance_expansion.offset", "lin1.weight", "embedding.weight"):
        if name not in tensors:
            raise InputError(f"no SchNet of PyTorch Geometric: {name} is missing")
    weights = renamed(tensors, _RULES)
    num_layers = count(weights, r"interactions\.(\d+)\.")
    centers, dtype = weights.pop("basis.centers"), weights["embedding.weight"].dtype
    if gamma is None:
        gamma = 0.5 / float(centers[1] - centers[0]) ** 2
    basis = StoredGaussianBasis.of(centers, gamma)
    weights |= {f"basis.{k}": v for k, v in basis.named_buffers()}
    after = [
        f"interactions.{n}.{name}" for n in range(num_layers) for name in ("conv.filter.2", "lin3")
    ]
    shift_softplus(weights, shift, [*after, "readout.lin2"])
    if is_dipole:
        kind, mean, references = MassCenteredDipoleNormReadout, None, 0.0
    else:
        kind = MeanReadout if readout == "mean" else SumReadout
    model = SchNet(
        channels=max(weights["interactions.0.lin1.weight"].shape),
        num_layers=num_layers,
        num_basis=basis.num_basis,
        basis=basis,
        cutoff=decimal(centers[-1]) if cutoff is None else cutoff,
        readout=kind,
        readout_channels=len(weights["readout.lin1.weight"]),
        max_z=len(weights["embedding.weight"]),
    )
    references, scale = torch.as_tensor(references, dtype=torch.float64), 1.0
    if mean is not None and std is not None:
        references, scale = references + float(mean), float(std)
    notes = {"source": "PyTorch Geometric"}
    return Source(model, weights, references, scale, dtype, notes)


def to_pyg(potential: Potential) -> "PyGSchNet":
    """The SchNet of PyTorch Geometric that equals a potential, with its unit.

    The number of neighbors is not limited there: `max_num_neighbors` is 10,000.

    Args:
        potential: of a SchNet with Gaussians from 0 and a cosine cutoff, one target that is a sum
            or mean over atoms.

    Raises:
        InputError: for a model that has no counterpart there.
    """
    from torch_geometric.nn.models import SchNet as PyGSchNet

    model = check_exports(potential, SchNet, "to_pyg", (ShiftedSoftplus,), (ShiftedSoftplus,))
    centers, gammas = gaussians(model.basis, "to_pyg")
    if not torch.equal(gammas, gammas[:1].expand_as(gammas)):
        raise InputError("to_pyg: it knows no Gaussians of different widths")
    references, scale = potential.atomic_references.values, float(potential.scale)
    if len(references) > 100:
        raise InputError("to_pyg: its embedding has 100 rows; build the model with max_z=100")
    channels, number = model.embedding.embedding_dim, len(model.interactions)
    mean = "mean" if isinstance(model.readout, MeanReadout) else "add"
    atomref = torch.zeros(100, 1, dtype=references.dtype)
    atomref[: len(references), 0] = references.cpu()
    net = PyGSchNet(
        channels, channels, number, len(centers), model.cutoff, max_num_neighbors=10_000,
        readout=mean, mean=0.0, std=scale, atomref=atomref,
    )  # fmt: skip
    hidden = model.readout.lin1.out_features
    net.lin1, net.lin2 = nn.Linear(channels, hidden), nn.Linear(hidden, 1)
    net.to(potential.scale.dtype)
    net.atomref.weight.data = atomref  # float64, which references of large energies need
    net.distance_expansion.offset = centers.to(potential.scale.dtype)
    net.distance_expansion.coeff = -float(gammas[0])
    for module in net.modules():
        if type(module).__name__ == "ShiftedSoftplus":
            module.shift = float(torch.tensor(2.0, dtype=torch.float64).log())
    _copy(model, net)
    return net.eval()


@torch.no_grad()
def _copy(model: SchNet, net: "PyGSchNet") -> None:
    net.embedding.weight.zero_()[: len(model.embedding.weight)] = model.embedding.weight
    for ours, theirs in zip(model.interactions, net.interactions, strict=True):
        pairs = (
            (ours.conv.filter[0], theirs.mlp[0]), (ours.conv.filter[2], theirs.mlp[2]),
            (ours.lin1, theirs.conv.lin1), (ours.lin2, theirs.conv.lin2), (ours.lin3, theirs.lin),
        )  # fmt: skip
        for layer, place in pairs:
            place.load_state_dict(layer.state_dict())
    net.lin1.load_state_dict(model.readout.lin1.state_dict())
    net.lin2.load_state_dict(model.readout.lin2.state_dict())

"""SchNet of SchNetPack 0.3 and 1.x, the models of its QM9 files among them: pickles of modules."""

import torch
from torch import Tensor

from schnetgeo.errors import InputError
from schnetgeo.interop.build import Source, count, renamed
from schnetgeo.interop.schnetpack import activation
from schnetgeo.interop.tensorflow import ALL_PAIRS
from schnetgeo.interop.tree import Node
from schnetgeo.nn import (
    CosineCutoff,
    MassCenteredDipoleNormReadout,
    MeanReadout,
    MollifierCutoff,
    SchNet,
    StepCutoff,
    StoredGaussianBasis,
    SumReadout,
)

_RULES = (
    (r"^representation\.", ""),
    (r"^(interactions\.\d+)\.(cfconv\.)?cutoff_network\..*", ""),
    (r"^(interactions\.\d+)\.cfconv\.filter_network\..*", ""),  # the same as filter_network
    (r"^(distances|distance_expansion|cosine_cutoff)\b.*", ""),
    (r"\.filter_network\.0\.", ".conv.filter.0."),
    (r"\.filter_network\.1\.", ".conv.filter.2."),
    (r"\.cfconv\.in2f\.", ".lin1."),
    (r"\.cfconv\.f2out\.", ".lin2."),
    (r"\.dense\.", ".lin3."),
    (r"^output_modules\.0\.out_net\.1\.out_net\.0\.", "readout.lin1."),
    (r"^output_modules\.0\.out_net\.1\.out_net\.1\.", "readout.lin2."),
    (r"^output_modules\.0\.(standardize|atomref|atom_pool)\b.*", ""),
)
_CUTOFFS = {
    "CosineCutoff": CosineCutoff, "MollifierCutoff": MollifierCutoff, "HardCutoff": StepCutoff,
}  # fmt: skip


def source_of(node: Node) -> Source:
    """A model of SchNetPack 0.3 or 1.x in our terms.

    Args:
        node: of `AtomisticModel`, with a representation and one output module.

    Raises:
        InputError: for parts that have no counterpart.
    """
    tensors = _one_output(node)
    representation, output = node["representation"], node["output_modules.0"]
    smearing = node["representation.distance_expansion"]
    interaction = node["representation.interactions.0"]
    cutoff = interaction["cfconv"].children.get("cutoff_network")
    kind = "HardCutoff" if cutoff is None else cutoff.name
    for holds, what in (
        (representation.name == "SchNet", f"representation {representation.name}"),
        (not smearing.attribute("centered"), "centered Gaussians"),
        (kind in _CUTOFFS, f"cutoff_network {kind}"),
        (not interaction["cfconv"].attribute("normalize_filter"), "normalize_filter"),
        (output.name in ("Atomwise", "DipoleMoment"), f"output module {output.name}"),
        (not representation.attribute("charged"), "charged"),
    ):
        if not holds:
            raise InputError(f"SchNetPack 1: {what:.80} has no counterpart")
    stored = {
        name: _stored(smearing, name, tensors) for name in ("offsets", "width")
    }  # buffers, parameters, or plain tensors where they are not trained
    basis = StoredGaussianBasis.of(stored["offsets"], 0.5 / stored["width"].double().square())
    weights = renamed(tensors, _RULES)
    model = SchNet(
        channels=max(weights["interactions.0.lin1.weight"].shape),
        num_layers=count(weights, r"interactions\.(\d+)\."),
        num_basis=basis.num_basis,
        basis=basis,
        cutoff=ALL_PAIRS if cutoff is None else float(_stored(cutoff, "cutoff", tensors)),
        cutoff_fn=_CUTOFFS[kind],
        activation=activation(interaction["cfconv.f2out"]),
        readout_activation=activation(output["out_net.1.out_net.0"]),
        readout=_readout(output),
        readout_channels=len(weights["readout.lin1.weight"]),
        max_z=len(weights["embedding.weight"]),
    )
    weights |= {f"basis.{name}": value for name, value in basis.named_buffers()}
    dtype = weights["embedding.weight"].dtype
    references, scale = _statistics(output, tensors)
    notes = {"source": "SchNetPack 1", "property": str(output.attribute("property"))[:40]}
    return Source(model, weights, references, scale, dtype, notes)


def _one_output(node: Node) -> dict[str, Tensor]:
    """The state dict; of the oldest models the output module is no list, and the only one."""
    outputs = node["output_modules"].children
    if set(outputs) != {"0"}:
        raise InputError(f"SchNetPack 1: {len(outputs)} output modules; one is supported")
    return dict(node.tensors())


def _stored(node: Node, name: str, tensors: dict[str, Tensor]) -> Tensor:
    value = tensors.get(f"{node.path}.{name}", node.attribute(name))
    if value is None:
        raise InputError(f"{node.path}, a {node.name}, has no {name}; its version is not known")
    return torch.as_tensor(value).detach()


def _readout(output: Node) -> type:
    if output.name == "DipoleMoment":
        return MassCenteredDipoleNormReadout
    pool = output["atom_pool"]
    return MeanReadout if pool.attribute("average") else SumReadout


def _statistics(output: Node, tensors: dict[str, Tensor]) -> tuple[Tensor, float]:
    """References and scale: y·stddev + mean + atomref for each atom; a dipole has none."""
    zero = torch.zeros((), dtype=torch.float64)
    if output.name == "DipoleMoment":
        return zero, 1.0
    path = f"{output.path}."
    mean, scale = (tensors.get(f"{path}standardize.{name}") for name in ("mean", "stddev"))
    references = zero if mean is None else mean.double().reshape(-1)[0]
    atomref = tensors.get(f"{path}atomref.weight")
    if atomref is not None:
        references = references + atomref.double().flatten()
    return references, 1.0 if scale is None else float(scale.reshape(-1)[0])

"""A graph network as TorchMD-Net writes it down, for files of a package that is not installed.

Names of classes, modules and buffers are its own; `energy` is an independent pass.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

_MODULES = {
    "TorchMD_Net": "torchmdnet.models.model",
    "TorchMD_GN": "torchmdnet.models.torchmd_gn",
    "Scalar": "torchmdnet.models.output_modules",
    "Atomref": "torchmdnet.priors.atomref",
}


def module(name: str, **content) -> nn.Module:
    """A module of a class of this name with these attributes, buffers and modules."""
    cls = type(name, (nn.Module,), {"__module__": _MODULES.get(name, "torchmdnet.models.utils")})
    result = cls()
    for key, value in content.items():
        if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
            result.register_buffer(key, value)
        else:
            setattr(result, key, value)
    return result


def graph_network(
    rbf: str, activation: str, cutoff: float, reduce: str = "sum", F=16, K=12, T=2, neighbors=False
):
    """A model with random weights."""
    embedding = None
    if neighbors:
        embedding = module(
            "NeighborEmbedding", embedding=nn.Embedding(100, F), distance_proj=nn.Linear(K, F),
            combine=nn.Linear(2 * F, F),
        )  # fmt: skip
    act = module("ShiftedSoftplus", shift=float(torch.tensor(2.0).log()))
    act = act if activation == "ssp" else nn.SiLU()
    interactions = []
    for _ in range(T):
        mlp = nn.Sequential(nn.Linear(K, F), act, nn.Linear(F, F))
        conv = module("CFConv", lin1=nn.Linear(F, F, bias=False), lin2=nn.Linear(F, F), net=mlp)
        block = module("InteractionBlock", mlp=mlp, conv=conv, act=act, lin=nn.Linear(F, F))
        interactions.append(block)
    representation = module(
        "TorchMD_GN", embedding=nn.Embedding(100, F), distance_expansion=_basis(rbf, cutoff, K),
        interactions=nn.ModuleList(interactions), neighbor_embedding=embedding, rbf_type=rbf,
        cutoff_lower=0.0, cutoff_upper=cutoff, aggr="add",
    )  # fmt: skip
    layers = nn.Sequential(nn.Linear(F, F // 2), act, nn.Linear(F // 2, 1))
    output = module("Scalar", output_network=module("MLP", layers=layers), reduce_op=reduce)
    atomref = nn.Embedding(100, 1)
    nn.init.normal_(atomref.weight, std=20.0)
    priors = nn.ModuleList([module("Atomref", atomref=atomref, enable=True)])
    return module(
        "TorchMD_Net", representation_model=representation, output_model=output,
        prior_model=priors, mean=torch.tensor(-1234.5), std=torch.tensor(1.7),
    )  # fmt: skip


def _basis(rbf: str, cutoff: float, K: int) -> nn.Module:
    if rbf == "gauss":
        offset = torch.linspace(0, cutoff, K)
        return module("GaussianSmearing", offset=offset, coeff=-0.5 / (offset[1] - offset[0]) ** 2)
    start = math.exp(-cutoff)
    betas = torch.full((K,), (2 / K * (1 - start)) ** -2)
    return module("ExpNormalSmearing", means=torch.linspace(start, 1, K), betas=betas)


def energy(net: nn.Module, z, pos, batch):
    """Energies by the formulas of its documentation, all pairs at once."""
    w = dict(net.named_buffers()) | dict(net.named_parameters())
    model = net.representation_model
    r = (pos[:, None] - pos + torch.eye(len(pos)).to(pos)[..., None]).norm(dim=-1)
    cutoff = model.cutoff_upper
    near = (r < cutoff) & (batch[:, None] == batch) & ~torch.eye(len(pos), dtype=torch.bool)
    f = 0.5 * (torch.cos(math.pi * r / cutoff) + 1) * near
    table = model.distance_expansion
    if model.rbf_type == "gauss":
        e = torch.exp(table.coeff * (r[..., None] - table.offset) ** 2)
    else:
        inner = torch.exp(-5 / cutoff * r[..., None]) - table.means
        e = f[..., None] * torch.exp(-table.betas * inner**2)
    act = net.output_model.output_network.layers[1]
    if type(act) is not nn.SiLU:
        act = lambda x, s=act.shift: F.softplus(x) - s  # noqa: E731
    x = w["representation_model.embedding.weight"][z]
    if model.neighbor_embedding is not None:
        p = "representation_model.neighbor_embedding."
        W = F.linear(e, w[p + "distance_proj.weight"], w[p + "distance_proj.bias"]) * f[..., None]
        near = (W * w[p + "embedding.weight"][z]).sum(1)
        x = F.linear(torch.cat([x, near], 1), w[p + "combine.weight"], w[p + "combine.bias"])
    for n in range(len(model.interactions)):
        p = f"representation_model.interactions.{n}."
        hidden = act(F.linear(e, w[p + "mlp.0.weight"], w[p + "mlp.0.bias"]))
        W = F.linear(hidden, w[p + "mlp.2.weight"], w[p + "mlp.2.bias"]) * f[..., None]
        y = (W * F.linear(x, w[p + "conv.lin1.weight"])).sum(1)
        y = act(F.linear(y, w[p + "conv.lin2.weight"], w[p + "conv.lin2.bias"]))
        x = x + F.linear(y, w[p + "lin.weight"], w[p + "lin.bias"])
    layers = net.output_model.output_network.layers
    atoms = layers[2](act(layers[0](x)))
    atoms = atoms * net.std + w["prior_model.0.atomref.weight"][z]
    total = atoms.new_zeros(int(batch[-1]) + 1).index_add(0, batch, atoms.flatten())
    if net.output_model.reduce_op == "mean":
        total = total / batch.bincount()
    return total + net.mean

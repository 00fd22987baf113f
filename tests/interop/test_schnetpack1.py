"""Pickles of SchNetPack 0.3 and 1.x against an independent pass; that package is too old to run.

The classes here have its names, attributes and modules; `energies` follows its formulas.
"""

import math
import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import schnetgeo as sg
from schnetgeo.interop import read
from schnetgeo.units import DEBYE
from tests.interop.structures import assert_equal, rattled

F_, K, CUTOFF = 12, 10, 5.3
HOMES = {
    "AtomisticModel": "atomistic.model", "Atomwise": "atomistic.output_modules",
    "DipoleMoment": "atomistic.output_modules", "SchNet": "representation.schnet",
    "SchNetInteraction": "representation.schnet", "CFConv": "nn.cfconv", "Dense": "nn.base",
    "GetItem": "nn.base", "Aggregate": "nn.base", "ScaleShift": "nn.base", "MLP": "nn.blocks",
    "GaussianSmearing": "nn.acsf", "CosineCutoff": "nn.cutoff", "HardCutoff": "nn.cutoff",
    "shifted_softplus": "nn.activations",
}  # fmt: skip
HOMES = {name: f"schnetpack.{home}" for name, home in HOMES.items()}


@pytest.fixture
def package(monkeypatch):
    """Modules with these classes, there while a file is written."""
    for name in {".".join(h.split(".")[:n]) for h in HOMES.values() for n in range(1, 4)}:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, home in HOMES.items():
        cls = type(name, (nn.Linear if name == "Dense" else nn.Module,), {"__module__": home})
        setattr(sys.modules[home], name, cls)

    def shifted_softplus(x):
        return F.softplus(x) - math.log(2)

    shifted_softplus.__module__ = HOMES["shifted_softplus"]
    shifted_softplus.__qualname__ = "shifted_softplus"
    sys.modules[HOMES["shifted_softplus"]].shifted_softplus = shifted_softplus
    return monkeypatch


def module(name, *arguments, **content):
    result = getattr(sys.modules[HOMES[name]], name)(*arguments)
    for key, value in content.items():
        is_buffer = torch.is_tensor(value) and not isinstance(value, nn.Parameter)
        (result.register_buffer if is_buffer else result.__setattr__)(key, value)
    return result


def dense(n_in, n_out, activated=False, bias=True):
    home = sys.modules[HOMES["shifted_softplus"]]
    act = home.shifted_softplus if activated else None
    layer = module("Dense", n_in, n_out, bias)
    layer.activation = act
    return layer


def model(cutoff="CosineCutoff", output="Atomwise", average=False):
    blocks = []
    for _ in range(2):
        filters = nn.Sequential(dense(K, F_, True), dense(F_, F_))
        network = cutoff and module(cutoff, cutoff=torch.FloatTensor([CUTOFF]))
        conv = module(
            "CFConv", in2f=dense(F_, F_, bias=False), f2out=dense(F_, F_, True),
            filter_network=filters, cutoff_network=network, normalize_filter=False,
        )  # fmt: skip
        blocks.append(
            module(
                "SchNetInteraction",
                filter_network=filters,
                cutoff_network=network,
                cfconv=conv,
                dense=dense(F_, F_),
            )  # fmt: skip
        )
    offsets = torch.linspace(0, CUTOFF, K)
    smearing = module(
        "GaussianSmearing", offsets=offsets, centered=False,
        width=torch.FloatTensor((offsets[1] - offsets[0]) * torch.ones_like(offsets)),
    )  # fmt: skip
    representation = module(
        "SchNet", embedding=nn.Embedding(100, F_, padding_idx=0), distance_expansion=smearing,
        interactions=nn.ModuleList(blocks),
    )  # fmt: skip
    layers = nn.Sequential(dense(F_, F_ // 2, True), dense(F_ // 2, 1))
    head = nn.Sequential(module("GetItem"), module("MLP", out_net=layers))
    shift = module("ScaleShift", mean=torch.FloatTensor([-4.2]), stddev=torch.FloatTensor([1.3]))
    atomref = nn.Embedding(100, 1)
    nn.init.normal_(atomref.weight, std=20.0)
    parts = dict(out_net=head, property="energy_U0")
    if output == "Atomwise":
        parts |= dict(standardize=shift, atomref=atomref)
        parts["atom_pool"] = module("Aggregate", average=average)
    outputs = nn.ModuleList([module(output, **parts)])
    return module("AtomisticModel", representation=representation, output_modules=outputs).double()


def energies(net, data, pos):
    """By the formulas of that package, all pairs at once."""
    w, z, batch = dict(net.named_parameters()) | dict(net.named_buffers()), data.z, data.batch
    ssp = lambda x: F.softplus(x) - math.log(2)  # noqa: E731
    layer = lambda x, p: F.linear(x, w[f"{p}.weight"], w.get(f"{p}.bias"))  # noqa: E731
    r = (pos[:, None] - pos + torch.eye(len(pos)).double()[..., None]).norm(dim=-1)
    pair = (batch[:, None] == batch) & ~torch.eye(len(pos), dtype=torch.bool)
    smearing = net.representation.distance_expansion
    e = torch.exp(-0.5 / smearing.width**2 * (r[..., None] - smearing.offsets) ** 2)
    network = net.representation.interactions[0].cutoff_network
    f = pair * 1.0 if network is None else (r < network.cutoff) * pair
    if type(network).__name__ == "CosineCutoff":
        f = f * 0.5 * (torch.cos(r * math.pi / network.cutoff) + 1)
    x = w["representation.embedding.weight"][z]
    for n in range(2):
        p = f"representation.interactions.{n}"
        W = layer(ssp(layer(e, f"{p}.filter_network.0")), f"{p}.filter_network.1") * f[..., None]
        y = (W * layer(x, f"{p}.cfconv.in2f")).sum(1)
        x = x + layer(ssp(layer(y, f"{p}.cfconv.f2out")), f"{p}.dense")
    p = "output_modules.0.out_net.1.out_net"
    return layer(ssp(layer(x, f"{p}.0")), f"{p}.1").flatten()


def save(net, path, package, legacy):
    torch.save(net, path, _use_new_zipfile_serialization=not legacy)
    package.undo()  # the package is not there when the file is read


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("cutoff", ["CosineCutoff", "HardCutoff", None])
def test_equals_formulas(tmp_path, package, cutoff, average, legacy):
    torch.manual_seed(0)
    net, data = model(cutoff, average=average), rattled(torch.float64)
    save(net, tmp_path / "best_model", package, legacy)
    assert "schnetpack.atomistic.model" not in sys.modules
    pos = data.pos.clone().requires_grad_()
    output = net.output_modules[0]
    atoms = energies(net, data, pos) * output.standardize.stddev + output.standardize.mean
    atoms = atoms + output.atomref.weight[data.z].flatten()
    energy = atoms.new_zeros(3).index_add(0, data.batch, atoms)
    energy = energy / data.batch.bincount() if average else energy
    forces = -torch.autograd.grad(energy.sum(), pos)[0]
    potential = read(tmp_path / "best_model", "eV")
    assert potential.notes["property"] == "energy_U0"
    assert_equal(potential, energy, forces, data)


def test_dipole_equals_formulas(tmp_path, package):
    """Mu of QM9: charges about the center of mass, in e·Å."""
    torch.manual_seed(0)
    net, data = model(output="DipoleMoment"), rattled(torch.float64)
    save(net, tmp_path / "best_model", package, True)
    masses = torch.tensor(sg.to_ase(data[0]).get_masses())
    first = data.batch == 0
    center = (masses[:, None] * data.pos[first]).sum(0) / masses.sum()
    charges = energies(net, data, data.pos)[first]
    expected = (charges[:, None] * (data.pos[first] - center)).sum(0).norm()
    potential = read(tmp_path / "best_model", "e*Angstrom", "mu")
    potential.filters = "exact"
    torch.testing.assert_close(potential(data)["mu"][0] * DEBYE, expected, rtol=1e-10, atol=0)


def test_other_parts_are_refused(tmp_path, package):
    net = model()
    net.representation.distance_expansion.centered = True
    save(net, tmp_path / "best_model", package, False)
    with pytest.raises(sg.InputError, match="best_model: SchNetPack 1: centered Gaussians"):
        read(tmp_path / "best_model", "eV")

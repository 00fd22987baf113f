"""Readouts give what their formulas say, and turn as they should."""

from functools import partial

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.data import atomic_masses
from torch import nn
from torch_geometric.data import Batch

from benchmarks.speed import peers
from schnetgeo import InputError, PaiNN, Potential, SchNet, from_ase, load
from schnetgeo.nn import (
    AtomReadout,
    ChargeReadout,
    DipoleNormReadout,
    DipoleReadout,
    Heads,
    LocalDipoleReadout,
    MeanReadout,
    PolarizabilityReadout,
    Readout,
    SpatialExtentReadout,
    SumReadout,
    readout_for,
)
from schnetgeo.targets import ENERGY, TARGETS, Target, known_target
from schnetgeo.testing import CheckFailed, check_potential
from tests.nn.weights import randomize

SIZE = 8
DEBYE = 4.80320471257  # in 1 e·Å
SCALARS = {
    "dipole": DipoleReadout, "charges": ChargeReadout, "mu": DipoleNormReadout,
    "r2": SpatialExtentReadout,
}  # fmt: skip
VECTORS = {
    "dipole": LocalDipoleReadout, "polarizability": PolarizabilityReadout,
    "mu": partial(DipoleNormReadout, dipole=LocalDipoleReadout),
}  # fmt: skip


def molecules(*charges, shift=0.0):
    data = []
    for seed, (name, charge) in enumerate(zip(("H2O", "CH3CH2OH", "C6H6"), charges, strict=False)):
        atoms = molecule(name)
        atoms.rattle(0.1, seed=seed)
        atoms.positions += shift
        data.append(from_ase(atoms).update({"charge": torch.tensor([float(charge)])}))
    return Batch.from_data_list(data)


def features(batch, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(batch.num_nodes, SIZE, generator=random, dtype=torch.float64)
    return x, torch.randn(batch.num_nodes, 3, SIZE, generator=random, dtype=torch.float64)


def make(readout):
    return randomize(readout(SIZE, 4, nn.SiLU)).double()


def split(batch, values):
    sizes = batch.ptr.diff().tolist()
    return zip(values.detach().split(sizes), batch.pos.double().split(sizes), strict=True)


def test_dipole_equals_numpy():
    batch = molecules(0, 1, -2, shift=3.0)
    readout = make(DipoleReadout)
    y = readout(*features(batch))
    expected = []
    for number, (values, pos) in enumerate(split(batch, y)):
        q = values.numpy() + (float(batch.charge[number]) - values.numpy().sum()) / len(values)
        expected.append((q[:, None] * pos.numpy()).sum(0))
    result = readout.reduce(y, batch).detach().numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_charges_add_up():
    batch = molecules(0, 1, -2)
    readout = make(ChargeReadout)
    charges = readout.reduce(readout(*features(batch)), batch)
    total = torch.zeros(3, dtype=torch.float64).index_add(0, batch.batch, charges)
    torch.testing.assert_close(total, batch.charge.double(), rtol=0, atol=1e-12)


def test_extent_equals_numpy():
    batch = molecules(0, 0, 0, shift=3.0)
    readout = make(SpatialExtentReadout)
    y = readout(*features(batch))
    expected, z = [], batch.z.split(batch.ptr.diff().tolist())
    for numbers, (values, pos) in zip(z, split(batch, y), strict=True):
        mass, q = atomic_masses[numbers.numpy()], values.numpy()
        center = (mass[:, None] * pos.numpy()).sum(0) / mass.sum()
        extent = ((pos.numpy() - center) ** 2).sum(1)
        expected.append((q[:, 0] * extent + q[:, 1]).sum())
    result = readout.reduce(y, batch).detach().numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["DipoleMoment", "Polarizability"])
def test_equal_to_schnetpack(name):
    """With the same weights, and molecules about the origin, where theirs does not depend on it."""
    peers.provide_removed_names()
    atomistic = pytest.importorskip("schnetpack.atomistic", exc_type=ImportError)
    options = {"use_vector_representation": True} if name == "DipoleMoment" else {}
    theirs = getattr(atomistic, name)(SIZE, activation=nn.functional.silu, **options).double()
    ours = make({"DipoleMoment": LocalDipoleReadout}.get(name, PolarizabilityReadout))
    with torch.no_grad():
        pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
        for our, their in pairs:
            their.copy_(our)
    batch = molecules(0, 1, -2)
    x, v = features(batch)
    pos = batch.pos.double()
    if name == "Polarizability":
        center = torch.zeros(3, 3).double().index_add(0, batch.batch, pos)
        pos = pos - (center / batch.ptr.diff().unsqueeze(1))[batch.batch]
    inputs = {
        "_positions": pos, "scalar_representation": x, "vector_representation": v,
        "_n_atoms": batch.ptr.diff(), "_idx_m": batch.batch, "total_charge": batch.charge.double(),
    }  # fmt: skip
    expected = theirs(inputs)["dipole_moment" if name == "DipoleMoment" else "polarizability"]
    result = ours.reduce(ours(x, v), batch)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [SchNet, PaiNN])
@pytest.mark.parametrize("name", ["dipole", "charges", "mu", "r2", "polarizability", "homo"])
def test_turns_as_it_should(model, name):
    target = known_target(name)
    if name == "polarizability" and model is SchNet:
        with pytest.raises(InputError, match="needs a model with vector features"):
            readout_for(target)
        return
    readout = readout_for(target, has_vectors=model.has_vectors)
    small = randomize(model(channels=8, num_layers=1, num_basis=8, readout=readout))
    report = check_potential(Potential(small, targets=[target]))
    statuses = {result.name: result.status for result in report.results}
    assert statuses["rotation"] == statuses["translation"] == "passed"
    assert statuses.get("charges add up") == ("passed" if name == "charges" else None)
    assert statuses["extensive"] == ("passed" if "lar" in name or name == "dipole" else "skipped")


@pytest.mark.slow
def test_several_heads_turn_as_they_should():
    targets = [known_target(name) for name in ("energy", "dipole", "charges", "polarizability")]
    readout = readout_for(*targets, has_vectors=True)
    model = randomize(PaiNN(channels=8, num_layers=2, num_basis=8, readout=readout))
    potential = Potential(model)
    assert potential.targets == tuple(targets)
    report = check_potential(potential)
    passed = {result.name for result in report.results if result.status == "passed"}
    assert {"rotation", "forces", "stress", "extensive", "charges add up"} <= passed


class Forgetful(DipoleReadout):
    """Charges that do not add up, so that the dipole depends on the origin."""

    def reduce(self, values, data):
        moment = values.unsqueeze(1) * data.pos.to(values.dtype)
        return values.new_zeros(data.num_graphs, 3).index_add(0, data.batch, moment)


def test_a_dipole_that_depends_on_the_origin_is_refused():
    model = randomize(SchNet(channels=8, num_layers=1, readout=Forgetful))
    with pytest.raises(CheckFailed, match="translation changed the dipole"):
        check_potential(Potential(model, targets=[known_target("dipole")]))


def test_mu_is_the_length_of_the_dipole_in_debye():
    model = randomize(SchNet(channels=8, num_layers=1, readout=DipoleReadout)).double()
    norm = SchNet(channels=8, num_layers=1, readout=DipoleNormReadout).double()
    values = zip(norm.state_dict(), model.state_dict().values(), strict=True)
    norm.load_state_dict(dict(values))
    batch = molecules(0, 0, 0)
    dipole = Potential(model, targets=[known_target("dipole")])(batch)["dipole"]
    mu = Potential(norm, targets=[known_target("mu")])(batch)["mu"]
    torch.testing.assert_close(mu, DEBYE * torch.linalg.vector_norm(dipole, dim=1))


def test_a_molecule_without_dipole_has_gradients():
    model = SchNet(channels=8, num_layers=1, readout=DipoleNormReadout)
    mu = Potential(model, targets=[known_target("mu")]).train()(from_ase(molecule("H2")))["mu"]
    mu.sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_dipole_far_from_the_origin(shift):
    """Of float32 models too."""
    model = randomize(SchNet(channels=8, num_layers=1, readout=DipoleReadout))
    potential = Potential(model, targets=[known_target("dipole")]).eval()
    near, far = (potential(molecules(0, 0, shift=s))["dipole"] for s in (0.0, shift))
    torch.testing.assert_close(far, near, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("names", "model"), [(SCALARS, SchNet), (VECTORS, PaiNN)])
def test_heads_survive_in_a_file(tmp_path, names, model):
    readout = partial(Heads, energy=SumReadout, **names)
    potential = Potential(randomize(model(channels=8, num_layers=1, readout=readout))).eval()
    potential.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.targets == potential.targets
    expected, result = (dict(p(molecules(0, 0)).items()) for p in (potential, loaded))
    assert list(result) == ["energy", "forces", *names]
    for name, value in expected.items():
        assert value.equal(result[name])


def test_every_known_target_has_a_readout():
    for target in TARGETS:
        if target.name in ("forces", "stress"):
            continue
        readout = readout_for(target, has_vectors=True)
        module = readout(SIZE, 4, nn.SiLU)
        assert isinstance(module, Readout)
        assert (module.per, module.shape) == (target.per, target.shape)
        Potential(PaiNN(channels=8, num_layers=1, readout=readout), targets=[target])


def small(readout):
    return SchNet(channels=8, num_layers=1, readout=readout)


@pytest.mark.parametrize(
    ("model", "targets", "message"),
    [
        (lambda: small(PolarizabilityReadout), None, "needs vector features, which this model"),
        (lambda: small(DipoleReadout), None, r"energy \(eV\) has shape \(\) for each structure"),
        (lambda: small(SumReadout), [Target("gap", "eV", extensive=False)], "gives what is extens"),
        (
            lambda: small(DipoleReadout),
            [Target("mu", "K", shape=(3,))],
            "gives e·Å, but",
        ),
        (lambda: small(partial(Heads, foo=SumReadout)), None, "unknown target 'foo'; known: "),
        (lambda: small(Heads), None, "Heads needs a readout by the name of its target"),
        (
            lambda: small(partial(Heads, energy=nn.Linear)),
            None,
            "energy must be a subclass of",
        ),
        (
            lambda: small(SumReadout),
            [ENERGY, known_target("gap")],
            "one for each head of the",
        ),
        (lambda: small(SumReadout), [Target("forces", "eV/Å")], "forces is a derivative of the"),
        (lambda: small(SumReadout), ["energy"], "targets must be of schnetgeo.Target, got 'energy"),
        (lambda: small(SumReadout), [Target("energy", "Hartree")], "energy must be one number in"),
        (lambda: small(SumReadout), [], "targets must name at least one"),
        (
            lambda: small(partial(Heads, charges=AtomReadout, energy=SumReadout)),
            None,
            "energy must come first, got charges, energy",
        ),
        (
            lambda: small(partial(Heads, a=SumReadout, b=SumReadout)),
            [Target("a", "eV"), Target("a", "eV")],
            "targets must have different names, got a, a",
        ),
    ],
)
def test_what_a_model_does_not_give(model, targets, message):
    with pytest.raises(InputError, match=message):
        Potential(model(), targets=targets)


def test_a_model_of_one_target_is_not_asked_for_another():
    homo = Potential(small(MeanReadout), targets=[known_target("homo")]).eval()
    prediction = homo(molecules(0, 0))
    assert prediction.energy is None
    assert prediction["homo"].shape == (2,)
    for call in (lambda: prediction["energy"], lambda: homo(molecules(0), forces=True)):
        with pytest.raises(InputError, match="homo"):
            call()
    with pytest.raises(InputError, match=r"predicts homo \(eV\)"):
        homo.tabulate()


def test_periodic_structures_have_no_dipole():
    data = from_ase(molecule("H2O", cell=[9, 9, 9], pbc=True))
    with pytest.raises(InputError, match="defined for molecules, but a structure has pbc=True"):
        Potential(small(DipoleReadout), targets=[known_target("dipole")])(data)


@pytest.mark.parametrize("charge", [1, torch.zeros(3), torch.zeros(1, 1)])
def test_charge_of_another_shape(charge):
    data = from_ase(molecule("H2O")).update({"charge": charge})
    with pytest.raises(InputError, match=r"charge must have shape \(1,\)"):
        Potential(small(DipoleReadout), targets=[known_target("dipole")])(data)

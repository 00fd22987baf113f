"""Checks of a model: energies, forces and stress."""

import copy
from collections.abc import Iterable
from functools import cached_property

import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry import complete_cell
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from schnetgeo.data import Structure, from_ase, validate, with_edges
from schnetgeo.data.structure import GRAPH, PER_ATOM
from schnetgeo.errors import InputError
from schnetgeo.geometry import strained
from schnetgeo.nn import NoEnvelope, Potential, Prediction, SumReadout
from schnetgeo.nn.readout import sum_atoms
from schnetgeo.testing.checks import (
    ALONE,
    DERIVED,
    ROUNDING,
    SLOPE,
    SMALL,
    VECTORS,
    CheckFailed,
    Checks,
    Report,
    agree,
    check,
    expect_tensor,
    largest,
    normal,
    seeded,
    slope,
)


def check_potential(
    potential_or_model: Potential | nn.Module,
    structures: Iterable[Structure] | None = None,
    seed: int = 0,
) -> Report:
    """Check energy, forces and stress, in evaluation mode and without the references.

    Parameters that are zero, as a last layer before training, get random values in the copy.

    Args:
        potential_or_model: a `Potential`, or a model with attributes `cutoff` and `max_z`.
        structures: single structures; `None` is some distorted molecules, an atom and a crystal
            whose cell is smaller than most cutoffs.
        seed: of distortions and directions.

    Raises:
        CheckFailed: at the first statement that is violated.
        InputError: for an object that is no model, and for structures that are not valid.
    """
    potential = potential_or_model
    if not isinstance(potential, Potential):
        missing = [name for name in ("cutoff", "max_z") if not hasattr(potential, name)]
        if missing or not isinstance(potential, nn.Module):
            raise InputError(
                "check_potential takes a Potential or a module with attributes cutoff (None if "
                f"edgeless) and max_z, got {potential!r:.60}; set {' and '.join(missing) or 'both'}"
            )
        potential = Potential(potential)
    names = [type(part).__name__ for part in (potential, potential.model)]
    subject = names[1] if type(potential) is Potential else " of ".join(names)
    with seeded(seed):
        return _PotentialChecks(potential, structures, seed).run(subject)


class _PotentialChecks(Checks):
    def __init__(self, potential: Potential, structures: Iterable[Structure] | None, seed: int):
        super().__init__(potential)
        self.module.references.energies.zero_()  # functions of z alone that drown the rest
        self.model, self.cutoff = self.module.model, self.module.model.cutoff
        given = _examples(self.model.max_z, seed) if structures is None else structures
        self.structures = [_plain(data, f"structure {k}") for k, data in enumerate(given)]
        if not self.structures:
            raise InputError("structures must hold at least one structure; None takes examples")
        first = self.structures[0]
        pbc = torch.zeros_like(first.pbc)
        self.atom = _changed(first, z=first.z[:1], pos=first.pos[:1], pbc=pbc)
        self.molecules = [data for data in self.structures if not bool(data.pbc.any())]
        self.molecules.insert(0, self.atom)

    def predict(self, structures: list[Structure]) -> Prediction:
        return self.module(Batch.from_data_list(structures), stress=True)

    @cached_property
    def prediction(self) -> Prediction:
        return self.predict(self.structures)

    @cached_property
    def floor(self) -> float:
        return ROUNDING * largest(self.prediction.energy)

    def connected(self, margin: float = 0.0) -> Data:
        """All structures with edges shorter than the cutoff minus a margin."""
        batch = Batch.from_data_list(self.structures)
        if self.cutoff is None:
            return batch
        batch = with_edges(batch, self.cutoff - margin)
        del batch.edge_cutoff  # the edges within the margin are left out on purpose
        return batch

    def agree(self, actual: Prediction, expected: Prediction, change: str) -> None:
        for name, a, b in zip(Prediction._fields, actual, expected, strict=True):
            agree(a, b, f"{change} changed the {name}", floor=self.floor)

    @check("Return one energy per structure, in the type of data.pos")
    def output(self) -> None:
        batch = Batch.from_data_list(self.structures)
        for dtype in (torch.float32, torch.float64):
            energy, forces, stress = copy.deepcopy(self.module).to(dtype)(batch, stress=True)
            expect_tensor("the energy", energy, (batch.num_graphs,), torch.float64)
            expect_tensor("the forces", forces, tuple(batch.pos.shape), dtype)
            expect_tensor("the stress", stress, tuple(batch.cell.shape), dtype)

    @check("Work on a copy, such as copy.copy(data)")
    def untouched_inputs(self) -> None:
        for given in (Batch.from_data_list(self.structures), self.connected()):
            before = copy.deepcopy(given.to_dict())
            self.module(given, stress=True)
            if "edge_index" in before or self.cutoff is None:
                self.model(given)
            for name, value in given.to_dict().items():
                if name not in before or (torch.is_tensor(value) and not value.equal(before[name])):
                    raise CheckFailed(f"{name} of the batch was added or modified in place")

    @check(VECTORS)
    def translation(self) -> None:
        moved = [_changed(data, pos=data.pos + 3 * normal(1, 3)) for data in self.structures]
        self.agree(self.predict(moved), self.prediction, "translation")

    def turn(self, handedness: int, change: str) -> None:
        q, _ = torch.linalg.qr(normal(3, 3))
        q = q * torch.linalg.det(q).sign() * handedness
        turned = [_changed(data, pos=data.pos @ q, cell=data.cell @ q) for data in self.structures]
        energy, forces, stress = self.prediction
        self.agree(self.predict(turned), Prediction(energy, forces @ q, q.T @ stress @ q), change)

    @check(VECTORS)
    def rotation(self) -> None:
        self.turn(1, "rotation")

    @check("Mirror images have one energy: use distances and angles, no triple products")
    def reflection(self) -> None:
        self.turn(-1, "reflection")

    @check("Sum over edges and do not use their index")
    def order_of_edges(self) -> str | None:
        if self.cutoff is None:
            return "the model has no cutoff, hence no edges"
        batch = self.connected()
        order = torch.randperm(batch.num_edges)
        edges = {"edge_index": batch.edge_index[:, order], "edge_shift": batch.edge_shift[order]}
        edges["edge_reverse"] = order.argsort()[batch.edge_reverse[order]]
        actual = self.module(_changed(batch, **edges), stress=True)
        self.agree(actual, self.prediction, "listing the same edges in another order")
        return None

    @check("Do not use the index of an atom")
    def renumbering(self) -> None:
        orders = [torch.randperm(data.z.numel()) for data in self.structures]
        pairs = zip(self.structures, orders, strict=True)
        other = [_changed(data, z=data.z[order], pos=data.pos[order]) for data, order in pairs]
        split = self.prediction.forces.split([order.numel() for order in orders])
        forces = torch.cat([f[order] for f, order in zip(split, orders, strict=True)])
        expected = self.prediction._replace(forces=forces)
        self.agree(self.predict(other), expected, "renumbering the atoms")

    @check(VECTORS)
    def atom_without_edges(self) -> None:
        energy, forces, _ = self.predict([self.atom])
        expect_tensor("the energy of an atom without edges", energy, (1,), torch.float64)
        what = "the force on an atom without edges differs from zero"
        agree(forces, torch.zeros_like(forces), what, tolerance=0.0)

    @check(ALONE)
    def batch_and_singles(self) -> None:
        singles = [self.predict([data]) for data in self.structures]
        together = Prediction(*(torch.cat(parts) for parts in zip(*singles, strict=True)))
        self.agree(self.prediction, together, "putting structures into one batch")

    @check(DERIVED)
    def forces(self) -> None:
        batch = self.connected(margin=1e-3)  # so that no step takes an edge across the cutoff
        forces = self.module(batch).forces
        for along in normal(3, *batch.pos.shape):

            def energy(step: float, along=along) -> Tensor:
                moved = _changed(batch, pos=batch.pos + step * along)
                return self.module(moved, forces=False).energy

            work = sum_atoms((forces * along).sum(1), batch.batch, batch.num_graphs)
            what = "forces differ from −∂E/∂pos by differences"
            agree(work, -slope(energy), what, SLOPE, self.floor)

    @check(DERIVED)
    def stress(self) -> None:
        batch = self.connected(margin=1e-3)
        strain = 0.1 * normal(*batch.cell.shape)

        def energy(step: float) -> Tensor:
            pos, cell = strained(batch, step * strain)
            return self.module(_changed(batch, pos=pos, cell=cell), forces=False).energy

        work = (self.module(batch, stress=True).stress * strain).sum((1, 2))
        work = work * torch.linalg.det(batch.cell).abs()
        what = "stress · volume differs from ∂E/∂strain by differences"
        agree(work, slope(energy), what, SLOPE, self.floor)

    @check("Multiply what an edge does by an envelope that ends there flat, as CosineEnvelope does")
    def smooth_at_the_cutoff(self) -> str | None:
        if self.cutoff is None:
            return "the model has no cutoff"
        if isinstance(getattr(self.model, "envelope", None), NoEnvelope):
            return "NoEnvelope does not vanish at the cutoff: energies jump there"

        def predict(gap: float) -> Prediction:
            """Of each molecule and one more atom, as far from its first atom as cutoff + gap."""
            grown = []
            for data in self.molecules:
                step = (self.cutoff + gap) * data.pos.new_tensor([[0.36, 0.48, 0.8]])
                pos, z = torch.cat([data.pos, data.pos[:1] + step]), torch.cat([data.z, data.z[:1]])
                grown.append(_changed(data, z=z, pos=pos))
            return self.predict(grown)

        wide, narrow = (zip(predict(-gap), predict(gap), strict=True) for gap in (1e-3, SMALL))
        for name in ("energy", "forces"):
            before, after = (largest(a - b) for a, b in (next(wide), next(narrow)))
            if not after <= 0.1 * before + self.floor:  # a smooth change shrinks with the gap
                where = f"where a distance crosses the cutoff of {self.cutoff} Å"
                raise CheckFailed(f"{name} jumps by {after:.2g} {where}")
        return None

    @check("Multiply the envelope by (distance < cutoff), as CosineEnvelope does")
    def envelope_beyond_the_cutoff(self) -> str | None:
        envelope = getattr(self.model, "envelope", None)
        if self.cutoff is None or not isinstance(envelope, nn.Module):
            return "the model has no envelope"
        distance = self.cutoff * torch.linspace(1.0, 2.0, 101, dtype=torch.float64)
        value = largest(envelope(distance))
        if value != 0:
            raise CheckFailed(f"the envelope is {value:.2g} beyond the cutoff of {self.cutoff} Å")
        return None

    @check("Leave out dropout, batch normalization and random activations")
    def training_mode(self) -> None:
        trained = copy.deepcopy(self.module).train()(
            Batch.from_data_list(self.structures), stress=True
        )
        self.agree(trained, self.prediction, "training mode")

    @check(ALONE)
    def extensive(self) -> str | None:
        if type(getattr(self.model, "readout", None)) is not SumReadout or self.cutoff is None:
            return "only asked of models that have a cutoff and whose readout is SumReadout"
        far = 2 * self.cutoff + 2 * max(largest(data.pos) for data in self.molecules)
        doubled = [
            _changed(data, z=data.z.repeat(2), pos=torch.cat([data.pos, data.pos + far]))
            for data in self.molecules
        ]
        actual, expected = self.predict(doubled).energy, 2 * self.predict(self.molecules).energy
        agree(actual, expected, "the energy of two far copies differs from twice that of one")
        return None


def _examples(max_z: int, seed: int) -> list[Structure]:
    crystal = bulk("Si") if max_z > 14 else bulk("C")
    atoms = [*map(molecule, ("H2O", "CH3CONH2", "H2")), Atoms("H"), crystal]
    for k, item in enumerate(atoms):
        item.rattle(0.1, seed=seed + k)
    return [from_ase(item) for item in atoms if item.numbers.max() < max_z]


def _plain(data: Structure, where: str) -> Structure:
    """The structure in float64, without labels and edges, in a cell that has a volume."""
    if not isinstance(data, Data) or data.get("batch") is not None:
        raise InputError(f"{where} must be one Structure, got {type(data).__name__}; pass a list")
    validate(data, where)
    left_out = ("energy", "stress", *PER_ATOM[2:], *GRAPH)
    plain = Structure(cell=torch.zeros(1, 3, 3), pbc=torch.zeros(1, 3, dtype=torch.bool))
    plain.update({key: value for key, value in data.to_dict().items() if key not in left_out})
    plain = plain.cpu()
    cell = torch.from_numpy(complete_cell(plain.cell[0].numpy())).double().unsqueeze(0)
    return plain.update({"pos": plain.pos.detach().double(), "cell": cell})


def _changed(data: Data, **fields: Tensor) -> Data:
    return copy.copy(data).update(fields)

"""Checks of a model: symmetries, derivatives, and what single structures owe to others."""

import torch
from torch import Tensor

from schnetgeo.geometry import apply_strain
from schnetgeo.nn import StepCutoff
from schnetgeo.nn.readout import sum_atoms
from schnetgeo.potential import Prediction
from schnetgeo.testing.checks import (
    ADVICE_ALONE,
    ADVICE_DERIVED,
    ADVICE_VECTORS,
    SLOPE,
    SMALL,
    CheckFailed,
    assert_close,
    central_difference,
    check,
    expect_tensor,
    max_abs,
    normal,
)
from schnetgeo.testing.predictions import concatenate, renumbered, turned
from schnetgeo.testing.structures import changed
from schnetgeo.testing.subject import PotentialSubject

_NO_ENERGY = "the model predicts no energy"


class PhysicsChecks(PotentialSubject):
    @check(ADVICE_VECTORS)
    def translation(self) -> None:
        translated = [changed(data, pos=data.pos + 3 * normal(1, 3)) for data in self.structures]
        self.assert_close(self.predict(translated), self.prediction, "translation")

    def rotate(self, handedness: int, change: str) -> None:
        q, _ = torch.linalg.qr(normal(3, 3))
        q = q * torch.linalg.det(q).sign() * handedness
        rotated = [changed(data, pos=data.pos @ q, cell=data.cell @ q) for data in self.structures]
        expected = turned(self.prediction, self.targets, q)
        self.assert_close(self.predict(rotated), expected, change)

    @check(ADVICE_VECTORS)
    def rotation(self) -> None:
        self.rotate(1, "rotation")

    @check("Mirror images have one energy: use distances and angles, no triple products")
    def reflection(self) -> None:
        self.rotate(-1, "reflection")

    @check("Do not use the index of an atom")
    def renumbering(self) -> None:
        orders = [torch.randperm(data.z.numel()) for data in self.structures]
        pairs = zip(self.structures, orders, strict=True)
        other = [changed(data, z=data.z[order], pos=data.pos[order]) for data, order in pairs]
        expected = renumbered(self.prediction, self.targets, orders)
        self.assert_close(self.predict(other), expected, "renumbering the atoms")

    @check(ADVICE_VECTORS)
    def atom_without_edges(self) -> str | None:
        if not self.has_energy:
            return _NO_ENERGY
        prediction = self.predict([self.atom])
        energy, forces = prediction.energy, prediction.forces
        expect_tensor("the energy of an atom without edges", energy, (1,), torch.float64)
        what = "the force on an atom without edges differs from zero"
        assert_close(forces, torch.zeros_like(forces), what, tolerance=0.0)
        return None

    @check(ADVICE_ALONE)
    def batch_and_singles(self) -> None:
        together = concatenate([self.predict([data]) for data in self.structures])
        self.assert_close(self.prediction, together, "putting structures into one batch")

    @check(ADVICE_DERIVED)
    def forces(self) -> str | None:
        if not self.has_energy:
            return _NO_ENERGY
        batch = self.connected(margin=1e-3)  # so that no step takes an edge across the cutoff
        forces = self.module(batch).forces
        for along in normal(3, *batch.pos.shape):

            def energy(step: float, along=along) -> Tensor:
                translated = changed(batch, pos=batch.pos + step * along)
                return self.module(translated, forces=False).energy

            work = sum_atoms((forces * along).sum(1), batch.batch, batch.num_graphs)
            what = "forces differ from −∂E/∂pos by differences"
            assert_close(work, -central_difference(energy), what, SLOPE, self.floor)
        return None

    @check(ADVICE_DERIVED)
    def stress(self) -> str | None:
        if not self.has_energy:
            return _NO_ENERGY
        batch = self.connected(margin=1e-3)
        strain = 0.1 * normal(*batch.cell.shape)

        def energy(step: float) -> Tensor:
            pos, cell = apply_strain(batch, step * strain)
            return self.module(changed(batch, pos=pos, cell=cell), forces=False).energy

        work = (self.module(batch, stress=True).stress * strain).sum((1, 2))
        work = work * torch.linalg.det(batch.cell).abs()
        what = "stress · volume differs from ∂E/∂strain by differences"
        assert_close(work, central_difference(energy), what, SLOPE, self.floor)
        return None

    @check("Multiply what an edge does by a function that ends there flat, as CosineCutoff does")
    def smooth_at_the_cutoff(self) -> str | None:
        if self.cutoff is None:
            return "the model has no cutoff"
        if isinstance(getattr(self.model, "cutoff_fn", None), StepCutoff):
            return "StepCutoff does not vanish at the cutoff: energies jump there"

        def predict(gap: float) -> Prediction:
            """Of each molecule and one more atom, as far from its first atom as cutoff + gap."""
            grown = []
            for data in self.molecules:
                step = (self.cutoff + gap) * data.pos.new_tensor([[0.36, 0.48, 0.8]])
                pos, z = torch.cat([data.pos, data.pos[:1] + step]), torch.cat([data.z, data.z[:1]])
                grown.append(changed(data, z=z, pos=pos))
            return self.predict(grown)

        wide, narrow = ((predict(-gap), predict(gap)) for gap in (1e-3, SMALL))
        for name in (*(target.name for target in self.targets), *["forces"] * self.has_energy):
            before, after = (max_abs(a[name] - b[name]) for a, b in (wide, narrow))
            if not after <= 0.1 * before + self.floor:  # a smooth change shrinks with the gap
                where = f"where a distance crosses the cutoff of {self.cutoff} Å"
                raise CheckFailed(f"{name} jumps by {after:.2g} {where}")
        return None

    @check(ADVICE_ALONE)
    def extensive(self) -> str | None:
        pairs = zip(self.targets, self.readouts, strict=False)
        names = [target.name for target, readout in pairs if readout.extensive]
        if not names or self.cutoff is None:
            return "only asked of models that have a cutoff and a readout that is extensive"
        far = 2 * self.cutoff + 2 * max(max_abs(data.pos) for data in self.molecules)
        doubled = []
        for data in self.molecules:
            states = {k: 2 * data[k] for k in ("charge", "spin") if data.get(k) is not None}
            pos = torch.cat([data.pos, data.pos + far])
            doubled.append(changed(data, z=data.z.repeat(2), pos=pos, **states))
        actual, expected = self.predict(doubled), self.predict(self.molecules)
        for name in names:
            what = f"the {name} of two far copies differs from twice that of one"
            assert_close(actual[name], 2 * expected[name], what, floor=self.floor)
        return None

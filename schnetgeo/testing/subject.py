"""A potential that is checked, and the checks that everything else relies on."""

import copy
from collections.abc import Iterable
from functools import cached_property

import torch
from torch_geometric.data import Batch, Data

from schnetgeo.data import Structure, with_edges
from schnetgeo.data.graph import edge_cutoff
from schnetgeo.data.validate import check_elements
from schnetgeo.errors import InputError
from schnetgeo.potential import Potential, Prediction
from schnetgeo.potential.arguments import readouts_of
from schnetgeo.targets import DERIVATIVES
from schnetgeo.testing.checks import (
    ADVICE_SAME,
    ADVICE_STEADY,
    EXACT,
    ROUNDING,
    CheckFailed,
    Checks,
    assert_close,
    check,
    expect_tensor,
    max_abs,
)
from schnetgeo.testing.structures import changed, examples, plain


class PotentialSubject(Checks):
    def __init__(self, potential: Potential, structures: Iterable[Structure] | None, seed: int):
        super().__init__(potential)
        self.module.trained_on = None  # physics is to hold for elements without training too
        self.targets, self.has_energy = self.module.targets, self.module.has_energy
        for output in self.module.outputs:
            if output.atomic_references is not None:  # functions of z alone that drown the rest
                output.atomic_references.values.zero_()
        self.model, self.cutoff = self.module.model, self.module.model.cutoff
        self.readouts = readouts_of(self.model) or []
        chosen = examples(self.model.max_z, seed) if structures is None else structures
        if structures is None and not all(readout.periodic for readout in self.readouts):
            chosen = [data for data in chosen if not bool(data.pbc.any())]
        self.structures = [plain(data, f"structure {k}") for k, data in enumerate(chosen)]
        if not self.structures:
            raise InputError("structures must hold at least one structure; None takes examples")
        for k, data in enumerate(self.structures):
            check_elements(data, self.model.max_z, f"structure {k}")
        first = self.structures[0]
        pbc = torch.zeros_like(first.pbc)
        self.atom = changed(first, z=first.z[:1], pos=first.pos[:1], pbc=pbc)
        self.molecules = [data for data in self.structures if not bool(data.pbc.any())]
        self.molecules.insert(0, self.atom)

    def predict(self, structures: list[Structure]) -> Prediction:
        return self.module(Batch.from_data_list(structures), stress=self.has_energy)

    @cached_property
    def prediction(self) -> Prediction:
        return self.predict(self.structures)

    @cached_property
    def floor(self) -> float:
        return ROUNDING * max_abs(self.prediction[self.targets[0].name])

    def connected(self, margin: float = 0.0) -> Data:
        """All structures with edges shorter than the cutoff minus a margin."""
        batch = Batch.from_data_list(self.structures)
        if self.cutoff is None:
            return batch
        batch = with_edges(batch, self.cutoff - margin)
        # a model takes edges at their word: those within the margin are left out on purpose
        batch.edge_cutoff = edge_cutoff(batch.num_graphs, self.cutoff)
        return batch

    def assert_close(
        self, actual: Prediction, expected: Prediction, change: str, tolerance: float = EXACT
    ) -> None:
        for name, value in expected.items():
            assert_close(actual[name], value, f"{change} changed the {name}", tolerance, self.floor)

    @check("Return one energy per structure, in the type of data.pos")
    def output(self) -> None:
        batch = Batch.from_data_list(2 * self.structures)  # one alone would hide a shape (1, 1)
        rows = {"structure": batch.num_graphs, "atom": batch.num_nodes}
        exact = {out.target.name for out in self.module.outputs if out.atomic_references}
        targets = (*self.targets, *(DERIVATIVES if self.has_energy else ()))
        for dtype in (torch.float32, torch.float64):
            module = copy.deepcopy(self.module).to(dtype)
            prediction = module(batch, stress=self.has_energy)
            for target in targets:
                shape = rows[target.per], *target.shape
                kind = torch.float64 if target.name in exact else dtype
                expect_tensor(f"the {target.name}", prediction[target.name], shape, kind)

    @check("Work on a copy, such as copy.copy(data)")
    def untouched_inputs(self) -> None:
        for batch in (Batch.from_data_list(self.structures), self.connected()):
            before = copy.deepcopy(batch.to_dict())
            self.module(batch, stress=self.has_energy)
            if "edge_index" in before or self.cutoff is None:
                self.model(batch)
            for name, value in batch.to_dict().items():
                if name not in before or (torch.is_tensor(value) and not value.equal(before[name])):
                    raise CheckFailed(f"{name} of the batch was added or modified in place")

    @check(ADVICE_SAME)
    def repetition(self) -> None:
        again = self.predict(self.structures)
        self.assert_close(again, self.prediction, "computing the same structures again")

    @check(ADVICE_STEADY)
    def training_mode(self) -> None:
        batch = Batch.from_data_list(self.structures)
        trained = copy.deepcopy(self.module).train()(batch, stress=self.has_energy)
        self.assert_close(trained, self.prediction, "training mode")

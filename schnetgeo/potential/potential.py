"""Energy, forces, stress and further targets of any model that maps a batch to them."""

import copy
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data.coverage import Coverage
from schnetgeo.data.graph import with_edges
from schnetgeo.data.shapes import check_type
from schnetgeo.data.states import note_states
from schnetgeo.data.validate import check_geometry, check_input
from schnetgeo.engine.engine import Engine, Reading
from schnetgeo.errors import InputError
from schnetgeo.geometry import apply_strain
from schnetgeo.nn.model import AtomisticModel, reads_states
from schnetgeo.potential.arguments import check_model, check_spacing, make_outputs
from schnetgeo.potential.atomic_energies import ATOMIC_ENERGIES, AtomicEnergies
from schnetgeo.potential.atomic_references import AtomicReferences
from schnetgeo.potential.last_layer import LastLayer, calibrated
from schnetgeo.potential.model_file import (
    UNITS,
    check_finite,
    class_name,
    encode,
    write_model,
)
from schnetgeo.potential.prediction import Prediction, cell_volumes, per_volume
from schnetgeo.potential.rebuilt import check_rebuilds
from schnetgeo.targets import ENERGY, FORCES, STRESS, Target

if TYPE_CHECKING:
    from schnetgeo.potential.tabulated import TabulatedPotential


class Potential(nn.Module):
    """E = scale · model(data) + Σ_i e0[z_i],  F = −∂E/∂pos,  stress = (1/V) ∂E/∂strain.

    Other targets are scale · result alike; those that are a sum or mean over atoms have references
    e0, whose mean is added instead where the target is intensive.

    Args:
        model: module from a batch to energies (B,), or to a tuple with a result for each target,
            with attributes `cutoff` (Å, `None` for a model without edges) and `max_z`.
        atomic_references: e0 in the unit of the target, a row for each of the `max_z` atomic
            numbers, (Z,), or (T, Z) for T targets; `None` is zero.
        scale: what the model's output is multiplied by, or one number for each target; `None` is
            1, and for a readout in a unit, such as e·Å, the unit's value in that of the target.
        filters: "spline" runs the filter networks of message-passing layers on knots and
            interpolates, where that is exact to 3e-5 of the forces; "exact" runs them on every
            edge. The weights are the same.
        spacing: distance of the knots in Å; `None` follows from the basis functions.
        targets: what the model predicts, one for each of its heads; `None` is the energy, or what
            its heads are named after.

    Attributes:
        has_energy: whether the energy, and with it forces and stress, is predicted.
        trained_on: elements, compositions, shortest distances and ranges of labels of the training
            structures; `None` before training, when nothing is checked.
        last_layer: what `train.calibrate` found; `None` before.
        notes: JSON values that the model file carries, such as task, data and errors.

    Raises:
        InputError: for a model without these, for targets that the model's readouts do not give,
            for atomic references of another length, for atomic references or a scale that are not
            finite numbers, and for filters or a spacing that there are not.
    """

    def __init__(
        self,
        model: nn.Module,
        atomic_references: Float[Tensor, "Z"] | Float[Tensor, "T Z"] | None = None,
        scale: float | Sequence[float] | None = None,
        filters: Literal["spline", "exact"] = "spline",
        spacing: float | None = None,
        targets: Sequence[Target] | None = None,
    ):
        super().__init__()
        check_model(model)
        if filters not in ("spline", "exact"):
            raise InputError(f"unknown filters {filters!r:.60}; known: spline, exact")
        check_spacing(spacing)
        # pos and cell are cast to the type of the scale: that of the model
        dtype = next((p.dtype for p in model.parameters()), torch.get_default_dtype())
        outputs = make_outputs(model, targets, atomic_references, scale, dtype)
        self.model = model
        self.filters = filters
        self.spacing = spacing
        self.engine = Engine(spacing)
        self.outputs = nn.ModuleList(outputs)
        self.has_energy = outputs[0].target.name == ENERGY.name
        self.last_layer: LastLayer | None = None
        self._atomic_energies = AtomicEnergies()
        self.trained_on: Coverage | None = None
        self.notes: dict = {}
        self.states_noted = False  # whether it was said that charge and spin are not read

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is predicted, in the order of the heads."""
        return tuple(output.target for output in self.outputs)

    @property
    def scale(self) -> Float[Tensor, ""]:
        """What the first result of the model is multiplied by."""
        return self.outputs[0].scale

    @property
    def atomic_references(self) -> AtomicReferences | None:
        """References of the first target; `None` where it has none."""
        return self.outputs[0].atomic_references

    @torch.compiler.disable  # which cannot differentiate twice
    def forward(
        self,
        data: Data,
        *,
        forces: bool | None = None,
        stress: bool = False,
        energies: bool = False,
        uncertainty: Literal["energy", "forces"] | None = None,
    ) -> Prediction:
        """All targets of all structures, and derivatives of the energy.

        In training mode the derivatives can be differentiated again, for losses on forces, and
        where `data.pos` requires a gradient, targets and forces can be differentiated for it.
        Otherwise, and under `torch.no_grad()` and `torch.inference_mode()`, everything is
        detached. `data` is not changed.

        Under `torch.autocast` what the engine runs keeps the type of the weights; what autograd
        runs follows autocast.

        Args:
            data: structure or batch with `z`, `pos` and, for stress, `cell`; edges that are
                missing are built.
            forces: give −∂E/∂pos; exactly 0 for an atom without edges. `None` gives them where
                the model predicts an energy.
            stress: give (1/V) ∂E/∂strain, ASE's sign: negative under compression; NaN for a
                structure whose cell has no volume, such as a molecule.
            energies: give `atomic_energies` (N,) too, whose sum is the energy of their structure.
            uncertainty: give standard deviations of energies, at the cost of a few percent, or of
                forces too, which takes as many predictions as the last layer has channels;
                `train.calibrate` makes that possible.

        Raises:
            InputError: for forces or stress of a model that predicts no energy, for stress where
                no structure has a cell, for elements that are outside the model's table or that no
                training structure has (in training mode on a GPU not looked for), and for a model
                that does not return one result per structure, or atom, for each target.
        """
        if energies:
            rest = self(data, forces=forces, stress=stress, uncertainty=uncertainty)
            per_atom = {ATOMIC_ENERGIES: self._atomic_energies(self, data)}
            return replace(rest, further={**rest.further, **per_atom})
        if uncertainty is not None:
            layer = calibrated(self.last_layer, uncertainty)
            return layer.predict(self, data, forces, stress, uncertainty == "forces")
        check_type(data)
        forces = self._asked_forces(forces, stress)
        if torch.is_inference_mode_enabled():  # in which derivatives would come out as zero
            with torch.inference_mode(False), torch.no_grad():
                return self.forward(data.clone(), forces=forces, stress=stress)
        check_input(data, self.model.max_z)
        free = data.pos.requires_grad and torch.is_grad_enabled()
        differentiable = (self.training or free) and torch.is_grad_enabled()
        self._check_coverage(data)
        if self.has_energy and not (self.states_noted or self.training or reads_states(self.model)):
            self.states_noted = note_states(data, type(self.model).__name__)
        reading = None if free else self.reading()
        fast = reading is not None
        data = self.with_edges(data, longer=fast or _masks_edges(self.model))
        volumes = cell_volumes(data) if stress else None
        options = data, forces, stress, differentiable
        if reading is None:
            results, force, virial = self._by_autograd(*options)
        else:
            results, force, virial = self._by_engine(reading, *options)
        if stress:
            virial = per_volume(virial, volumes).to(self.scale.dtype)
        return self._prediction(results, force, virial, data, differentiable)

    def with_edges(self, data: Data, longer: bool = False) -> Data:
        """The same structures with the edges of the model, as `data.with_edges`.

        Atoms that are closer than in training are noted where the edges are built here.
        """
        if self.model.cutoff is None:
            check_geometry(data)
            return data
        is_listed = data.get("edge_index") is not None
        data = with_edges(data, self.model.cutoff, longer=longer)
        if not (is_listed or self.training or self.trained_on is None):
            self.trained_on.check_distances(data)
        return data

    def _asked_forces(self, forces: bool | None, stress: bool) -> bool:
        """Whether forces are wanted, or an `InputError` where there is no energy to derive."""
        if not self.has_energy and (forces or stress):
            raise InputError(
                f"forces and stress are derivatives of the energy, but this model predicts "
                f"{', '.join(map(str, self.targets))}; leave them out, or take a model of energies"
            )
        return self.has_energy if forces is None else forces

    def _prediction(
        self,
        results: Sequence[Tensor],
        forces: Tensor | None,
        stress: Tensor | None,
        data: Data,
        differentiable: bool,
    ) -> Prediction:
        """With references, from the scaled results of the model."""
        values = {}
        for output, result in zip(self.outputs, results, strict=True):
            value = output(result, data)
            values[output.target.name] = value if differentiable else value.detach()
        derivatives = {FORCES.name: forces, STRESS.name: stress}
        return Prediction.of(values | {k: v for k, v in derivatives.items() if v is not None})

    def _check_coverage(self, data: Data) -> None:
        """Refuse untrained elements, and warn of compositions whose energies are arbitrary."""
        on_cpu, covered = data.z.device.type == "cpu", self.trained_on
        if covered is None or torch.compiler.is_compiling():
            return
        if not self.training and (on_cpu or not torch.cuda.is_current_stream_capturing()):
            covered.check(data)
        elif on_cpu:
            covered.check_elements(data)

    def reading(self) -> Reading | None:
        """The model as the engine runs it; `None` where autograd runs it."""
        if self.filters != "spline" or torch.compiler.is_compiling():
            return None
        reading = self.engine.read(self.model, self.has_energy)
        return reading if isinstance(reading, Reading) else None

    def _by_engine(
        self, reading: Reading, data: Data, forces: bool, stress: bool, differentiable: bool
    ):
        """Scaled results, forces and ∂E/∂strain by the engine."""
        with torch.set_grad_enabled(differentiable):
            evaluated = reading.evaluate(data, self.scale, forces, stress)
            return self._scaled(evaluated.results, data), evaluated.forces, evaluated.virial

    def _by_autograd(self, data: Data, forces: bool, stress: bool, differentiable: bool):
        """Scaled results, forces and ∂E/∂strain of any model."""
        if self.scale.is_inference():
            raise InputError(
                "the potential was built under torch.inference_mode, so that it cannot be "
                "differentiated; build it outside, or save it and load it"
            )
        with torch.set_grad_enabled(differentiable or forces or stress):
            inputs, data = [], copy.copy(data)
            pos = data.pos if data.pos.requires_grad and differentiable else data.pos.detach()
            data.pos = pos.to(self.scale.dtype)
            if pos.dtype != data.pos.dtype:
                data.pos_residual = (pos.double() - data.pos.double()).detach()
            if forces and not data.pos.requires_grad:
                data.pos.requires_grad_()
            if forces:
                inputs.append(data.pos)
            if stress:
                strain = torch.zeros_like(data.cell, dtype=data.pos.dtype, requires_grad=True)
                data.pos, data.cell = apply_strain(data, strain)
                inputs.append(strain)
            results = self._scaled(self.model(data), data)
            gradients = list(_gradients(results[0], inputs, create_graph=differentiable))
        return (
            results,
            gradients.pop(0).neg() if forces else None,
            gradients.pop(0) if stress else None,
        )

    def _scaled(self, results: object, data: Data) -> list[Tensor]:
        """Each result of the model times its scale, or an `InputError` for another number."""
        results = results if isinstance(results, tuple) else (results,)
        if len(results) != len(self.outputs):
            names = ", ".join(target.name for target in self.targets)
            raise InputError(
                f"the model must return a tuple of {len(self.outputs)} results, for {names}, got "
                f"{len(results)}; give the potential one target for each"
            )
        return [out.scaled(y, data) for out, y in zip(self.outputs, results, strict=True)]

    def extra_repr(self) -> str:
        elements = "nothing yet" if self.trained_on is None else " ".join(self.trained_on.elements)
        return f"filters={self.filters!r}, trained on {elements}"

    def tabulate(self, tolerance: float = 1e-5) -> "TabulatedPotential":
        """Constant tables of the filters, for dynamics and screening on the CPU.

            fast = potential.tabulate(tolerance=1e-5)
            fast(data).forces, fast.error, fast.spacing

        Args:
            tolerance: largest error of the filters and of their derivatives, relative to the
                largest.

        Raises:
            InputError: for a model that the engine cannot read, or a tolerance that no table of
                the model's type holds.
        """
        from schnetgeo.potential.tabulated import TabulatedPotential  # which needs Numba

        return TabulatedPotential(self, tolerance)

    def save(self, path: str | os.PathLike, **notes) -> None:
        """Write one .safetensors file: weights, references, and a JSON header to rebuild them.

        Args:
            path: conventionally ends in .safetensors; replaced only when the new file is whole.
            **notes: further JSON values for the header, beside `notes`.

        Raises:
            InputError: if the file cannot be written, a weight is not finite, an entry of
                `model.hyperparameters`, what the model's class was built with, is none that
                `model_file.encode` takes, or the model is not what they build, as after parts of
                it were replaced.
        """
        check_finite(self, path)
        check_rebuilds(self.model, self.scale.dtype)
        header = {
            "class": class_name(type(self.model)),
            "hyperparameters": {k: encode(v) for k, v in self.model.hyperparameters.items()},
            "targets": [target.as_json() for target in self.targets],
            "filters": self.filters,
            "spacing": self.spacing,
            "dtype": str(self.scale.dtype).removeprefix("torch."),
            "units": UNITS,
            "trained_on": None if self.trained_on is None else self.trained_on.as_json(),
            "notes": self.notes | notes,
        }
        write_model(path, header, self.state_dict())


def _gradients(energy: Tensor, inputs: list[Tensor], create_graph: bool) -> tuple[Tensor, ...]:
    if not inputs or not energy.requires_grad:
        return tuple(torch.zeros_like(x) for x in inputs)
    return torch.autograd.grad(
        energy.sum(), inputs, create_graph=create_graph, materialize_grads=True
    )


def _masks_edges(model: nn.Module) -> bool:
    return isinstance(model, AtomisticModel) and model.masks_edges

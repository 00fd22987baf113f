"""Energy, forces and stress of any model that maps a batch to energies."""

import contextlib
import copy
import os
from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data.coverage import Coverage
from schnetgeo.data.graph import sort_edges, with_edges
from schnetgeo.data.shapes import check_type
from schnetgeo.data.states import note_states
from schnetgeo.data.validate import check_geometry, check_input
from schnetgeo.engine.engine import Engine, Reading
from schnetgeo.errors import InputError
from schnetgeo.geometry import apply_strain, num_structures
from schnetgeo.nn.model import AtomisticModel, is_ours
from schnetgeo.nn.readout import MeanReadout
from schnetgeo.potential.atomic_references import AtomicReferences
from schnetgeo.potential.bounded import no_larger_than
from schnetgeo.potential.edge_forces import (
    EdgeGradient,
    edge_forces,
    edge_lengths,
    edge_virial,
    unit_vectors,
)
from schnetgeo.potential.model_file import (
    UNITS,
    check_finite,
    class_name,
    decode,
    encode,
    find_class,
    named,
    read_model,
    write_model,
)
from schnetgeo.potential.prediction import Prediction, cell_volumes
from schnetgeo.potential.rebuilt import check_rebuilds

if TYPE_CHECKING:
    from schnetgeo.potential.tabulated import TabulatedPotential


class Potential(nn.Module):
    """E = scale · model(data) + Σ_i e0[z_i],  F = −∂E/∂pos,  stress = (1/V) ∂E/∂strain.

    With a model whose readout is a mean over atoms the second term is a mean too, so that the
    whole is intensive.

    Args:
        model: module from a batch to energies (B,), with attributes `cutoff` (Å, `None` for a
            model without edges) and `max_z`.
        atomic_references: e0 in eV, a row for each of the `max_z` atomic numbers; `None` is zero.
        scale: what the model's output is multiplied by, eV.
        filters: "spline" runs the filter networks of message-passing layers on knots and
            interpolates, where that is exact to 3e-5 of the forces; "exact" runs them on every
            edge. The weights are the same.
        spacing: distance of the knots in Å; `None` follows from the basis functions.

    Attributes:
        trained_on: elements and compositions of the training structures; `None` before training,
            when nothing is checked.
        notes: JSON values that the model file carries, such as task, data and errors.

    Raises:
        InputError: for a model without these, for atomic references of another length, for atomic
            references or a scale that are not finite numbers, and for filters or a spacing that
            there are not.
    """

    scale: Tensor

    def __init__(
        self,
        model: nn.Module,
        atomic_references: Float[Tensor, "Z"] | None = None,
        scale: float = 1.0,
        filters: Literal["spline", "exact"] = "spline",
        spacing: float | None = None,
    ):
        super().__init__()
        check_model(model)
        if filters not in ("spline", "exact"):
            raise InputError(f"unknown filters {filters!r:.60}; known: spline, exact")
        if spacing is not None and (isinstance(spacing, bool) or not isinstance(spacing, Real)):
            raise InputError(f"spacing must be a number in Å, got {spacing!r:.60}")
        if atomic_references is None:
            atomic_references = torch.zeros(model.max_z)
        references = _numbers("atomic_references", atomic_references)
        scale = _numbers("scale", scale)
        if scale.numel() != 1:
            raise InputError(f"scale must be one number, got shape {tuple(scale.shape)}")
        if references.shape != (model.max_z,):
            raise InputError(
                f"atomic_references must have shape ({model.max_z},), a row for each "
                f"atomic number of the model, got {tuple(references.shape)}"
            )
        # pos and cell are cast to the type of the scale: that of the model
        dtype = next((p.dtype for p in model.parameters()), torch.get_default_dtype())
        self.model = model
        self.filters = filters
        self.spacing = spacing
        self.engine = Engine(spacing)
        self.atomic_references = AtomicReferences(references)
        self.register_buffer("scale", torch.tensor(float(scale), dtype=dtype))
        self.trained_on: Coverage | None = None
        self.notes: dict = {}
        self.states_noted = False  # whether it was said that charge and spin are not read

    @torch.compiler.disable  # which cannot differentiate twice
    def forward(self, data: Data, *, forces: bool = True, stress: bool = False) -> Prediction:
        """Energies of all structures and their derivatives.

        In training mode the derivatives can be differentiated again, for losses on forces, and
        where `data.pos` requires a gradient, energies and forces can be differentiated for it.
        Otherwise, and under `torch.no_grad()` and `torch.inference_mode()`, everything is
        detached. `data` is not changed.

        Under `torch.autocast` what the engine runs keeps the type of the weights; what autograd
        runs follows autocast.

        Args:
            data: structure or batch with `z`, `pos` and, for stress, `cell`; edges that are
                missing are built.
            forces: give −∂E/∂pos; exactly 0 for an atom without edges.
            stress: give (1/V) ∂E/∂strain, ASE's sign: negative under compression; NaN for a
                structure whose cell has no volume, such as a molecule.

        Raises:
            InputError: for stress where no structure has a cell, for elements that are outside the
                model's table or that no training structure has (in training mode on a GPU not
                looked for), and for a model that does not return one energy per structure.
        """
        check_type(data)
        if torch.is_inference_mode_enabled():  # in which derivatives would come out as zero
            with torch.inference_mode(False), torch.no_grad():
                return self.forward(data.clone(), forces=forces, stress=stress)
        check_input(data, self.model.max_z)
        free = data.pos.requires_grad and torch.is_grad_enabled()
        differentiable = (self.training or free) and torch.is_grad_enabled()
        self._check_coverage(data)
        if not (self.states_noted or self.training) and is_ours(self.model):
            self.states_noted = note_states(data, type(self.model).__name__)
        reading = None if free else self.reading()
        fast = reading is not None
        if self.model.cutoff is not None:
            data = with_edges(data, self.model.cutoff, longer=fast or _masks_edges(self.model))
        else:
            check_geometry(data)
        volumes = cell_volumes(data) if stress else None
        options = data, forces, stress, differentiable
        if reading is None:
            energy, force, virial = self._by_autograd(*options)
        else:
            energy, force, virial = self._by_engine(reading, *options)
        references = self.atomic_references(data, mean=is_intensive(self.model))
        total = energy.to(references.device).double() + references
        return Prediction(
            energy=total if differentiable else total.detach(),
            forces=force,
            stress=(virial / volumes).to(self.scale.dtype) if stress else None,
        )

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
        reading = self.engine.read(self.model)
        return reading if isinstance(reading, Reading) else None

    def _by_engine(
        self, reading: Reading, data: Data, forces: bool, stress: bool, differentiable: bool
    ):
        """Energy, forces and ∂E/∂strain from gradients along edges."""
        data = sort_edges(data)
        vectors, distance = edge_lengths(data, self.scale.dtype)
        kind, exact = self.scale.device.type, contextlib.nullcontext()
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            exact = torch.autocast(kind, enabled=False)
        with torch.set_grad_enabled(differentiable), exact:
            unit = unit_vectors(vectors, distance) if reading.is_directed else None
            energy, radial, angular = reading.evaluate(data, distance, unit, forces or stress)
            energy, radial = self.scale * energy, self.scale * radial
            angular = None if angular is None else self.scale * angular
            edges = EdgeGradient(radial, angular, vectors, distance, unit)
            force = edge_forces(edges, data) if forces else None
            virial = edge_virial(edges, data) if stress else None
        return energy, force, virial

    def _by_autograd(self, data: Data, forces: bool, stress: bool, differentiable: bool):
        """Energy, forces and ∂E/∂strain of any model."""
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
            energy = self.scale * _one_per_structure(self.model(data), data)
            gradients = list(_gradients(energy, inputs, create_graph=differentiable))
        return (
            energy,
            gradients.pop(0).neg() if forces else None,
            gradients.pop(0) if stress else None,
        )

    def extra_repr(self) -> str:
        elements = "nothing yet" if self.trained_on is None else " ".join(self.trained_on.elements)
        return f"scale={float(self.scale):.4g} eV, filters={self.filters!r}, trained on {elements}"

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
            "filters": self.filters,
            "spacing": self.spacing,
            "dtype": str(self.scale.dtype).removeprefix("torch."),
            "units": UNITS,
            "trained_on": None if self.trained_on is None else self.trained_on.as_json(),
            "notes": self.notes | notes,
        }
        write_model(path, header, self.state_dict())


def load(
    path: str | os.PathLike, classes: Iterable[type] = (), device: str | torch.device = "cpu"
) -> Potential:
    """The potential of a model file, in evaluation mode; runs no pickle.

    Args:
        path: file written by `Potential.save`.
        classes: your own classes that the file names, as in `classes=[MyConv]`.
        device: where to put the model.

    Raises:
        InputError: for a file that is missing, cut short, changed, of another kind, or of a
            training that diverged, for a class that is neither of this package nor in `classes`,
            and for one of `classes` that is no `torch.nn.Module`.
    """
    header, tensors = read_model(path)
    known = named(classes)
    model_class = find_class(header["class"], known, path)
    try:
        # weights made in inference mode could never be differentiated
        with torch.inference_mode(False), no_larger_than(tensors, path):
            values = header["hyperparameters"].items()
            model = model_class(**{k: decode(v, known, path) for k, v in values})
            potential = Potential(model, filters=header["filters"], spacing=header.get("spacing"))
            potential.to(getattr(torch, header["dtype"]))
        potential.load_state_dict(tensors)
        covered = header.get("trained_on")
        potential.trained_on = None if covered is None else Coverage.from_json(covered)
        potential.notes = header["notes"]
    except Exception as error:  # a class fails in its own way on arguments it does not expect
        if isinstance(error, InputError) and str(error).startswith(f"{path}: "):
            raise
        raise InputError(f"{path}: does not fit {header['class']}: {error}") from None
    check_finite(potential, path)
    return potential.to(device).eval()


def _gradients(energy: Tensor, inputs: list[Tensor], create_graph: bool) -> tuple[Tensor, ...]:
    if not inputs or not energy.requires_grad:
        return tuple(torch.zeros_like(x) for x in inputs)
    return torch.autograd.grad(
        energy.sum(), inputs, create_graph=create_graph, materialize_grads=True
    )


def is_intensive(model: nn.Module) -> bool:
    """Whether what the model predicts is a mean over atoms."""
    return isinstance(getattr(model, "readout", None), MeanReadout)


def _masks_edges(model: nn.Module) -> bool:
    return isinstance(model, AtomisticModel) and model.masks_edges


def _numbers(name: str, value: object) -> Tensor:
    """A value as a float64 tensor of finite numbers, or an `InputError`."""
    try:
        numbers = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be numbers in eV, got {value!r:.80}") from None
    strange = numbers[~numbers.isfinite()]
    if strange.numel():
        raise InputError(
            f"{name} must be finite in eV, got {float(strange[0])}; leave {name} out, or give a "
            "number"
        )
    return numbers.detach().clone()


def check_model(model: object) -> None:
    """Raise `InputError` unless an object can be the model of a potential."""
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model must be a torch.nn.Module from a batch to energies, got {model!r:.80}; give "
            "one, such as SchNet()"
        )
    missing = [name for name in ("cutoff", "max_z") if not hasattr(model, name)]
    if missing:
        raise InputError(
            f"model must have the attributes cutoff (Å, None for a model without edges) and max_z "
            f"(one more than the largest atomic number), but {type(model).__name__} has no "
            f"{' and no '.join(missing)}; set {' and '.join(missing)}"
        )


def _one_per_structure(energy: Tensor, data: Data) -> Float[Tensor, "B"]:
    number = num_structures(data)
    if number == 1 and torch.is_tensor(energy) and energy.numel() == 1:
        return energy.reshape(1)
    if not torch.is_tensor(energy) or energy.shape != (number,):
        result = (
            f"shape {tuple(energy.shape)}" if torch.is_tensor(energy) else type(energy).__name__
        )
        raise InputError(
            f"the model must return one energy per structure, shape ({number},), got {result}; end "
            "its forward with .squeeze(-1), or sum over atoms by `batch`"
        )
    return energy

"""A potential as model of torch-sim, whose integrators and optimizers run many systems at once."""

import torch
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.potential import Potential
from schnetgeo.simulate.model_source import AnyPotential, ModelSource


def torch_sim_model(potential: str | AnyPotential, compute_stress: bool = True):
    """A `ModelInterface` of torch-sim: energy (eV), forces, and stress, 0 without a cell.

        import torch_sim
        torch_sim.optimize(system=atoms, model=torch_sim_model("model.safetensors"), …)

    Args:
        potential: model file or potential; tabulated ones run on the CPU.
        compute_stress: give the stress too.

    Raises:
        InputError: as `Calculator`, and where torch-sim is not installed.
    """
    try:
        from torch_sim.models.interface import ModelInterface
    except ImportError as error:
        raise InputError(
            f"torch-sim cannot be imported ({error}); pip install torch-sim-atomistic"
        ) from None

    class SchnetgeoModel(ModelInterface):
        """What torch-sim calls."""

        def __init__(self, source: ModelSource):
            super().__init__()
            self.source = source.potential
            self._device, self._dtype = source.device, _dtype(source)
            self._compute_stress, self._compute_forces = compute_stress, True
            self._memory_scales_with = "n_atoms_x_density"

        @property
        def compute_stress(self) -> bool:
            return self._compute_stress

        @compute_stress.setter
        def compute_stress(self, value: bool) -> None:
            self._compute_stress = value

        @property
        def compute_forces(self) -> bool:
            return self._compute_forces

        @compute_forces.setter
        def compute_forces(self, value: bool) -> None:
            self._compute_forces = value

        def forward(self, state, **kwargs) -> dict[str, Tensor]:
            return _outputs(self, state)

    return SchnetgeoModel(ModelSource.of(potential))


def _dtype(source: ModelSource) -> torch.dtype:
    first = source.members[0]
    return first.scale.dtype if isinstance(first, Potential) else torch.float64


def _outputs(model, state) -> dict[str, Tensor]:
    """Predictions for a state of torch-sim, or for a dictionary of its tensors."""
    fields = state if isinstance(state, dict) else vars(state)
    cell = fields["cell"].transpose(-2, -1)  # theirs has the lattice vectors in columns
    pos, number = fields["positions"], len(cell)
    index = fields.get("system_idx")
    if index is None:
        index = fields.get("_system_idx")
    pbc = torch.as_tensor(fields.get("pbc", True), device=pos.device).expand(3)
    flat = torch.linalg.det(cell).abs() == 0
    data = Data(
        z=fields["atomic_numbers"].long(),
        pos=pos.detach(),
        cell=cell.detach().contiguous(),
        pbc=pbc.expand(number, 3) & ~flat[:, None],
        batch=torch.zeros_like(fields["atomic_numbers"]).long() if index is None else index,
    )
    stress = model.compute_stress and not bool(flat.all())
    prediction = model.source(data, forces=model.compute_forces, stress=stress)
    out = {"energy": prediction.energy.to(pos.dtype)}
    if model.compute_forces:
        out["forces"] = prediction.forces.to(pos.dtype)
    if model.compute_stress:
        values = prediction.stress if stress else torch.zeros_like(cell)
        out["stress"] = torch.where(flat[:, None, None], 0.0, values).to(pos.dtype)
    return out

"""Harmonic frequencies from the exact Hessian, and infrared intensities of a dipole."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms, units
from jaxtyping import Float

from schnetgeo.data.atoms import geometry
from schnetgeo.data.graph import with_edges
from schnetgeo.errors import InputError
from schnetgeo.potential import Potential
from schnetgeo.simulate.model_source import ModelSource
from schnetgeo.simulate.structures import Model

# of the root of an eigenvalue in eV/Å²/amu
_WAVENUMBER = 1 / np.sqrt(units._amu / units._e * 1e-20) / (2 * np.pi * units._c * 100)  # cm⁻¹
_KM_PER_MOL = 42.2561 / units.Debye**2  # of (e/Å)² Å² / amu; a Debye²/(Å² amu) is 42.2561 km/mol
_STRAIGHT = 1e-3  # smallest moment of inertia, as a part of the largest, of what is not linear


class Frequencies(NamedTuple):
    """Harmonic vibrations of N atoms: M = 3N less translations and rotations."""

    wavenumbers: Float[np.ndarray, "M"]  # cm⁻¹; negative ones stand for imaginary ones
    modes: Float[np.ndarray, "M N 3"]  # displacements of the atoms, of norm 1
    intensities: Float[np.ndarray, "M"] | None  # infrared, km/mol
    largest_force: float  # where the Hessian was taken, eV/Å

    @property
    def zero_point_energy(self) -> float:
        """½ Σ h c ν of the real ones, eV."""
        return float(self.wavenumbers[self.wavenumbers > 0].sum() * units.invcm / 2)


def frequencies(atoms: Atoms, model: Model) -> Frequencies:
    """Normal modes of a structure that is relaxed: eigenvectors of the mass-weighted Hessian.

    The Hessian ∂²E/∂r∂r is that of automatic differentiation, in float64 and with exact filters.
    Translations, and rotations of a molecule, are projected out. An infrared intensity is
    (N_A/12 ε₀ c²) |∂μ/∂Q|² of the dipole μ and the normal coordinate Q.

    Args:
        atoms: relaxed structure; `relax` with `exact_potential(model)` is the one to relax it with.
        model: model file or potential, not a tabulated one.

    Raises:
        InputError: for an ensemble, a tabulated potential, and as `Calculator`.
    """
    potential = exact_potential(model)
    hessian, dipole, force = _derivatives(atoms, potential)
    masses = np.repeat(atoms.get_masses(), 3)
    weighted = hessian / np.sqrt(masses[:, None] * masses)
    basis = _vibrations(atoms)
    values, vectors = np.linalg.eigh(basis.T @ weighted @ basis)
    normal = (basis @ vectors).T / np.sqrt(masses)  # ∂r/∂Q
    wavenumbers = np.sign(values) * np.sqrt(np.abs(values)) * _WAVENUMBER
    intensities = None
    if dipole is not None:
        intensities = _KM_PER_MOL * ((normal @ dipole) ** 2).sum(1)
    modes = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return Frequencies(wavenumbers, modes.reshape(len(modes), -1, 3), intensities, force)


def exact_potential(model: Model) -> Potential:
    """A copy in float64 with exact filters, whose minima are those of the Hessian.

    Raises:
        InputError: for an ensemble or a tabulated potential.
    """
    source = ModelSource.of(model)
    if not isinstance(source.potential, Potential):
        raise InputError(
            f"frequencies need a model that can be differentiated twice, but {source.model_name} "
            "cannot; pass one model file, or the potential itself"
        )
    potential = copy.deepcopy(source.potential).double().eval()
    potential.filters = "exact"
    return potential


def _derivatives(
    atoms: Atoms, potential: Potential
) -> tuple[Float[np.ndarray, "3N 3N"], Float[np.ndarray, "3N 3"] | None, float]:
    """Hessian in eV/Å², ∂μ/∂r in e, and the largest force."""
    data = geometry(atoms)
    for name in ("charge", "spin"):
        if isinstance(atoms.info.get(name), int | float):
            data[name] = data.pos.new_tensor([float(atoms.info[name])])
    if potential.model.cutoff is not None:
        data = with_edges(data, potential.model.cutoff)
    data.pos.requires_grad_()
    prediction = potential(data)
    forces = prediction.forces
    hessian = -_jacobian(forces.reshape(-1), data.pos)
    names = [target.name for target in potential.targets]
    dipole = _jacobian(prediction["dipole"][0], data.pos).T if "dipole" in names else None
    return (hessian + hessian.T) / 2, dipole, float(forces.norm(dim=1).max())


def _jacobian(values: torch.Tensor, pos: torch.Tensor) -> np.ndarray:
    rows = [
        torch.autograd.grad(value, pos, retain_graph=True, allow_unused=True)[0] for value in values
    ]
    rows = [torch.zeros_like(pos) if row is None else row for row in rows]
    return torch.stack(rows).reshape(len(rows), -1).detach().cpu().numpy()


def _vibrations(atoms: Atoms) -> Float[np.ndarray, "3N M"]:
    """Orthonormal mass-weighted displacements that neither move nor turn the whole."""
    root, count = np.sqrt(atoms.get_masses()), len(atoms)
    rigid = [np.outer(root, axis) for axis in np.eye(3)]
    centered = atoms.positions - atoms.get_center_of_mass()
    if not atoms.pbc.any():
        moments, axes = np.linalg.eigh(_inertia(centered, root**2))
        turns = moments > _STRAIGHT * max(moments.max(), 1e-12)
        rigid += [root[:, None] * np.cross(axis, centered) for axis in axes.T[turns]]
    rigid = np.array(rigid).reshape(len(rigid), 3 * count).T
    q, _ = np.linalg.qr(rigid, mode="complete")
    return q[:, rigid.shape[1] :]


def _inertia(r: np.ndarray, masses: np.ndarray) -> Float[np.ndarray, "3 3"]:
    return (masses * (r**2).sum(1)).sum() * np.eye(3) - (masses[:, None] * r).T @ r

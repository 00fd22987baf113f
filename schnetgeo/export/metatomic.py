"""Potentials as files of metatomic: one for ASE, i-PI, chemiscope, LAMMPS and GROMACS."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from schnetgeo.errors import InputError
from schnetgeo.export.flat_potential import FlatPotential, straight_code
from schnetgeo.files import atomic_path
from schnetgeo.potential import Potential


def to_metatomic(
    potential: Potential, path: str | os.PathLike, tolerance: float = 1e-5
) -> dict[str, str]:
    """Write a potential as a TorchScript file of metatomic, with tables of its filters.

    The file states units (eV, Å), elements, cutoff and type of numbers; metatomic converts units
    and refuses other elements. Forces, stress and energies of atoms follow from it. In float32 the
    energy is rounded like a number of its size: export `potential.double()` where that counts.

    Args:
        potential: of the energy alone, with a model that the engine reads.
        path: conventionally ends in .pt; replaced only when the new file is whole.
        tolerance: largest relative error of the tabulated filters and their derivatives.

    Returns:
        What the file states of the model, its units and elements.

    Raises:
        InputError: if metatomic-torch is not installed, if the file cannot be written, and as
            `FlatPotential`.

    Source: https://docs.metatensor.org/metatomic
    """
    flat = FlatPotential(potential, tolerance)
    try:
        with torch_functions():
            from metatomic.torch import (
                AtomisticModel,
                ModelCapabilities,
                ModelMetadata,
                ModelOutput,
            )

            from schnetgeo.export.metatomic_model import MetatomicModel
    except ImportError as error:
        raise InputError(
            f"a metatomic file needs metatomic-torch, which cannot be imported ({error}); "
            "pip install metatomic-torch"
        ) from None
    of = flat.facts
    capabilities = ModelCapabilities(
        outputs={"energy": ModelOutput(unit="eV", sample_kind="atom")},
        atomic_types=list(of.numbers),
        interaction_range=of.cutoff * of.num_convolutions,
        length_unit="angstrom",
        supported_devices=["cpu", "cuda"],
        dtype=of.dtype,
    )
    metadata = ModelMetadata(name=f"schnetgeo {of.model}", description="", extra=of.as_text())
    model = MetatomicModel(straight_code(flat), of.cutoff).eval()
    with atomic_path(Path(path), f".{os.getpid()}") as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and metatomic's format
        AtomisticModel(model, metadata, capabilities).save(str(part))
    return of.as_text()


@contextlib.contextmanager
def torch_functions() -> Iterator[None]:
    """Within the block `torch.index_select` is torch's own.

    PyG puts a function of its own in its place, which TorchScript cannot compile.
    """
    replaced = torch.index_select
    torch.index_select = torch._C._VariableFunctions.index_select
    try:
        yield
    finally:
        torch.index_select = replaced

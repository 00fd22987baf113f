"""Potentials compiled ahead of time, as packages that run without Python."""

import os
import warnings
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.export.flat_potential import FlatPotential, straight_code
from schnetgeo.files import atomic_path
from schnetgeo.potential import Potential

INPUTS = "z (N,), edge_index (2, E): sources j, targets i; vectors (E, 3): pos[j] - pos[i]"
OUTPUTS = "energies of atoms (N,) float64, forces (N, 3), virial (3, 3)"


def to_pt2(
    potential: Potential, path: str | os.PathLike, tolerance: float = 1e-5
) -> dict[str, str]:
    """Write a potential as a package of AOTInductor for this kind of processor.

    It takes atomic numbers z (N,), `edge_index` (2, E), row 0 the sources j and row 1 the targets
    i, and vectors pos[j] − pos[i] with lattice vectors, (E, 3), Å, for any N and E from 2 on, and
    gives energies of atoms (N,) in eV, float64, forces (N, 3) in eV/Å and ∂E/∂strain (3, 3) in eV.
    An edge stands for one direction: both j → i and i → j are there. Elements that training has
    not seen give NaN. The metadata state all of this.

    Args:
        potential: of the energy alone, with a model that the engine reads.
        path: ends in .pt2; replaced only when the new file is whole.
        tolerance: largest relative error of the tabulated filters and their derivatives.

    Returns:
        What the file states of the model, its units and elements, inputs and outputs.

    Raises:
        InputError: for another ending, without a C++ compiler, if the file cannot be written, and
            as `FlatPotential`.

    Source: https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html
    """
    if Path(path).suffix != ".pt2":
        raise InputError(f"{path}: a package of AOTInductor ends in .pt2; name it so")
    from torch import _inductor  # seconds, that nobody else pays
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    flat = FlatPotential(potential, tolerance)
    program = exported(flat)
    metadata = flat.facts.as_text() | {"inputs": INPUTS, "outputs": OUTPUTS}
    config = {"aot_inductor.metadata": metadata}
    with atomic_path(Path(path), f".{os.getpid()}") as part:
        whole = part.with_suffix(".part.pt2")
        try:
            _inductor.aoti_compile_and_package(
                program, package_path=str(whole), inductor_configs=config
            )
            os.replace(whole, part)
        except (InvalidCxxCompiler, CppCompileError) as error:
            raise InputError(
                f"{path}: a C++ compiler is needed to write it ({error}); install g++, or export "
                "to metatomic"
            ) from None
        finally:
            whole.unlink(missing_ok=True)
    return metadata


class Derivatives(nn.Module):
    """Energies of atoms, and derivatives of their sum.

    Args:
        energies: of atoms, from atomic numbers, targets, sources and vectors of edges.
    """

    def __init__(self, energies: nn.Module):
        super().__init__()
        self.energies = energies

    def forward(
        self, z: Int[Tensor, "N"], edge_index: Int[Tensor, "2 E"], vectors: Float[Tensor, "E 3"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energies (N,), forces (N, 3) and ∂E/∂strain (3, 3)."""
        source, target = edge_index.unbind(0)
        vectors = vectors.detach().requires_grad_()
        energies = self.energies(z, target, source, vectors)
        (gradient,) = torch.autograd.grad(energies.sum(), vectors)
        zeros = gradient.new_zeros(z.size(0), 3)
        forces = zeros.index_add(0, target, gradient).index_add(0, source, -gradient)
        return energies.detach(), forces, gradient.t() @ vectors.detach()


def exported(flat: FlatPotential) -> torch.export.ExportedProgram:
    """The derivatives with gradients written out, for any number of atoms and edges."""
    from torch.fx.experimental.proxy_tensor import make_fx

    module = Derivatives(straight_code(flat)).eval()
    z = torch.full((5,), flat.facts.numbers[0])
    edge_index = torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 0, 2, 0]])
    vectors = torch.ones(7, 3, dtype=getattr(torch, flat.facts.dtype))
    inputs = z, edge_index, vectors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its own parts
        written_out = make_fx(module, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*inputs)
        N, E = torch.export.Dim("N", min=2), torch.export.Dim("E", min=2)
        return torch.export.export(
            written_out, inputs, dynamic_shapes=({0: N}, {1: E}, {0: E}), strict=False
        )

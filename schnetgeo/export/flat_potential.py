"""A potential as one flat module of plain torch: what is written into files for other programs."""

from typing import NamedTuple

import torch
from ase.data import chemical_symbols
from jaxtyping import Float, Int
from torch import Tensor, fx, nn

from schnetgeo.engine import program as p
from schnetgeo.engine.flat import FlatModel
from schnetgeo.errors import InputError
from schnetgeo.nn.readout import SumReadout
from schnetgeo.potential import Ensemble, Potential
from schnetgeo.potential.tabulated import tabulation


class FlatPotential(nn.Module):
    """e_i = scale · y_i + e0[z_i] in eV, whose sum is the energy.

    Elements that no training structure has give NaN, which no program takes for an energy.

    Args:
        potential: of the energy alone, with a model that the engine reads.
        tolerance: largest relative error of the tabulated filters and their derivatives.

    Attributes:
        facts: what a user of the file must know.

    Raises:
        InputError: for an ensemble, another target, energies that are no sums over atoms, a model
            that the engine cannot read, or a tolerance that no table holds.
    """

    def __init__(self, potential: Potential, tolerance: float = 1e-5):
        super().__init__()
        _check(potential)
        of, program, parameters, tables = tabulation(potential, tolerance)
        readout = of.model.readout
        if type(readout).atom_weights is not SumReadout.atom_weights:
            raise InputError(
                f"potential: an exported energy is a sum over atoms, but {type(readout).__name__} "
                "weighs them; take a model with SumReadout"
            )
        self.facts = Facts.of(of, program, tables.error)
        if not self.facts.num_convolutions:
            raise InputError(
                f"potential: the energies of {self.facts.model} do not depend on neighbors; export "
                "a model with a convolution"
            )
        unknown = torch.ones(of.model.max_z, dtype=torch.bool)
        unknown[list(self.facts.numbers)] = False
        self.model = FlatModel(
            program.atoms, program.energy, parameters, tables.coefficients, tables.spacing,
            float(of.model.cutoff),
        )  # fmt: skip
        references = of.atomic_references.values.clone()
        references[unknown] = torch.nan
        for op in self.model.operations:
            if isinstance(op, p.Embedding):
                self.model.get_buffer(f"parameter{op.weight}")[unknown] = torch.nan
        self.scale = float(of.scale)
        self.register_buffer("atomic_references", references)

    def forward(
        self,
        z: Int[Tensor, "N"],
        target: Int[Tensor, "E"],
        source: Int[Tensor, "E"],
        vectors: Float[Tensor, "E 3"],
    ) -> Float[Tensor, "N"]:
        """Energies of atoms in eV, float64; arguments as for `FlatModel`."""
        y = self.model(z, target, source, vectors)
        return self.scale * y.double() + self.atomic_references.index_select(0, z)


class Facts(NamedTuple):
    """What a user of an exported file must know."""

    model: str
    numbers: tuple[int, ...]  # atomic numbers of the elements
    cutoff: float  # Å
    num_convolutions: int  # one after the other at most
    error: float  # of the tables, relative
    dtype: str

    @classmethod
    def of(cls, potential: Potential, program: p.ModelProgram, error: float) -> "Facts":
        """Those of a potential."""
        known = potential.trained_on
        numbers = range(1, potential.model.max_z)
        if known is not None and not known.allow_unseen:
            numbers = [n for n in numbers if known.seen[n]]
        depth = sum(isinstance(op, p.FilterConv) for op in program.atoms.operations)
        name = type(potential.model).__name__
        dtype = str(potential.scale.dtype).removeprefix("torch.")
        return cls(name, tuple(numbers), float(potential.model.cutoff), depth, error, dtype)

    def as_text(self) -> dict[str, str]:
        """As metadata of a file."""
        return {
            "model": self.model,
            "elements": " ".join(chemical_symbols[n] for n in self.numbers),
            "cutoff": f"{self.cutoff} angstrom",
            "units": "energy eV, length angstrom, forces eV/angstrom, virial eV (dE/dstrain)",
            "dtype": self.dtype,
            "filter_error": f"{self.error:.1e}",
        }


def _check(potential: object) -> None:
    if isinstance(potential, Ensemble):
        raise InputError(
            "potential is an ensemble, but a file for other programs holds one model; export its "
            "members one by one"
        )
    if not isinstance(potential, Potential):
        raise InputError(
            f"potential must be a schnetgeo.Potential, got {type(potential).__name__}; pass "
            "sg.load(file), before tabulate"
        )


def straight_code(potential: FlatPotential) -> fx.GraphModule:
    """The same as a module without loops and branches, which TorchScript takes."""
    module = fx.symbolic_trace(potential.eval())
    for node in module.graph.nodes:
        node.type = None  # TorchScript knows no shapes in annotations
    module.recompile()
    return module

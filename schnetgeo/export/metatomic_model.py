"""The module of a metatomic file; needs metatomic-torch, and is imported only where that is there.

TorchScript compiles this class, so that its code keeps to what TorchScript knows.
"""

from typing import Dict, List, Optional  # noqa: UP035  # TorchScript's names

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import ModelOutput, NeighborListOptions, System
from torch import nn


class MetatomicModel(nn.Module):
    """Energies of systems or of their atoms, eV.

    Args:
        energies: of atoms, from atomic numbers, targets, sources and vectors of edges.
        cutoff: Å.
    """

    def __init__(self, energies: nn.Module, cutoff: float):
        super().__init__()
        self.energies = energies
        self.neighbors = NeighborListOptions(cutoff=cutoff, full_list=True, strict=True)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:  # noqa: UP006
        """The full list up to the cutoff."""
        return [self.neighbors]

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels],  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        """The outputs that are asked for.

        Args:
            systems: structures, with the neighbor lists that were requested.
            outputs: "energy", or nothing.
            selected_atoms: whose energies count; `None` for all.
        """
        results: Dict[str, TensorMap] = {}  # noqa: UP006
        if "energy" not in outputs:
            return results
        z: List[torch.Tensor] = []  # noqa: UP006
        pairs: List[torch.Tensor] = []  # noqa: UP006
        vectors: List[torch.Tensor] = []  # noqa: UP006
        places: List[torch.Tensor] = []  # noqa: UP006
        count = 0
        for k, system in enumerate(systems):
            block = system.get_neighbor_list(self.neighbors)
            pairs.append(block.samples.values[:, :2].to(torch.int64) + count)
            vectors.append(block.values.reshape(-1, 3))
            z.append(system.types.to(torch.int64))
            atoms = torch.arange(len(system), device=system.device)
            places.append(torch.stack([torch.full_like(atoms, k), atoms], 1))
            count += len(system)
        pair, place = torch.cat(pairs), torch.cat(places)
        energy = self.energies(torch.cat(z), pair[:, 0], pair[:, 1], torch.cat(vectors))
        if selected_atoms is not None:
            wanted = selected_atoms.values.to(torch.int64)
            longest = int(place[:, 1].max()) + 1
            keys = place[:, 0] * longest + place[:, 1]
            chosen = torch.isin(keys, wanted[:, 0] * longest + wanted[:, 1])
            place, energy = place[chosen], energy[chosen]
        names = ["system", "atom"]
        if outputs["energy"].sample_kind == "system":
            total = energy.new_zeros(len(systems)).index_add(0, place[:, 0], energy)
            names, energy = ["system"], total
            place = torch.arange(len(systems), device=total.device).unsqueeze(1)
        one = torch.zeros(1, 1, dtype=torch.int32, device=energy.device)
        block = TensorBlock(
            values=energy.unsqueeze(1).to(systems[0].positions.dtype),
            samples=Labels(names, place.to(torch.int32)),
            components=torch.jit.annotate(List[Labels], []),  # noqa: UP006
            properties=Labels(["energy"], one),
        )
        results["energy"] = TensorMap(Labels(["_"], one), [block])
        return results

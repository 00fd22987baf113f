import pytest
import torch

from schnetgeo.datasets import Demo
from schnetgeo.errors import InputError


@pytest.mark.parametrize(
    ("part", "structures", "atoms", "elements"),
    [("ethanol", 1200, 10800, {1, 6, 8}), ("molecules", 1240, 9800, {1, 6, 7, 8})],
)
def test_parts(part, structures, atoms, elements):
    dataset = Demo(part)
    assert len(dataset) == structures
    assert int(dataset.num_atoms.sum()) == atoms
    assert set(dataset.get_property("z").unique().tolist()) == elements
    energy, forces = dataset.get_property("energy"), dataset.get_property("forces")
    assert energy.shape == (structures,)
    assert forces.shape == (atoms, 3)
    assert energy.dtype == torch.float64
    assert bool(torch.isfinite(energy).all())
    assert bool(torch.isfinite(forces).all())
    per_atom = energy / dataset.num_atoms  # xTB counts valence electrons only
    assert -120 < per_atom.min() < per_atom.max() < -10
    assert 0.3 < forces.square().mean().sqrt() < 3


def test_forces_on_a_molecule_add_up_to_nothing():
    for part in ("ethanol", "molecules"):
        batch = Demo(part).batch(range(0, 1200, 40))
        total = batch.forces.new_zeros(batch.num_graphs, 3).index_add(0, batch.batch, batch.forces)
        assert float(total.abs().max()) < 1e-3


def test_unknown_part():
    with pytest.raises(InputError, match="unknown part 'water' of Demo; known: ethanol, molecules"):
        Demo("water")

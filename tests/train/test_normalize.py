"""References and scales of each target are fitted on the training structures."""

import pytest
import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.nn import AtomReadout, SchNet, readout_for
from schnetgeo.targets import Target, known_target
from schnetgeo.train import new_potential

DEBYE = 4.80320471257  # in 1 e·Å
SPECIES = Target("shielding", "ppm", per="atom", extensive=False)


def structures():
    """Chains of hydrogen and carbon with alpha = 2 n_H + 5 n_C and gap = 3 x_H + 7 x_C."""
    molecules = []
    for hydrogens, carbons in ((1, 1), (2, 1), (1, 3), (4, 1), (2, 2)):
        z = torch.tensor([1] * hydrogens + [6] * carbons)
        pos = torch.zeros(len(z), 3)
        pos[:, 0] = 1.2 * torch.arange(len(z))
        share = hydrogens / len(z)
        numbers = {
            "alpha": 2.0 * hydrogens + 5.0 * carbons,
            "gap": 3.0 * share + 7.0 * (1 - share),
            "mu": 2.0,
        }
        labels = {name: torch.tensor([value]).double() for name, value in numbers.items()}
        dipole = torch.tensor([[1.0, 2.0, 2.0]])
        data = Structure(z=z, pos=pos, dipole=dipole, shielding=3.0 * torch.ones(len(z)), **labels)
        molecules.append(data)
    return StructureDataset.from_list(molecules)


def fitted(*targets, readout=None):
    model = SchNet(channels=8, num_layers=1, readout=readout or readout_for(*targets))
    return new_potential(model, structures(), targets=targets)


@pytest.mark.parametrize(("name", "expected"), [("alpha", (2.0, 5.0)), ("gap", (3.0, 7.0))])
def test_sums_and_means_have_references(name, expected):
    references = fitted(known_target(name)).atomic_references
    assert tuple(references.values[[1, 6]].tolist()) == pytest.approx(expected)
    assert references.mean == (name == "gap")


@pytest.mark.parametrize(("name", "expected"), [("dipole", 1.0), ("mu", DEBYE)])
def test_a_readout_in_a_unit_keeps_its_scale(name, expected):
    potential = fitted(known_target(name))
    assert float(potential.scale) == pytest.approx(expected)
    assert potential.atomic_references is None


def test_other_targets_have_the_size_of_their_labels():
    assert float(fitted(SPECIES, readout=AtomReadout).scale) == pytest.approx(3.0)


def test_each_head_has_its_own():
    potential = fitted(*(known_target(name) for name in ("alpha", "gap", "dipole")))
    alpha, gap, dipole = potential.outputs
    assert alpha.atomic_references.values[6] == pytest.approx(5.0)
    assert gap.atomic_references.values[6] == pytest.approx(7.0)
    assert dipole.atomic_references is None
    prediction = potential.eval()(structures()[0])
    assert set(dict(prediction.items())) == {"alpha", "gap", "dipole"}


def test_labels_that_some_structures_lack_count_for_nothing():
    some = list(structures())
    some[0].alpha = torch.tensor([torch.nan]).double()
    dataset = StructureDataset.from_list(
        [data.update({"alpha_mask": torch.tensor([k > 0])}) for k, data in enumerate(some)]
    )
    target = known_target("alpha")
    model = SchNet(channels=8, num_layers=1, readout=readout_for(target))
    potential = new_potential(model, dataset, targets=[target])
    assert potential.atomic_references.values[6] == pytest.approx(5.0)
    assert potential.trained_on.labels["alpha"] == (9.0, 17.0)

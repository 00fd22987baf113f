import pytest

from schnetgeo.data import Structure
from schnetgeo.datasets import load_data, open_dataset
from schnetgeo.errors import InputError


def energies(loader):
    return [energy for batch in loader for energy in batch.energy.tolist()]


def test_three_loaders_of_different_structures():
    loaders = load_data("Demo", num_train=100, num_val=20, batch_size=16, seed=1)
    train, val, test = parts = [energies(loader) for loader in loaders]
    assert [len(part) for part in parts] == [100, 20, 1080]
    assert len(set(train + val + test)) == 1200
    batch = next(iter(loaders.train))
    assert batch.num_graphs == 16
    assert isinstance(batch, Structure)
    assert batch.forces.shape == batch.pos.shape == (16 * 9, 3)


def test_only_training_is_shuffled():
    train, val, test = load_data("Demo", num_train=50, num_val=20, num_test=30)
    assert energies(train) != energies(train)
    assert energies(val) == energies(val)
    assert energies(test) == energies(test)
    assert len(energies(test)) == 30


def test_seed_decides():
    options = dict(num_train=50, num_val=20, part="molecules")
    one, two = (load_data("Demo", seed=4, **options) for _ in range(2))
    assert [energies(part) for part in one] == [energies(part) for part in two]
    other = load_data("Demo", seed=5, **options)
    assert set(energies(other.train)) != set(energies(one.train))


def test_no_validation():
    train, val, _ = load_data("Demo", num_train=50, num_val=0)
    assert len(energies(train)) == 50
    assert energies(val) == []


def test_refuses():
    with pytest.raises(
        InputError, match="unknown data set 'MD71'; known: AtomsFile, QM9, MD17, Rev"
    ):
        open_dataset("MD71")
    with pytest.raises(InputError, match="QM9 has no option 'molecule'; known: root, target, keep"):
        open_dataset("QM9", molecule="ethanol")
    with pytest.raises(InputError, match="cannot split 1200 structures into num_train=1200, num_v"):
        load_data("Demo", num_train=1200, num_val=1)

"""Elements and compositions that training says nothing about are refused or named."""

import json
import warnings

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given
from hypothesis import strategies as st

import schnetgeo as sg
from schnetgeo.cli import main
from schnetgeo.data.compositions import Compositions, independent_rows
from schnetgeo.data.coverage import Coverage
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.short_distances import ShortestDistances
from schnetgeo.datasets import Demo
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from schnetgeo.potential.last_layer import LastLayer
from schnetgeo.train import evaluate, new_potential, refit_references
from schnetgeo.train.checks import check_potential_trains
from schnetgeo.train.fit import covered
from tests.fuzz import bounded
from tests.structures import structure

counts_ = st.lists(st.lists(st.integers(0, 30), min_size=4, max_size=4), min_size=1, max_size=12)


def chain(symbols, energy=0.0):
    """Atoms along a line, 1.1 Å apart."""
    z = Atoms(symbols).numbers
    pos = 1.1 * np.arange(len(z))[:, None] * np.array([1.0, 0.2, 0.1])
    return structure(z, pos, energy=torch.tensor([energy], dtype=torch.float64))


def chains(*formulas):
    return StructureDataset.from_list(
        [chain(f, float(k)) for k, f in enumerate(formulas)], "chains"
    )


def trained_on(*formulas):
    torch.manual_seed(0)
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, cutoff=3.0)
    return new_potential(model, chains(*formulas))


@given(counts_)
def test_independent_rows_span_all(counts):
    counts = torch.tensor(counts)
    rows = independent_rows(counts)
    assert len(rows) == torch.linalg.matrix_rank(counts.double())
    both = torch.cat([rows, counts]).double()
    assert torch.linalg.matrix_rank(both) == len(rows)


@pytest.mark.slow
@given(counts_)
def test_json_says_all_of_a_coverage(counts):
    z = [1, 6, 8, 17]
    full = torch.zeros(len(counts), 119, dtype=torch.long)
    full[:, z] = torch.tensor(counts)
    table = 2 + torch.rand(119, 119, dtype=torch.float64)
    closest = ShortestDistances(torch.minimum(table, table.mT), 2.5)
    labels = {"energy": (-1.5, 2.0)}
    coverage = Coverage(full.sum(0), Compositions(full), labels, closest)
    again = Coverage.from_json(json.loads(json.dumps(coverage.as_json())))
    assert torch.equal(again.counts, coverage.counts)
    assert torch.equal(again.compositions.rows, coverage.compositions.rows)
    assert (again.compositions.label, again.labels) == ("energy", labels)
    torch.testing.assert_close(
        again.distances.table, closest.table.clamp(max=2.5), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    "content",
    [[], {}, {"elements": {"Xx": 1}, "compositions": []}, {"elements": 3}, "H", {"elements": []}],
)
def test_a_header_with_another_content_is_refused(content):
    with pytest.raises(InputError, match="trained_on does not list elements and compositions"):
        Coverage.from_json(content)


def header(composition):
    """Of a model file, with one composition."""
    about = {"elements": composition, "compositions": {"energy": [composition]}}
    return {**about, "labels": {}, "distances": None}


def ways(potential, data):
    """Every way to a prediction."""
    atoms = Atoms(data.z.numpy(), data.pos.numpy())
    atoms.calc = sg.Calculator(potential)
    with_forces = structure(data.z, data.pos, energy=data.energy)
    dataset = StructureDataset.from_list([with_forces], "test")
    return {
        "eval": lambda: potential.eval()(data),
        "train": lambda: potential.train()(data),
        "calculator": atoms.get_potential_energy,
        "evaluate": lambda: evaluate(potential, dataset),
        "tabulated": lambda: potential.tabulate(1e-2)(data),
        "uncertainty": lambda: with_last_layer(potential)(data, uncertainty="energy"),
        "uncertainty of forces": lambda: with_last_layer(potential)(data, uncertainty="forces"),
        "ensemble": lambda: sg.Ensemble([potential.eval(), potential])(data),
    }


def with_last_layer(potential):
    """As a calibration leaves it, but for the numbers."""
    potential.last_layer = LastLayer(potential.model.readout.lin2.in_features + 1)
    potential.last_layer.force_scale += 1.0
    return potential.eval()


WAYS = [
    "eval", "train", "calculator", "evaluate", "tabulated", "uncertainty", "uncertainty of forces",
    "ensemble",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_an_element_that_was_not_trained_on_is_refused(way, tmp_path):
    trained_on("H2O", "CH4").save(tmp_path / "model.safetensors")
    potential = sg.load(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"N \(z = 7\).*it knows H, C, O; leave such"):
        ways(potential, chain("NH3"))[way]()


@pytest.mark.parametrize("way", [w for w in WAYS if w != "train"])
def test_a_composition_that_training_leaves_open_is_named_once(way):
    potential = trained_on("CH4", "CH4")
    call = ways(potential, chain("C2H4"))[way]
    with pytest.warns(UserWarning, match="training on CH4 does not determine the energy of C2H4"):
        call()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ways(potential, chain("C2H8"))[way]()  # two methane


def test_a_batch_names_the_one_that_is_open():
    potential = trained_on("CH4", "H2O").eval()
    with pytest.warns(UserWarning, match="the energy of CO: it"):
        potential(chains("CH4", "CO", "H6CO").batch([0, 1, 2]))


def test_a_set_says_how_many_structures_have_unknown_elements():
    potential = trained_on("CH4", "H2O")
    with pytest.raises(InputError, match=r"chains: 2 of 3 structures, the first is 1, have N"):
        evaluate(potential, chains("CH4", "NH3", "N2"))


def test_training_without_energies_determines_none():
    structures = [chain("CH4"), chain("H2O")]
    for data in structures:
        del data.energy
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, cutoff=3.0)
    potential = new_potential(model, StructureDataset.from_list(structures)).eval()
    with pytest.warns(UserWarning, match="training on no energy does not determine"):
        potential(chain("CH4"))


def test_references_that_are_fitted_again_cover_more():
    potential = trained_on("CH4", "H2O")
    refit_references(potential, chains("NH3"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        potential.eval()(chain("NH3"))
    assert potential.trained_on.elements == ["H", "C", "N", "O"]


def test_a_potential_without_training_checks_nothing():
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, cutoff=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        sg.Potential(model).eval()(sg.from_ase(molecule("HCN")))


def test_known_structures_of_a_set():
    dataset = Demo("molecules")
    has_nitrogen = torch.tensor([bool((data.z == 7).any()) for data in dataset[:60]])
    coverage = Coverage.of(dataset[:60][~has_nitrogen])
    assert torch.equal(coverage.known(dataset[:60]), ~has_nitrogen)


def test_sets_keep_what_a_training_covers():
    coverage = Coverage.of(chains("CH4", "H2O"))
    with pytest.warns(UserWarning, match="1 of 2 structures are left out of validation or"):
        kept = coverage.keep_known(chains("CO", "NH3"))
    assert len(kept) == 1
    assert len(coverage.keep_known(chains("CO")[:0])) == 0


@pytest.mark.parametrize("number", [4e8, 400_000_000, -4, 0, True, 1.0, "2", None, 10**30])
def test_counts_of_a_file_are_numbers_of_atoms(number):
    """A model file may say anything; a formula of 4e8 atoms took minutes and gigabytes."""
    with pytest.raises(InputError, match="trained_on does not list"):
        Coverage.from_json(header({"H": number}) | {"elements": {"H": 1}})


def test_large_structures_are_named_at_once():
    content = header({"H": 10**6, "C": 3})
    coverage = Coverage.from_json(content)
    with bounded(5), pytest.warns(DataNote, match=r"C3H1000000 does not determine .* of CH4:"):
        coverage.check_dataset(chains("CH4"))
    assert Coverage.from_json(coverage.as_json()).as_json() == coverage.as_json()


@pytest.mark.parametrize("way", WAYS)
def test_unseen_elements_can_be_allowed(way, tmp_path):
    trained_on("H2O", "CH4").save(tmp_path / "model.safetensors")
    potential = sg.load(tmp_path / "model.safetensors", allow_unseen=True)
    with pytest.warns(DataNote, match="its reference is missing, its energies arbitrary"):
        ways(potential, chain("NH3"))[way]()


def test_ranges_of_labels_and_counts_of_elements():
    about = trained_on("CH4", "H2O", "H2O").trained_on.as_json()
    assert about["elements"] == {"H": 8, "C": 1, "O": 2}
    assert about["labels"] == {"energy": [0.0, 2.0]}


def test_a_model_without_references_looks_at_no_compositions():
    dataset = chains("CH4", "H2O")
    dataset.packed.r2 = torch.tensor([3.0, 4.0])
    model = sg.SchNet(channels=8, num_layers=1, cutoff=3.0, readout=sg.nn.SpatialExtentReadout)
    potential = new_potential(model, dataset, targets=[sg.targets.known_target("r2")]).eval()
    assert potential.trained_on.labels == {"r2": (3.0, 4.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        potential(chain("CO2"))


def test_distances_are_looked_at_beside_the_gradients_of_positions():
    potential = trained_on("CH4")
    potential.trained_on.look_at_distances(chains("CH4").with_edges(3.0), 3.0)
    data = chain("CH4")
    expected = potential.eval()(data).forces
    data.pos = data.pos.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(potential(data).energy.sum(), data.pos)
    torch.testing.assert_close(-gradient.to(expected.dtype), expected, rtol=0, atol=1e-4)


def squeezed(factor):
    data = chain("CH4")
    return data.update({"pos": factor * data.pos})


@pytest.mark.parametrize("way", [w for w in WAYS if w != "train"])
def test_atoms_closer_than_in_training_are_named_once(way):
    potential = trained_on("CH4")
    potential.trained_on.look_at_distances(chains("CH4").with_edges(3.0), 3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ways(potential, squeezed(0.97))[way]()
    call = ways(potential, squeezed(0.8))[way]
    with pytest.warns(DataNote, match=r"of 0.90 Å; in training the shortest is 1.1\d Å") as notes:
        call()
    assert len(notes) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        call()


def test_elements_that_training_has_only_apart():
    potential = trained_on("CO", "CH4").eval()
    potential.trained_on.look_at_distances(chains("CO", "CH4").with_edges(3.0), 3.0)
    with pytest.warns(DataNote, match="H–O of 1.13 Å; in training no such atoms are closer than 3"):
        potential(chain("CHO"))


def test_unseen_elements_of_validation_can_be_allowed():
    potential, val = trained_on("CH4"), chains("NH3")
    with pytest.raises(InputError, match=r"N \(z = 7\)"):
        check_potential_trains(potential, val, covered(potential, chains("CH4")))
    potential.trained_on.allow_unseen = True
    with pytest.warns(DataNote, match="its reference is missing"):
        check_potential_trains(potential, val, covered(potential, chains("CH4")))


def test_unseen_elements_on_the_command_line(tmp_path, capsys):
    trained_on("CH4").save(tmp_path / "model.safetensors")
    frame = Atoms("NH", [[0, 0, 0], [0, 0, 1.1]])
    frame.calc = SinglePointCalculator(frame, energy=-1.0)
    ase.io.write(tmp_path / "file.extxyz", frame)
    files = [str(tmp_path / name) for name in ("model.safetensors", "file.extxyz")]
    arguments = ["evaluate", *files, "--energy_unit", "eV"]
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "load the model with allow_unseen=True" in capsys.readouterr().err
    main([*arguments, "--allow_unseen"])
    assert "its reference is missing" in capsys.readouterr().err

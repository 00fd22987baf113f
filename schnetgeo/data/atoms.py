"""ASE atoms to structures and back, without loss."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from schnetgeo.data.atoms_fields import ARRAYS, RESULTS, add_arrays, add_results, add_scalars
from schnetgeo.data.further_labels import Label, label_readers
from schnetgeo.data.labels import Entries, Keys, check_keys, take_further_labels, take_labels
from schnetgeo.data.structure import GRAPH, Structure, labels_in, mask_name
from schnetgeo.data.validate import validate
from schnetgeo.errors import InputError
from schnetgeo.notes import note


class Reading(NamedTuple):
    """A structure that is not validated yet, and what of the atoms it does not have."""

    structure: Structure
    left_out: list[str]
    names: list[str]  # of all that the atoms carry
    from_virial: bool  # the stress is −virial / volume


def from_ase(
    atoms: Atoms,
    drop: tuple[str, ...] = (),
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    labels: Sequence[Label | str] = (),
) -> Structure:
    """One structure from ASE atoms, in eV and Å as everywhere in ASE.

    Kept are numbers, positions, cell, pbc; energy, forces, stress and partial charges of the
    attached calculator, or where it has none `info["energy"]`, `arrays["forces"]` and
    `info["stress"]` or `info["virial"]`; tags, momenta, masses, initial charges and magnetic
    moments; and scalars and strings of `atoms.info` (total charge and spin among them) by name.
    What else the atoms carry is left out, and a note (`schnetgeo.notes.DataNote`) says so.

    Args:
        atoms: molecule or crystal.
        drop: names of info entries, arrays, results, "constraints", or "results" for all of the
            calculator, to leave out without a note.
        energy_key: name of the energy among results, info and arrays, such as "REF_energy".
        forces_key: likewise; a minus before the name takes the negative, as in "-gradient".
        stress_key: likewise, of (1/V) ∂E/∂strain: nine numbers, or six as xx yy zz yz xz xy.
        virial_key: likewise, of the virial −V · stress, which becomes the stress.
        labels: further labels, such as "dipole" or Label("gap", "HOMO-LUMO", "Hartree"); without a
            key they have the names of ASE's results, and without a unit ASE's.

    Raises:
        InputError: for labels that would be lost, and for what makes the structure invalid.
    """
    keys = Keys(energy_key, forces_key, stress_key, virial_key, label_readers(labels))
    reading = read_atoms(atoms, drop, keys)
    check_keys(keys, reading.structure.keys(), reading.names)
    validate(reading.structure, where="atoms")
    if reading.left_out:
        note(f"atoms: left out {', '.join(reading.left_out)}")
    return reading.structure


def read_atoms(atoms: Atoms, drop: tuple[str, ...] = (), keys: Keys = Keys()) -> Reading:  # noqa: B008
    """What `from_ase` gives, before it is validated; a label that is missing is no error.

    Raises:
        InputError: for labels that would be lost, and for values of a wrong type or shape.
    """
    arrays = {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions", *drop)}
    info = {k: v for k, v in atoms.info.items() if k not in drop}
    results = {} if "results" in drop else _results(atoms)
    results = {k: v for k, v in results.items() if k not in drop and v is not None}
    entries = Entries(results, info, arrays)
    names = entries.names
    labels = take_labels(atoms, entries, keys)
    further = take_further_labels(entries, len(atoms), keys.further, labels.left_out)
    if atoms.constraints and "constraints" not in drop:
        raise InputError(
            f"the constraint {type(atoms.constraints[0]).__name__} cannot be kept; forces here are "
            "those without constraints: pass drop=('constraints',) to go on without it"
        )
    data, left_out = geometry(atoms), labels.left_out
    for name, value in (labels.values | further).items():
        data[name] = torch.from_numpy(value)
    add_results(data, entries.results, left_out)
    add_arrays(data, entries.arrays, left_out)
    add_scalars(data, entries.info, left_out)
    if atoms.get_celldisp().any() and "celldisp" not in drop:
        left_out.append("the cell displacement")
    return Reading(data, left_out, names, labels.from_virial)


def geometry(atoms: Atoms) -> Structure:
    """Numbers, positions, cell and pbc of ASE atoms, and nothing else of them."""
    return Structure(
        z=torch.from_numpy(atoms.numbers.astype(np.int64)),
        pos=torch.from_numpy(atoms.positions.copy()),
        cell=torch.from_numpy(atoms.cell.array.copy()).unsqueeze(0),
        pbc=torch.from_numpy(atoms.pbc.copy()).unsqueeze(0),
    )


def to_ase(data: Structure) -> Atoms:
    """ASE atoms from one structure; the inverse of `from_ase`. Edges are left out.

    Raises:
        InputError: for a batch of structures, and for attributes that ASE has no place for.
    """
    if data.get("batch") is not None:
        raise InputError("to_ase takes one structure, got a batch; call batch.to_data_list() first")
    array = {k: v.detach().cpu().numpy() for k, v in data.to_dict().items() if torch.is_tensor(v)}
    atoms = Atoms(
        numbers=array["z"],
        positions=array["pos"].astype(np.float64),
        cell=array["cell"][0] if "cell" in array else None,
        pbc=array["pbc"][0] if "pbc" in array else False,
    )
    masks = {mask_name(name): name for name in labels_in(array) if mask_name(name) in array}
    absent = {label for name, label in masks.items() if not array[name].all()}
    results = {}
    for name in data.keys():
        if name in ("z", "pos", "cell", "pbc", *GRAPH, *masks, *absent):
            continue
        value = array.get(name, data[name])
        if name == "stress":
            results[name] = full_3x3_to_voigt_6_stress(value[0])
        elif name in ("forces", "charges"):
            results[name] = value.astype(np.float64)
        elif name in ("energy", *RESULTS):
            results[name] = value.item()
        elif name == "dipole" and value.shape == (1, 3):
            results[name] = value[0].astype(np.float64)
        elif name in ARRAYS:
            atoms.set_array(name, value)
        elif isinstance(value, str):
            atoms.info[name] = value
        elif isinstance(value, np.ndarray) and value.shape == (1,):
            atoms.info[name] = value.item()
        elif name in array and value.shape[:1] == (1,):
            atoms.info[name] = value[0]
        elif name in array and value.shape[:1] == (len(atoms),):
            atoms.set_array(name, value)
        else:
            what = f"of shape {value.shape}" if name in array else f"= {value!r:.50}"
            raise InputError(f"to_ase has no place for {name!r} {what}; delete it first")
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _results(atoms: Atoms) -> dict:
    """Results of the attached calculator; none of one that would compute them anew.

    Raises:
        InputError: for fixed results of atoms that have changed since.
    """
    calculator = atoms.calc
    if not isinstance(calculator, BaseCalculator):
        return {}
    changes = calculator.check_state(atoms)
    # nan differs from itself, and is named where the structure is validated
    if not changes or not np.isfinite(atoms.positions).all():
        return calculator.results
    if isinstance(calculator, SinglePointCalculator) and calculator.results:
        raise InputError(
            f"the results of the calculator ({', '.join(sorted(calculator.results))}) belong to "
            f"other {', '.join(changes)} than the atoms have now; attach them anew if they still "
            "hold (atoms.calc = SinglePointCalculator(atoms, **atoms.calc.results)), or pass "
            "drop=('results',) to go on without them"
        )
    return {}

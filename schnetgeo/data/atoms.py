"""ASE atoms to structures and back, without loss."""

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from schnetgeo.data.structure import GRAPH, PER_ATOM, Structure
from schnetgeo.data.validate import validate
from schnetgeo.errors import InputError

_ARRAYS = PER_ATOM[4:]  # those that ASE keeps under the same name
_RESULTS = ("energy", "free_energy", "magmom")
_FIELDS = {*PER_ATOM, *GRAPH, *_RESULTS, "cell", "pbc", "stress", "ptr"}
_RESERVED = (_FIELDS | set(dir(Structure))) - {"x", "y", "time"}


def from_ase(atoms: Atoms, drop: tuple[str, ...] = ()) -> Structure:
    """One structure from ASE atoms, all that they carry included.

    Kept are numbers, positions, cell, pbc; energy, forces, stress and partial charges of the
    attached calculator where they belong to these positions; tags, momenta, masses, initial
    charges and magnetic moments; and scalars and strings of `atoms.info` (total charge and spin
    among them) by name.

    Args:
        atoms: molecule or crystal, Å and eV as everywhere in ASE.
        drop: names of info entries, arrays, results or "constraints" to leave out.

    Raises:
        InputError: names what cannot be kept, or what makes the structure invalid.
    """
    data = geometry(atoms)
    for name in sorted(atoms.arrays.keys() - {"numbers", "positions", *drop}):
        if name not in _ARRAYS:
            raise _cannot_keep(f"the per-atom array {name!r}", name)
        data[name] = torch.from_numpy(atoms.arrays[name].copy())
    for name in sorted(atoms.info.keys() - set(drop), key=str):
        data[name] = _scalar(name, atoms.info[name])
    if atoms.constraints and "constraints" not in drop:
        raise _cannot_keep(f"the constraint {type(atoms.constraints[0]).__name__}", "constraints")
    if atoms.get_celldisp().any() and "celldisp" not in drop:
        raise _cannot_keep("the cell displacement", "celldisp")
    for name, value in sorted(_results(atoms).items()):
        if name not in drop and value is not None:
            data[name] = _label(name, value)
    validate(data, where="atoms")
    return data


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
    results = {}
    for name in data.keys():
        if name in ("z", "pos", "cell", "pbc", *GRAPH):
            continue
        value = array.get(name, data[name])
        if name == "stress":
            results[name] = full_3x3_to_voigt_6_stress(value[0])
        elif name in ("forces", "charges"):
            results[name] = value.astype(np.float64)
        elif name in _RESULTS:
            results[name] = value.item()
        elif name in _ARRAYS:
            atoms.set_array(name, value)
        elif isinstance(value, str):
            atoms.info[name] = value
        elif isinstance(value, np.ndarray) and value.shape == (1,):
            atoms.info[name] = value.item()
        else:
            what = f"of shape {value.shape}" if name in array else f"= {value!r:.50}"
            raise InputError(f"to_ase has no place for {name!r} {what}; delete it first")
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _results(atoms: Atoms) -> dict:
    """Results of the attached calculator, unless the atoms have changed since."""
    calculator = atoms.calc
    if not isinstance(calculator, BaseCalculator) or calculator.check_state(atoms):
        return {}
    return calculator.results


def _label(name: str, value) -> torch.Tensor:
    if name in ("forces", "charges"):
        return torch.from_numpy(np.array(value, dtype=np.float64))
    if name == "stress":
        stress = np.asarray(value, dtype=np.float64)
        full = stress if stress.shape == (3, 3) else voigt_6_to_full_3x3_stress(stress)
        return torch.from_numpy(full.copy()).unsqueeze(0)
    if name in _RESULTS and np.size(value) == 1:
        return torch.from_numpy(np.array(value, dtype=np.float64).reshape(1))
    raise _cannot_keep(f"the calculator's result {name!r}", name)


def _scalar(name: str, value) -> torch.Tensor | str:
    if not isinstance(name, str) or not name.isidentifier() or name in _RESERVED:
        raise InputError(
            f"atoms.info[{name!r}] cannot become an attribute: the name is "
            f"{'taken' if name in _RESERVED else 'no identifier'}; rename it, attach energies and "
            f"forces as a SinglePointCalculator, or pass drop=({name!r},)"
        )
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    dtype = {bool: torch.bool, int: torch.int64, float: torch.float64}.get(type(value))
    if dtype is None or (dtype == torch.int64 and abs(value) >= 2**63):
        raise _cannot_keep(f"atoms.info[{name!r}], neither a string nor a number of 64 bits,", name)
    return torch.tensor([value], dtype=dtype)


def _cannot_keep(what: str, name: str) -> InputError:
    return InputError(f"{what} cannot be kept; pass drop=({name!r},) to go on without it")

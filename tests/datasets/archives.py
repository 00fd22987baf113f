"""Archives in every layout, written from frames of real ethanol."""

from importlib.resources import files

import numpy as np

FRAMES = 6
KCAL_MOL = 0.0433641042418  # eV
ENERGY, FORCE = -309.8122591496416, -2.3809838  # of frame 0, of its atom 0 along x; eV, eV/Å
STATED = {"e_unit": "eV", "f_unit": "eV/Angstrom", "r_unit": "Angstrom"}


def ethanol() -> dict[str, np.ndarray]:
    """z, R in Å, E in eV, F in eV/Å of the first frames of Demo."""
    with np.load(str(files("schnetgeo") / "datasets" / "demo" / "ethanol.npz")) as file:
        return {"z": file["z"], **{k: file[k][:FRAMES].astype(float) for k in "REF"}}


def fixed(**changes) -> dict:
    """Fixed composition with stated units."""
    return {**ethanol(), **STATED, **changes}


def shuffled_atoms() -> dict:
    """Fixed composition, atoms in another order in each frame."""
    arrays, frame = fixed(z=None), np.arange(FRAMES)[:, None]
    order = np.random.default_rng(0).permuted(np.tile(np.arange(9), (FRAMES, 1)), axis=1)
    order[0] = np.arange(9)
    rows = {"R": arrays["R"][frame, order], "F": arrays["F"][frame, order]}
    return {**arrays, **rows, "Z": ethanol()["z"][order]}


def ragged(**changes) -> dict:
    """Whole ethanol, then ever fewer of its atoms."""
    arrays = ethanol()
    sizes = [9 - k for k in range(FRAMES)]
    parts = {
        name: np.concatenate([arrays[name][k][:n] for k, n in enumerate(sizes)]) for name in "RF"
    }
    z = np.concatenate([arrays["z"][:n] for n in sizes])
    out = {"N": np.array(sizes, np.int16), "Z": z, **parts, "E": arrays["E"], **STATED}
    return {**out, **changes}


def md17(**changes) -> dict:
    """As MD17 is published: kcal/mol, which the file does not say."""
    arrays = ethanol()
    energy = arrays["E"].reshape(-1, 1) / KCAL_MOL
    out = {"z": arrays["z"], "R": arrays["R"], "E": energy, "F": arrays["F"] / KCAL_MOL}
    return {**out, "name": "ethanol", **changes}


def revised_md17(**changes) -> dict:
    """As revised MD17 is published."""
    arrays = md17()
    out = {
        "nuclear_charges": arrays["z"],
        "coords": arrays["R"],
        "energies": arrays["E"].reshape(-1),
        "forces": arrays["F"],
        "old_indices": np.arange(FRAMES),
        "old_energies": arrays["E"].reshape(-1) + 1,
        "old_forces": arrays["F"] + 1,
    }
    return {**out, **changes}


def write(path, arrays: dict):
    """Save those arrays that are not `None`."""
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
    return path

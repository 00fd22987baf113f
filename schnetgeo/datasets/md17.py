"""MD17: ab initio dynamics of ten small molecules at 500 K."""

import os
from pathlib import Path

from schnetgeo.data.packed import PackedDataset
from schnetgeo.datasets.npz import read_npz
from schnetgeo.errors import InputError

URL = "http://www.quantum-machine.org/gdml/data/npz/"
FILES = {
    "aspirin": "md17_aspirin.npz",
    "azobenzene": "azobenzene_dft.npz",
    "benzene": "md17_benzene2017.npz",
    "benzene2018": "benzene2018_dft.npz",
    "ethanol": "md17_ethanol.npz",
    "malonaldehyde": "md17_malonaldehyde.npz",
    "naphthalene": "md17_naphthalene.npz",
    "paracetamol": "paracetamol_dft.npz",
    "salicylic_acid": "md17_salicylic.npz",
    "toluene": "md17_toluene.npz",
    "uracil": "md17_uracil.npz",
}
CITATION = "Chmiela et al., Sci. Adv. 3, e1603015 (2017), doi:10.1126/sciadv.1603015"


class MD17(PackedDataset):
    """Energies (eV) and forces (eV/Å) along a trajectory of one molecule, PBE+vdW-TS.

    The published files are in kcal/mol and kcal/mol/Å; frames are 0.5 fs apart, so neighbors
    resemble each other and a random split tests interpolation.

    Args:
        root: folder that keeps the downloaded file.
        molecule: one of `FILES`; "benzene" is the set of 2017 that the SchNet paper used.
        file: a file in the published format to read instead of downloading.
        url: where the files are.

    Raises:
        InputError: for an unknown molecule, or a file that cannot be had or read.

    Source: Chmiela et al., Sci. Adv. 3, e1603015 (2017).
    """

    def __init__(
        self,
        root: str | os.PathLike = "data",
        molecule: str = "ethanol",
        file: str | os.PathLike | None = None,
        url: str = URL,
    ):
        if molecule not in FILES:
            raise InputError(f"unknown molecule {molecule!r}; known: {', '.join(FILES)}")
        path = file or _download(url + FILES[molecule], Path(root) / "MD17")
        frames = read_npz(path)
        missing = [name for name in ("energy", "forces") if not frames.has(name)]
        if missing:
            raise InputError(f"{path}: has no {missing[0]}; it is not a file of MD17")
        super().__init__(frames.packed, frames.num_atoms, frames.where)


def _download(url: str, folder: Path) -> str:
    """The local copy of a file, fetched once; a broken download leaves nothing behind."""
    import pooch

    name = url.rpartition("/")[2]
    try:
        return pooch.retrieve(url, known_hash=None, fname=name, path=folder, progressbar=True)
    except Exception as error:  # whatever the network can do
        raise InputError(
            f"{url}: cannot be downloaded ({error}); fetch it elsewhere, put it into {folder} or "
            "pass file="
        ) from None

"""MD22: ab initio dynamics of molecules of 42 to 370 atoms."""

import os
from pathlib import Path
from typing import NamedTuple

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import Convention
from schnetgeo.datasets.md17 import check_composition, read_labeled
from schnetgeo.datasets.npz import KCAL_MOL
from schnetgeo.datasets.published import cached
from schnetgeo.datasets.published_dataset import PublishedDataset, ShellOption
from schnetgeo.datasets.source import File, Source, fetch
from schnetgeo.errors import InputError

CONVENTION = Convention("MD22", KCAL_MOL)
_HOST = "www.quantum-machine.org/gdml/"


class MoleculeEntry(NamedTuple):
    """What is known of one molecule."""

    kind: str
    composition: dict[int, int] | None = None  # where its name says it
    other_file: str | None = None  # its name in the older folder of its authors


MOLECULES = {
    "Ac-Ala3-NHMe": MoleculeEntry("peptide", {1: 22, 6: 12, 7: 4, 8: 4}),
    "DHA": MoleculeEntry("fatty acid", {1: 32, 6: 22, 8: 2}),
    "stachyose": MoleculeEntry("carbohydrate", {1: 42, 6: 24, 8: 21}),
    "AT-AT": MoleculeEntry("base pairs of DNA"),
    "AT-AT-CG-CG": MoleculeEntry("base pairs of DNA"),
    "buckyball-catcher": MoleculeEntry("supramolecule"),
    "double-walled_nanotube": MoleculeEntry("supramolecule", other_file="md22_dw_nanotube.npz"),
}


def _file(molecule: str, entry: MoleculeEntry) -> File:
    name = f"md22_{molecule}.npz"
    folder, older = f"{_HOST}repo/datasets/{name}", f"{_HOST}data/npz/{entry.other_file or name}"
    addresses = (f"https://{older}", f"http://{folder}", f"http://{older}")
    return File(name, f"https://{folder}", addresses)


SOURCE = Source(
    name="MD22",
    files={molecule: _file(molecule, entry) for molecule, entry in MOLECULES.items()},
    license="none stated; a public benchmark, to be cited",
    citation="Chmiela et al., Sci. Adv. 9, eadf0873 (2023)",
    doi="10.1126/sciadv.adf0873",
    url="http://www.quantum-machine.org/gdml/",
)


class MD22(PublishedDataset):
    """Energies (eV) and forces (eV/Å) along a trajectory of one molecule, PBE+MBD.

    The published files are in kcal/mol and kcal/mol/Å. Frames are 1 fs apart at 400 to 500 K, so
    neighbors resemble each other and a random split tests interpolation.

    Args:
        root: folder that keeps the downloaded file, and a store of its frames that opens at once.
        molecule: one of `MOLECULES`.
        file: an .npz in the published format to read instead of downloading; units are those of
            MD22 unless it states others.

    Raises:
        InputError: for an unknown molecule, or a file that cannot be had or read, or is of another
            molecule.

    Source: Chmiela et al., Sci. Adv. 9, eadf0873 (2023).
    """

    source = SOURCE
    options = (ShellOption("molecule", "molecule"),)

    def __init__(
        self,
        root: str | os.PathLike = "data",
        molecule: str = "Ac-Ala3-NHMe",
        file: str | os.PathLike | None = None,
    ):
        if molecule not in MOLECULES:
            raise InputError(f"unknown molecule {molecule!r}; known: {', '.join(MOLECULES)}")
        folder = Path(root) / "MD22"
        if file is None:
            stored = cached(
                folder, molecule, lambda: [_read(fetch(SOURCE.files[molecule], folder), molecule)]
            )
        else:
            stored = _read(Path(file), molecule)
        super().__init__(stored, f"MD22 {molecule}")

    @classmethod
    def published(cls) -> list[dict]:
        return [{"molecule": name, "kind": entry.kind} for name, entry in MOLECULES.items()]


def _read(path: Path, molecule: str) -> StructureDataset:
    frames = read_labeled(path, CONVENTION)
    composition = MOLECULES[molecule].composition
    if composition is not None:
        check_composition(frames, molecule, composition)
    return frames

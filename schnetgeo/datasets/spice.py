"""SPICE: conformations of drug-like molecules, peptides, dimers and ions, also charged."""

import os
from pathlib import Path

from schnetgeo.datasets.hdf5_sets import SPICE_LABELS
from schnetgeo.datasets.published_dataset import PublishedDataset
from schnetgeo.datasets.published_hdf5 import stored_hdf5
from schnetgeo.datasets.source import File, Source

SOURCE = Source(
    name="SPICE",
    files={
        "2.0.1": File(
            "SPICE-2.0.1.hdf5",
            "https://zenodo.org/records/10975225/files/SPICE-2.0.1.hdf5",
            ("https://zenodo.org/api/records/10975225/files/SPICE-2.0.1.hdf5/content",),
            size=37_479_271_148,
            checksum="md5:bfba2224b6540e1390a579569b475510",
        )
    },
    license="CC0",
    citation="Eastman et al., Sci. Data 10, 11 (2023); Eastman et al., J. Chem. Theory Comput. 20, "
    "8583 (2024)",
    doi="10.5281/zenodo.10975225",
    url="https://github.com/openmm/spice-dataset",
)


class SPICE(PublishedDataset):
    """Energies (eV) and forces (eV/Å) of 2,008,628 conformations, ωB97M-D3BJ/def2-TZVPPD.

    Version 2.0.1, of 113,999 molecules and clusters of 2 to 110 atoms and 17 elements. The file is
    in Hartree and Bohr, and has gradients, not forces. Each structure keeps `smiles` and `subset`;
    multipoles, bond orders and charges are left out. Conformations of one molecule resemble each
    other: split by `group:smiles`.

    Args:
        root: folder that keeps the downloaded file (37 GB), and a store that opens at once.
        file: a file in the published format, such as another version, to read instead.

    Raises:
        InputError: for a file that cannot be had or read, or is of another data set.

    Source: Eastman et al., Sci. Data 10, 11 (2023).
    """

    source = SOURCE

    def __init__(self, root: str | os.PathLike = "data", file: str | os.PathLike | None = None):
        folder = Path(root) / "SPICE"
        super().__init__(stored_hdf5(SPICE_LABELS, SOURCE.files["2.0.1"], folder, file), "SPICE")

"""ANI-1x: conformations of molecules of H, C, N, O that active learning chose."""

import os
from pathlib import Path

from schnetgeo.datasets.hdf5_sets import ANI1X_LABELS
from schnetgeo.datasets.published_dataset import PublishedDataset
from schnetgeo.datasets.published_hdf5 import stored_hdf5
from schnetgeo.datasets.source import File, Source

# energies of structures at other levels of theory, in Hartree, and where these were computed
OTHER_LEVELS = (
    "ccsd(t)_cbs.energy", "hf_dz.energy", "hf_tz.energy", "hf_qz.energy", "mp2_dz.corr_energy",
    "mp2_tz.corr_energy", "mp2_qz.corr_energy", "npno_ccsd(t)_dz.corr_energy",
    "npno_ccsd(t)_tz.corr_energy", "tpno_ccsd(t)_dz.corr_energy", "wb97x_tz.energy", "path",
)  # fmt: skip
SOURCE = Source(
    name="ANI1x",
    files={
        "release": File(
            "ani1x-release.h5",
            "https://ndownloader.figshare.com/files/18112775",
            (
                "https://springernature.figshare.com/ndownloader/files/18112775",
                "https://figshare.com/ndownloader/files/18112775",
            ),
            checksum="md5:98090dd6679106da861f52bed825ffb7",
        )
    },
    license="see its page",
    citation="Smith et al., J. Chem. Phys. 148, 241733 (2018); Smith et al., Sci. Data 7, 134 "
    "(2020)",
    doi="10.6084/m9.figshare.10047041",
    url="https://github.com/aiqm/ANI1x_datasets",
)


class ANI1x(PublishedDataset):
    """Energies (eV) and forces (eV/Å) of about 5 million conformations, ωB97X/6-31G(d).

    The file is in Hartree and Hartree/Å. A label that is nan in it is one that the structure
    lacks; results at other levels of theory are left out, and so are charges and multipoles.

    Args:
        root: folder that keeps the downloaded file (5.6 GB), and a store that opens at once.
        file: a file in the published format to read instead of downloading.

    Raises:
        InputError: for a file that cannot be had or read, or is of another data set.

    Source: Smith et al., J. Chem. Phys. 148, 241733 (2018); Sci. Data 7, 134 (2020).
    """

    source = SOURCE

    def __init__(self, root: str | os.PathLike = "data", file: str | os.PathLike | None = None):
        folder = Path(root) / "ANI1x"
        stored = stored_hdf5(ANI1X_LABELS, SOURCE.files["release"], folder, file, OTHER_LEVELS)
        super().__init__(stored, "ANI-1x")

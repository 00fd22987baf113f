"""Small data that ship with the package, made by this project with GFN2-xTB."""

from importlib.resources import as_file, files

from schnetgeo.datasets.npz import read_npz
from schnetgeo.datasets.published_dataset import PublishedDataset, ShellOption
from schnetgeo.errors import InputError

PARTS = ("ethanol", "molecules")


class Demo(PublishedDataset):
    """GFN2-xTB energies (eV) and forces (eV/Å) to try things out with, without a network.

    Args:
        part: "ethanol", a trajectory at 500 K, or "molecules", small molecules of different
            sizes with elements H, C, N, O.

    Raises:
        InputError: for an unknown part.

    Source: made by benchmarks/make_demo.py; method: Bannwarth et al., J. Chem. Theory Comput. 15,
    1652 (2019).
    """

    options = (ShellOption("molecule", "part", "ethanol or molecules"),)

    def __init__(self, part: str = "ethanol"):
        if part not in PARTS:
            raise InputError(f"unknown part {part!r} of Demo; known: {', '.join(PARTS)}")
        with as_file(files("schnetgeo") / "datasets" / "demo" / f"{part}.npz") as path:
            frames = read_npz(path, drop=("names",))
        super().__init__(frames, f"Demo {part}")

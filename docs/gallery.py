"""What sphinx-gallery does before each page: one style of figures, an empty folder for files."""

import shutil
import warnings
from pathlib import Path

from matplotlib import rcParams
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

PAGES = Path(__file__).parent / "pages"
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.figsize": (6.4, 3.6),
    "font.size": 11,
    "legend.frameon": False,
}


def reset(gallery_conf: dict, page: str, when: str) -> None:
    """Called by sphinx-gallery before and after a page, with its name."""
    rcParams.update(STYLE)
    warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"
    remove_files()


def remove_files() -> None:
    """Remove what pages wrote: sphinx-gallery takes a folder among them for further pages."""
    for name in ("runs", "__pycache__"):
        shutil.rmtree(PAGES / name, ignore_errors=True)


def last_figure(block, block_vars: dict, gallery_conf: dict) -> str:
    """The figure that a block ends with, such as `sg.show(atoms)`, which pyplot does not know."""
    figure = block_vars["example_globals"].get("___")
    if not isinstance(figure, Figure) or figure.get_label() == "on the page":
        return ""
    figure.set_label("on the page")
    path = next(block_vars["image_path_iterator"])
    figure.set_layout_engine("none")
    figure.savefig(path, dpi=80, bbox_inches="tight")
    return figure_rst([path], gallery_conf["src_dir"])

"""Sphinx: pages that are programs, pages in Markdown, and the reference from docstrings."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(DOCS))

import gallery  # noqa: E402
import reference  # noqa: E402

from schnetgeo import __version__  # noqa: E402

gallery.remove_files()
reference.write(DOCS / "api")
reference.copy_texts(DOCS / "project")

project = "schnetgeo"
version = release = __version__
copyright = "the authors of schnetgeo, MIT license"  # noqa: A001
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # formulas without a network
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "myst_parser",
]
exclude_patterns = ["_build", "pages", "**/sg_execution_times.rst"]
default_role = "literal"  # docstrings write `name` as Markdown does

html_theme = "furo"
html_title = "schnetgeo"
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say what arguments are, with shapes and units
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True

sphinx_gallery_conf = {
    "examples_dirs": "pages",
    "gallery_dirs": "guide",
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "image_scrapers": ("matplotlib", "gallery.last_figure"),
    "image_srcset": ["2x"],
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": ("matplotlib", "gallery.reset"),
    "reset_modules_order": "both",
    "remove_config_comments": True,
    "write_computation_times": False,
    "min_reported_time": 1e9,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "copyfile_regex": r"index\.rst",
    "capture_repr": ("_repr_html_",),
}


def setup(app):
    """Read docstrings before napoleon does, and links before the parser."""
    app.connect("source-read", reference.link_texts)
    app.connect("autodoc-process-docstring", reference.as_restructured_text, priority=400)

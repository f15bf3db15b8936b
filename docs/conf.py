"""How Sphinx builds these pages: `sphinx-build -W docs OUT`; it needs no network."""

import sys
from pathlib import Path

from ckd.contract.version import ckd_version

sys.path.insert(0, str(Path(__file__).parent))

project = "ckd"
release = version = ckd_version()
project_copyright = "the authors of ckd; Apache-2.0"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "api_reference",
    "outside_links",
]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_title = f"ckd {version}"
html_show_sphinx = False
html_copy_source = False

myst_heading_anchors = 3
default_role = "code"  # docstrings mark code with single backticks
napoleon_numpy_docstring = False
autodoc_typehints = "description"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
suppress_warnings = ["ref.python"]  # a type that several packages offer is described in one

"""Names that were retired do not come back."""

import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "schnetgeo"
FOLDERS = ("nn", "engine", "potential", "ops", "testing")
FILES = sorted(path for folder in FOLDERS for path in (PACKAGE / folder).rglob("*.py"))

# what the field calls otherwise: has_slopes, an envelope, shares, freezing, forth and back, …
RETIRED = {
    "Built", "Captured", "Contestant", "CosineEnvelope", "FrozenPotential", "Graphs", "Molecule",
    "NoEnvelope", "PairForces", "PlacedFilters", "Plan", "Room", "amiss", "bends", "contenders",
    "contestant", "contestants", "drawn", "elsewhere", "energy_and_slope", "envelope",
    "fit_composition", "forth", "freeze", "fused", "gathered", "has_slopes", "held",
    "is_unobserved", "lost", "made", "now", "on_edges", "pair_virial", "remarks", "room_size",
    "said", "shares", "slope_arrays", "take_shifted", "takes_basis", "tangent_arrays",
    "with_slope",
}  # fmt: skip
# participles and pronouns, which say nothing of what was found
PARTICIPLES = {"built", "found", "given", "kept", "moved", "own", "whole"}


def names(path: Path) -> set[str]:
    """All identifiers of a file, without its texts and comments."""
    with tokenize.open(path) as file:
        tokens = tokenize.generate_tokens(file.readline)
        return {token.string for token in tokens if token.type == tokenize.NAME}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_retired_words_are_not_back(path):
    assert not names(path) & (RETIRED | PARTICIPLES)


def test_words_in_texts_are_free(tmp_path):
    """A sentence may say that something was found; a name may not."""
    (tmp_path / "a.py").write_text('"""found"""\nx = "kept"  # own\nforth_x = 1\nfused = 2\n')
    assert names(tmp_path / "a.py") == {"x", "forth_x", "fused"}

"""A field's name can neither leave a store nor hide a part of PyG's Data."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from schnetgeo.data.column_writer import create_columns
from schnetgeo.data.names import check_name
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.errors import InputError

BAD = ("../x", "/etc/x", "a/b", "a\\b", "a.b", "", ".", "..", "a\x1b[2J", "a b", "_x", "1a", "a\0")
TAKEN = ("self", "keys", "to_dict", "num_nodes", "stores", "batch")


@pytest.mark.slow
@given(st.text())
@example("n" * 101)
def test_only_names_that_are_plain(name):
    if name.isidentifier() and name[0] != "_" and len(name) <= 100 and not hasattr(Structure, name):
        check_name(name, "file")
    elif name not in ("pos", "x", "y", "time"):
        with pytest.raises(InputError) as error:
            check_name(name, "file")
        assert len(str(error.value)) < 300
        assert str(error.value).isprintable()


def test_no_text():
    for name in (None, 3, ("a",)):
        with pytest.raises(InputError, match="cannot be the name of a field"):
            check_name(name, "file")


@pytest.mark.parametrize("name", [*BAD, *TAKEN])
def test_no_data_set_has_them(name):
    """All readers end here."""
    fields = {"z": torch.ones(2, dtype=torch.long), "pos": torch.eye(3)[:2].double()}
    packed = Structure(**fields)
    packed[name] = torch.zeros(2)
    with pytest.raises(InputError, match="mine: .*(cannot be|a field cannot be called)"):
        StructureDataset(packed, torch.tensor([1, 1]), name="mine")


@pytest.mark.parametrize("name", BAD)
def test_no_store_has_them(tmp_path, name):
    with (
        pytest.raises(InputError, match="cannot be the name"),
        create_columns(tmp_path / "a", {}) as a,
    ):
        a.append(name, np.zeros(3))
    assert not list(tmp_path.iterdir())

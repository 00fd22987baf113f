"""Extended and plain XYZ: no frame, cell, column or text is lost."""

import contextlib
import gzip

import ase.io
import numpy as np
import pytest
import torch
from ase.io.extxyz import key_val_str_to_dict
from hypothesis import given, settings
from hypothesis import strategies as st

from schnetgeo.data import Structure
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import AtomsFile
from schnetgeo.datasets.extxyz_comment import parse_comment
from schnetgeo.datasets.write import info_text, write_dataset
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from tests.fuzz import bounded

H2 = "2\n{}\nH 0 0 0\nH 0 0 0.7{}\n"


def read(tmp_path, text, name="own.xyz", **options):
    (tmp_path / name).write_text(text)
    return AtomsFile(tmp_path / name, **options)


def frames(*comments):
    return [H2.format(comment, k) for k, comment in enumerate(comments)]


@settings(max_examples=25, deadline=None)
@given(gaps=st.lists(st.sampled_from(["", "\n", "  \n", "\t\n\n"]), min_size=5, max_size=5))
def test_empty_lines_between_frames(tmp_path_factory, gaps):
    text = "".join(a + b for a, b in zip(gaps, [*frames(*"abcd"), ""], strict=True))
    dataset = read(tmp_path_factory.mktemp("xyz"), text)
    assert dataset.get_property("comment") == ["a", "b", "c", "d"]
    assert dataset.get_property("pos")[1::2, 2].tolist() == [0.7, 0.71, 0.72, 0.73]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\n\nH 0 0 0\n", r"structure 0 \(line 1\): the file ends after 1 of 2 atoms"),
        (
            "1\n\nH 0 0 0\nH 0 0 1\n",
            r"structure 1 \(line 4\): expected the number of atoms .*'H 0 0",
        ),
        ("1\n\nH 0 0 0\n-1\n\n", r"structure 1 \(line 4\): expected the number of atoms"),
        ("1\n\nH 0 0 0\n0\n\n", r"structure 1 \(line 4\): expected the number of atoms"),
        ("9" * 30 + "\n\nH 0 0 0\n", "expected the number of atoms"),
        ("999999999\n\nH 0 0 0\n", "expected the number of atoms"),
        ("1\n\nH 0 0 x\n", "atom 0 has 'x' as positions, which must be a number"),
        ("1\n\nH 0 0\n", "atom 0 has 3 columns where there must be 4"),
        ("1\nProperties=species:S:1:pos:R:3\nH 0 0 0 1\n", "atom 0 has 5 columns where there must"),
        ("1\nProperties=species:S:1\nH\n", "must have species:S:1 .* and pos:R:3"),
        ("1\nProperties=species:S:x:pos:R:3\nH 0 0 0\n", "must name each column once"),
        ('1\nLattice="1 0 0"\nH 0 0 0\n', "must hold nine numbers"),
        ('1\npbc="T maybe F"\nH 0 0 0\n', "must be three of T and F"),
        ("1\n\nD 0 0 0\n", "atom 0 has the symbol 'D', which is no element; isotopes"),
        ("1\n\nNa+ 0 0 0\n", r"atom 0 has the symbol 'Na\+'"),
        ("1\n# CELL(abcABC): 9 9 9 90 90 90\nH 0 0 0\n", "seems to hold a cell"),
        ("1\ncell 9.0 9.0 9.0\nH 0 0 0\n", "seems to hold a cell"),
        ('1\nstress="a b c"\nH 0 0 0\n', "structure 0: stress 'a b c' is no number"),
        ("1\n" + "x" * 300_000 + "\nH 0 0 0\n", "its comment has 300,000 characters"),
        ('1\nk="_JSON ' + "[" * 5000 + '" energy=-\nH 0 0 0\n', "energy '-' is no number"),
        ("1\nenergy=T\nH 0 0 0\n", "structure 0: energy True is no number"),
        ("1\nenergy=None\nH 0 0 0\n", "structure 0: energy 'None' is no number"),
        ("1\nenergy=********\nH 0 0 0\n", "structure 0: energy '.*' is no number"),
    ],
)
def test_names_what_is_wrong(tmp_path, text, message):
    with pytest.raises(InputError, match=f"own.xyz, .*{message}"):
        read(tmp_path, text)


@pytest.mark.parametrize("case", [str.lower, str.upper, str.capitalize])
def test_keys_in_any_case(tmp_path, case):
    keys = [case(word) for word in ("lattice", "properties", "pbc")]
    text = '1\n{}="3 0 0 0 4 0 0 0 5" {}=species:S:1:pos:R:3:mark:I:1 {}="T F T"\nAl 0 0 0 7\n'
    with pytest.warns(DataNote, match="left out the per-atom array 'mark'"):
        data = read(tmp_path, text.format(*keys))[0]
    assert data.cell.diagonal(dim1=1, dim2=2).tolist() == [[3, 4, 5]]
    assert data.pbc.tolist() == [[True, False, True]]


def test_free_words_are_a_comment(tmp_path):
    comments = [
        "water in a box",
        "cell 7",
        "/home/me/run 1",
        " energy: -0.98 (abc)",
        "",
        "say 'no'",
    ]
    dataset = read(tmp_path, "".join(frames(*comments)))
    assert dataset.get_property("comment") == [comment.strip() for comment in comments]
    assert set(dataset.packed.keys()) == {"z", "pos", "cell", "pbc", "comment", "ptr"}


def test_an_energy_alone_in_the_comment(tmp_path):
    text = "".join(frames("-1.1654", "-1.1640"))
    dataset = read(tmp_path, text, energy_key="comment", energy_unit="Hartree")
    assert dataset.get_property("energy").tolist() == pytest.approx(
        [-31.7121495, -31.6740536], abs=1e-6
    )


def test_columns_without_a_name(tmp_path):
    text = "2\n-1.0\nH 0 0 0 0 0 1.5\nH 0 0 0.74 0 0 -1.5\n"
    with pytest.raises(InputError, match="array 'columns' .* forces_key='columns'"):
        read(tmp_path, text)
    data = read(tmp_path, text, forces_key="-columns")[0]
    assert data.forces.tolist() == [[0, 0, -1.5], [0, 0, 1.5]]
    with pytest.warns(DataNote, match="left out the per-atom array 'columns'"):
        read(tmp_path, "2\n\nH 0 0 0 first atom\nH 0 0 0.74 second\n")


def test_symbols_in_any_case_and_numbers(tmp_path):
    assert read(tmp_path, "2\n\nCL 0 0 0\nna 0 0 2\n").get_property("z").tolist() == [17, 11]
    assert read(tmp_path, "2\n\n8 0 0 0\n1 0 0 1\n").get_property("z").tolist() == [8, 1]
    text = "1\nProperties=Z:I:1:pos:R:3\n6 0 0 0\n"
    assert read(tmp_path, text).get_property("z").tolist() == [6]


@pytest.mark.parametrize(
    ("values", "right"),
    [
        (["007", "7"], ["007", "7"]),
        (["7", "abc"], ["7", "abc"]),
        (["1 2", "abc"], ["1 2", "abc"]),
        (["T", "other"], ["T", "other"]),
        (["1", "2"], [1, 2]),
        (["1", "2.5"], [1.0, 2.5]),
        (["1e3", "nan"], [1000.0, float("nan")]),
        (["T", "False"], [True, False]),
        (["1_0", "2"], ["1_0", "2"]),
    ],
)
def test_a_key_has_one_type_in_the_file(tmp_path, values, right):
    text = "".join(frames(*(f'k="{value}"' for value in values)))
    found = read(tmp_path, text).get_property("k")
    np.testing.assert_array_equal(found if isinstance(found, list) else found.numpy(), right)
    assert isinstance(found, list) == isinstance(right[0], str)


def test_what_some_frames_lack(tmp_path):
    text = "".join(frames("energy=-1 kind=bulk charge=1 f=0.5", 'energy=-2 pbc="F F F"'))
    with pytest.warns(DataNote, match="1 have no 'charge', 1 have no 'f', 1 have no 'kind'; the"):
        dataset = read(tmp_path, text)
    assert dataset.get_property("kind") == ["bulk", ""]
    np.testing.assert_array_equal(dataset.get_property("charge"), [1, np.nan])
    np.testing.assert_array_equal(dataset.get_property("f"), [0.5, np.nan])


def test_compressed(tmp_path):
    with gzip.open(tmp_path / "own.xyz.gz", "wt") as file:
        file.write("".join(frames("a", "b")))
    assert len(AtomsFile(tmp_path / "own.xyz.gz")) == 2


def test_an_empty_value_does_not_take_the_next_key():
    comment = parse_comment('label= pbc="T T F" Lattice="1 0 0 0 1 0 0 0 9"', "here")
    assert comment.entries == {"label": ""}
    assert comment.cell.pbc == [True, True, False]
    assert parse_comment(" i =    3, E =   -1.5", "here").entries == {"i": "3", "E": "-1.5"}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["007", "1E10", "T", "T F", "1 2 3", "C/C=C\\C", "a=b", "", " ", "nan", "{x}", "[1, 2]",
     "_JSON 3", 'say "hi"', "it's", "two\nlines", "a\\", "-inf", "1,2", "None", "true"]
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_text_is_written_so_that_everybody_reads_it_back(text):
    line = f'k={info_text(text)} pbc="T T F"'
    assert "\n" not in line
    comment = parse_comment(line, "here")
    assert comment.entries["k"] == text
    assert comment.cell.pbc == [True, True, False]
    by_ase = key_val_str_to_dict(line)
    assert by_ase["k"] == text
    assert by_ase["pbc"] == [True, True, False]


def test_text_of_a_data_set_comes_back(tmp_path):
    texts = ["007", "1E10", "T", "C/C=C\\C", "", "two\nlines"]
    structures = [
        Structure(z=torch.tensor([1]), pos=torch.zeros(1, 3).double(), name=text) for text in texts
    ]
    write_dataset(tmp_path / "own.extxyz", [StructureDataset.from_list(structures)])
    assert AtomsFile(tmp_path / "own.extxyz").get_property("name") == texts
    assert [atoms.info["name"] for atoms in ase.io.read(tmp_path / "own.extxyz", ":")] == texts


def test_a_small_file_of_qm9_is_named(tmp_path):
    path = tmp_path / "dsgdb9nsd_000003.xyz"
    path.write_text(
        "1\ngdb 3\t1.0\t2.0\t\nO\t0.0\t0.0\t0.1*^-6\t-0.5\n1.5\t2.5\nO\tO\nInChI=1S/O\n"
    )
    with pytest.raises(InputError, match=r"one of the small files of QM9; QM9\(file=\)"):
        AtomsFile(path)


@pytest.mark.parametrize(
    "unit", ["box 1", "1", "a=[ ", "a=[ ] ", "a={ ", "a=' ", 'a=" ', 'a="\\ ', "[ ", "] x", " ",
             "a  ", '\\" ', "box 1. ", "1,", "cell 1;"],
)  # fmt: skip
@pytest.mark.parametrize("start", ["", "box ", "a=["])
def test_long_comments_take_no_time(start, unit):
    """Of several seconds to hours where a pattern goes over the rest of the line at each place."""
    comment = start + unit * (190_000 // len(unit))
    with bounded(2), contextlib.suppress(InputError):
        parse_comment(comment, "here")


def test_arrays_in_brackets():
    entries = parse_comment("a=[1, 2, 3] b=[1 2] c=[x=1] d=e", "here").entries
    assert entries == {"a": "1, 2, 3", "b": "1 2", "c": "x=1", "d": "e"}


@pytest.mark.parametrize(
    "text",
    [
        "1\nProperties=species:S:1:pos:R:" + "3" * 5000 + "\nH 0 0 0\n",
        "0" * 19 + "1" + "9" * 30 + "\n\nH 0 0 0\n",
        '1\nenergy_unit="1 2"\nH 0 0 0\n',
        "1\nProperties=species:S:1:pos:R:3:tags:S:1\nH 0 0 0 a\n",
        "1\nProperties=species:S:1:pos:R:3:masses:R:3\nH 0 0 0 1 1 1\n",
        "1\nProperties=Z:I:1:pos:R:3:masses:R:1\n1 0 0 0 1\n"
        "1\nProperties=Z:I:1:pos:R:3\n300 0 0 0\n",
    ],
    ids=["width", "count", "unit", "tags", "masses", "element"],
)
def test_what_no_reader_expects(tmp_path, text):
    with pytest.raises(InputError, match=r"^own\.xyz"):
        read(tmp_path, text)

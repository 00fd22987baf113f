import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Subset
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.datasets import MD17 as PyGMD17
from torch_geometric.datasets import QM9 as PyGQM9

from schnetgeo.datasets import MD17, QM9, from_pyg
from schnetgeo.datasets.pyg import QM9_COLUMNS
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from tests.datasets.published import md17_npz
from tests.shared_data import shared


def test_md17_by_what_pyg_documents(tmp_path):
    raw = tmp_path / "ethanol" / "raw"
    raw.mkdir(parents=True)
    (raw / "md17_ethanol.npz").write_bytes(md17_npz())
    theirs = from_pyg(PyGMD17(str(tmp_path), "ethanol"))
    ours = MD17(file=raw / "md17_ethanol.npz")
    assert theirs.get_property("energy").dtype == torch.float64
    torch.testing.assert_close(
        theirs.get_property("energy"), ours.get_property("energy"), rtol=0, atol=2e-4
    )
    torch.testing.assert_close(
        theirs.get_property("forces").double(), ours.get_property("forces"), rtol=1e-6,
        atol=1e-7)  # fmt: skip
    torch.testing.assert_close(
        theirs.get_property("pos").double(), ours.get_property("pos"), rtol=1e-6,
        atol=1e-6)  # fmt: skip
    part = from_pyg(PyGMD17(str(tmp_path), "ethanol")[[4, 2]])
    assert torch.equal(part.get_property("energy"), theirs.get_property("energy")[[4, 2]])


def pyg_qm9(tmp_path, ours):
    """PyG's own data set object, with the numbers that its reader would have found."""
    names, conversion = QM9_COLUMNS, 1.0
    structures = []
    for k, data in enumerate(ours):
        y = torch.stack([data[name] for name in names], 1).float() * conversion
        edges = torch.zeros(2, 4, dtype=torch.long)
        structures.append(Data(x=torch.zeros(len(data.z), 11), z=data.z, pos=data.pos.float(),
                               edge_index=edges, edge_attr=torch.zeros(4, 4), y=y, idx=k,
                               smiles=data.smiles, name=f"gdb_{k}"))  # fmt: skip
    (tmp_path / "raw").mkdir()
    (tmp_path / "processed").mkdir()
    for name in ("qm9_v3.pt", "gdb9.sdf", "gdb9.sdf.csv", "uncharacterized.txt"):
        (tmp_path / "raw" / name).touch()
    InMemoryDataset.save(structures, str(tmp_path / "processed" / "data_v3.pt"))
    return PyGQM9(str(tmp_path))


def test_qm9_by_what_pyg_documents(tmp_path):
    ours = QM9(file=shared("qm9_all_properties.npz"))[:20]
    theirs = from_pyg(pyg_qm9(tmp_path, ours))
    assert theirs.get_property("smiles") == ours.get_property("smiles")
    for name in (*QM9_COLUMNS, "energy"):
        torch.testing.assert_close(
            theirs.get_property(name), ours.get_property(name), rtol=1e-7, atol=0
        )
    assert not theirs.has_property("x")


def molecules(**changes):
    z, pos = torch.tensor([8, 1]), torch.tensor([[0.0, 0, 0], [0, 0, 1]])
    return [Data(**{"z": z, "pos": pos, "E": torch.tensor(-k - 0.5), "force": pos, **changes})
            for k in range(3)]  # fmt: skip


def test_any_objects_with_units_given():
    units = dict(energy_unit="Hartree", force_unit="Hartree/Bohr", length_unit="Bohr")
    dataset = from_pyg(molecules(cell=torch.eye(3) * 9), energy="E", **units)
    expected = -(np.arange(3) + 0.5) * 27.211386245988
    np.testing.assert_allclose(dataset.get_property("energy"), expected, rtol=1e-15)
    assert float(dataset[1].pos[1, 2]) == pytest.approx(0.529177210903)
    assert float(dataset[1].forces[1, 2]) == pytest.approx(51.42206747632)
    assert bool(dataset[1].pbc.all())
    assert float(dataset[1].cell[0, 0, 0]) == pytest.approx(9 * 0.529177210903)


def test_cell_of_zeros_is_that_of_a_molecule():
    units = dict(energy_unit="eV", force_unit="eV/Angstrom")
    dataset = from_pyg(molecules(cell=torch.zeros(3, 3)), energy="E", **units)
    assert not bool(dataset[0].pbc.any())


def test_columns_of_y():
    own = molecules(y=torch.tensor([[1.0, 2.0]]), force=None)
    dataset = from_pyg(own, energy="b", energy_unit="eV", columns=("a", "b"))
    assert dataset.get_property("a").tolist() == [1, 1, 1]
    assert dataset.get_property("energy").tolist() == [2, 2, 2]


def test_users_class_of_the_name_of_a_known_one(tmp_path):
    packed_qm9 = QM9(file=shared("qm9_all_properties.npz"))[:2]
    own = type("QM9", (list,), {})(molecules(y=torch.ones(1, 19)))
    with pytest.raises(InputError, match="QM9: does not state the unit of its energies"):
        from_pyg(own, energy="E")
    units = dict(energy_unit="Hartree", force_unit="Hartree/Bohr")
    assert not from_pyg(own, energy="E", **units).has_property("gap")
    with pytest.raises(InputError, match="QM9 is concatenated with .*QM9, whose units differ"):
        from_pyg(ConcatDataset([pyg_qm9(tmp_path, packed_qm9), own]))


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, dict(energy="E"), "list: does not state the unit of its energies; give energy_unit"),
        ({}, dict(), "list: does not state the unit of its forces; give force_unit"),
        ({}, dict(energy="U0"), "structure 0: has no energy named 'U0'; it has "),
        ({}, dict(forces="F"), "structure 0: has no forces named 'F'"),
        (
            dict(y=torch.ones(1, 2)),
            dict(columns=("a", "force")),
            "structure 0: has 'force' already; name that column of y differently in columns",
        ),
        (dict(z=None), dict(), "structure 0: has no z or no pos; it is no molecule"),
        ({}, dict(columns=("a",)), "structure 0: y must have 1 columns, a"),
        ({}, dict(energy="E", energy_unit="erg"), "unknown energy unit 'erg'"),
    ],
)
def test_refuses(changes, options, message):
    with pytest.raises(InputError, match=message):
        from_pyg(molecules(**changes), **options)
    with pytest.raises(InputError, match="list: holds no structures"):
        from_pyg([])


def test_parts_and_several(tmp_path):
    raw = tmp_path / "ethanol" / "raw"
    raw.mkdir(parents=True)
    (raw / "md17_ethanol.npz").write_bytes(md17_npz())
    theirs = PyGMD17(str(tmp_path), "ethanol")
    energies = from_pyg(theirs).get_property("energy")
    part = Subset(theirs, [4, 2])
    assert torch.equal(from_pyg(part).get_property("energy"), energies[[4, 2]])
    both = ConcatDataset([part, theirs[:1]])
    assert torch.equal(from_pyg(both).get_property("energy"), energies[[4, 2, 0]])
    with pytest.raises(InputError, match="from_pyg: MD17 is concatenated with list, whose unit"):
        from_pyg(ConcatDataset([theirs, molecules()]))


def test_names_of_other_programs():
    pos = torch.tensor([[0.0, 0, 0], [0, 0, 1]])
    ocp = Data(atomic_numbers=torch.tensor([8.0, 1.0]), pos=pos, natoms=2, y=-31.7, force=pos,
               tags=torch.zeros(2), fixed=torch.zeros(2), sid=7)  # fmt: skip
    with pytest.warns(DataNote, match="list: left out 'fixed' of 1 structures"):
        data = from_pyg([ocp], energy="y", energy_unit="eV", force_unit="eV/Angstrom")[0]
    assert (data.z.tolist(), float(data.energy), data.sid.tolist()) == ([8, 1], -31.7, [7])
    assert data.tags.tolist() == [0, 0]
    torchmd = Data(z=torch.tensor([8, 1]), pos=pos, y=torch.tensor([[-2.5]]), neg_dy=pos, q=1)
    data = from_pyg([torchmd], "y", "neg_dy", "eV", "eV/Angstrom")[0]
    assert (float(data.energy), data.q.tolist()) == (-2.5, [1])
    assert torch.equal(data.forces, pos)
    assert "neg_dy" not in data
    with pytest.raises(InputError, match="structure 0: z must be whole atomic numbers"):
        from_pyg([Data(z=torch.tensor([1.5, 1]), pos=pos)])

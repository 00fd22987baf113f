"""Pictures and films: what is drawn, checked on the artists and on the files."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure
from PIL import Image
from torch_geometric.data import Batch, Data

from schnetgeo.errors import InputError
from schnetgeo.viz import animate, show
from schnetgeo.viz.show import _rotation

FORCES = np.random.default_rng(0).normal(size=(9, 3))


def ethanol(forces=FORCES, energy=-4209.1234):
    atoms = molecule("CH3CH2OH")
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def ethanol_data(**changes):
    atoms = molecule("CH3CH2OH")
    return Data(
        z=torch.tensor(atoms.numbers),
        pos=torch.tensor(atoms.positions, dtype=torch.float32),
        energy=torch.tensor([-4209.1234], dtype=torch.float64),
        forces=torch.tensor(FORCES),
        cell=torch.zeros(1, 3, 3),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
    ).update(changes)


def drawn(figure, kind):
    return figure.findobj(lambda artist: artist.get_gid() == kind)


def notes(figure):
    return [text.get_text().strip() for text in figure.axes[0].get_legend().get_texts()]


def moving(n):
    """Ethanol along a line, with forces that grow from 0.5 to 2 eV/Å."""
    frames = []
    for i in range(n):
        atoms = molecule("CH3CH2OH")
        atoms.positions += [0.3 * i, 0, 0]
        forces = np.zeros((9, 3))
        forces[0, 1] = 0.5 + 1.5 * i / max(n - 1, 1)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 - i, forces=forces)
        frames.append(atoms)
    return frames


def test_show_writes_a_png_with_colors_of_all_elements(tmp_path):
    figure = show(ethanol(), path=tmp_path / "ethanol.png")
    assert isinstance(figure, Figure)
    pixels = np.asarray(Image.open(tmp_path / "ethanol.png").convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 400
    red = (pixels[..., 0] > 180) & (pixels[..., 1:].max(-1) < 60)
    gray = (np.ptp(pixels, axis=-1) < 6) & (pixels[..., 0] > 110) & (pixels[..., 0] < 170)
    assert red.sum() > 2000
    assert gray.sum() > 10000
    frame = np.concatenate([pixels[:8].ravel(), pixels[:, :8].ravel(), pixels[:, -8:].ravel()])
    assert (frame == 255).all()  # nothing is cut off


@pytest.mark.parametrize(
    ("name", "bonds"), [("CH3CH2OH", 8), ("C6H6", 12), ("H2O", 2), ("CH4", 4), ("He", 0)]
)
def test_bonds_and_atoms_are_counted_right(name, bonds):
    atoms = Atoms("He") if name == "He" else molecule(name)
    figure = show(atoms)
    assert len(drawn(figure, "bond")) == 2 * bonds
    assert len(drawn(figure, "atom")) == len(atoms)
    assert not drawn(figure, "forces")
    assert not drawn(figure, "cell")


@pytest.mark.parametrize("stretch", [1.249, 1.251])
def test_bond_limit_is_1_25_times_the_covalent_radii(stretch):
    pair = Atoms("CO", [[0, 0, 0], [0, 0, stretch * (0.76 + 0.66)]])
    assert len(drawn(show(pair), "bond")) == (2 if stretch < 1.25 else 0)


def test_nearer_atoms_are_painted_later():
    atoms = molecule("C60")
    depth = atoms.positions @ _rotation(atoms)[2]
    order = [ball.get_zorder() for ball in drawn(show(atoms), "atom")]
    assert np.array_equal(np.argsort(order), np.argsort(depth))


def test_ethanol_is_turned_so_that_no_atom_hides_another():
    flat = molecule("CH3CH2OH").positions @ _rotation(molecule("CH3CH2OH"))[:2].T
    distances = np.linalg.norm(flat[:, None] - flat, axis=-1)[np.triu_indices(9, k=1)]
    assert distances.min() > 0.4


def test_heaviest_element_is_drawn():
    figure = show(Atoms([118]))
    assert len(drawn(figure, "atom")) == 1
    assert notes(figure) == ["Og"]


def test_rotation_is_proper():
    for atoms in (ethanol(), molecule("CO2"), Atoms("He"), bulk("Si")):
        rotation = _rotation(atoms)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) > 0


@pytest.mark.parametrize("structure", [ethanol(), ethanol_data()], ids=["Atoms", "Data"])
def test_arrows_agree_with_forces_and_note(structure):
    figure = show(structure, forces=True)
    (arrows,) = drawn(figure, "forces")
    atoms = molecule("CH3CH2OH")
    rotation = _rotation(atoms)[:2]
    np.testing.assert_allclose(arrows.get_offsets(), atoms.positions @ rotation.T, atol=1e-5)
    projected = FORCES @ rotation.T
    scale = arrows.U[0] / projected[0, 0]
    assert scale > 0
    np.testing.assert_allclose(np.stack([arrows.U, arrows.V], 1), scale * projected, atol=1e-4)
    longest = np.linalg.norm(FORCES, axis=1).max()
    assert 1 < scale * longest < 3  # Å: visible, and not larger than the molecule
    assert notes(figure) == ["H", "C", "O", f"longest arrow {longest:.3g} eV/Å"]
    # one unit of U is one Å on screen, so lengths compare with the picture
    assert arrows.scale == 1
    assert arrows.scale_units == arrows.angles == "xy"
    balls = drawn(figure, "atom")
    assert arrows.get_zorder() > max(ball.get_zorder() for ball in balls)


def test_arrows_and_atoms_lie_within_the_limits():
    figure = show(ethanol(), forces=True)
    (arrows,) = drawn(figure, "forces")
    tips = arrows.get_offsets() + np.stack([arrows.U, arrows.V], 1)
    (left, right), (low, high) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    for x, y in [*tips, *arrows.get_offsets()]:
        assert left < x < right
        assert low < y < high


def test_vanishing_forces_draw_no_length():
    figure = show(ethanol(forces=np.zeros((9, 3))), forces=True)
    (arrows,) = drawn(figure, "forces")
    assert not arrows.U.any()
    assert not arrows.V.any()
    assert "longest arrow 0 eV/Å" in notes(figure)


@pytest.mark.parametrize("structure", [ethanol(), ethanol_data()], ids=["Atoms", "Data"])
def test_title_states_formula_and_energy(structure):
    assert show(structure).axes[0].get_title() == "C2H6O   E = -4209.123 eV"
    assert show(structure, title="mine").axes[0].get_title() == "mine   E = -4209.123 eV"


def test_energy_of_other_positions_is_not_shown():
    atoms = ethanol()
    atoms.positions[0] += 0.1
    assert show(atoms).axes[0].get_title() == "C2H6O"
    with pytest.raises(InputError, match=r"present positions.*get_forces"):
        show(atoms, forces=True)


@pytest.mark.parametrize("as_data", [False, True])
def test_periodic_cell_is_drawn_with_its_corners(as_data):
    structure = crystal = bulk("Si", cubic=True)
    if as_data:
        structure = Data(
            z=torch.tensor(crystal.numbers),
            pos=torch.tensor(crystal.positions),
            cell=torch.tensor(crystal.cell.array)[None],
            pbc=torch.ones(1, 3, dtype=torch.bool),
        )
    pieces = drawn(show(structure), "cell")
    points = {tuple(np.round(p, 6)) for piece in pieces for p in piece.get_xydata()}
    corners = np.array([*np.ndindex(2, 2, 2)]) @ crystal.cell.array @ _rotation(crystal)[:2].T
    assert {tuple(np.round(p, 6)) for p in corners} <= points
    lengths = [np.linalg.norm(np.diff(piece.get_xydata(), axis=0)) for piece in pieces]
    projected = np.linalg.norm(crystal.cell.array @ _rotation(crystal)[:2].T, axis=1)
    assert np.isclose(sum(lengths), 4 * projected.sum())  # four edges along each vector


def test_given_axes_are_used():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert show(ethanol(), ax=right) is figure
    assert not left.patches
    assert not left.collections
    assert right.collections
    assert right.get_aspect() == 1
    assert not right.axison


def test_show_leaves_its_input_alone():
    atoms, data = ethanol(), ethanol_data()
    before, keys = atoms.copy(), set(data.keys())
    show(atoms, forces=True)
    show(data, forces=True)
    assert atoms == before
    assert atoms.calc is not None
    assert set(data.keys()) == keys


@pytest.mark.slow
def test_show_needs_no_pyplot_and_no_backend(tmp_path):
    code = (
        "import sys, matplotlib; from ase.build import molecule\n"
        "before = dict.__getitem__(matplotlib.rcParams, 'backend')\n"
        "from schnetgeo.viz import show; show(molecule('H2O'), path=sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert dict.__getitem__(matplotlib.rcParams, 'backend') is before"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MPLBACKEND")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", code, str(tmp_path / "water.png")]
    subprocess.run(command, check=True, env=environment)
    assert (tmp_path / "water.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (molecule("H2O"), "forces=True needs forces .* structure has none"),
        (ethanol_data(forces=None), "forces=True needs forces .* structure has none"),
        (ethanol(forces=np.full((9, 3), np.nan)), "forces must be finite"),
        (ethanol_data(forces=torch.zeros(8, 3)), "forces must be finite"),
        (Atoms(), "structure must have atoms"),
        (Atoms("H", [[0, 0, np.inf]]), "finite positions"),
        (Batch.from_data_list([ethanol_data(), ethanol_data()]), r"one Data .* batch\[0\]"),
        ("ethanol.xyz", "structure must be ase.Atoms or one Data"),
        (Data(z=torch.ones(2)), "structure must be ase.Atoms or one Data with z and pos"),
    ],
    ids=["none", "none-data", "nan", "shape", "empty", "inf", "batch", "type", "no-pos"],
)
def test_errors_name_the_cause(structure, message):
    with pytest.raises(InputError, match=message):
        show(structure, forces=True)


def test_gif_has_all_frames_and_nothing_else_is_left(tmp_path):
    animate(moving(5), tmp_path / "film.gif", forces=True, fps=10)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.format == "GIF"
        assert film.n_frames == 5
        assert film.info["duration"] == 100
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]


def test_gif_keeps_frames_that_do_not_differ(tmp_path):
    animate((molecule("H2O") for _ in range(3)), tmp_path / "still.GIF")
    with Image.open(tmp_path / "still.GIF") as film:
        assert film.n_frames == 3


def test_view_and_arrow_scale_are_constant_over_frames(tmp_path, monkeypatch):
    seen = []

    def grab(movie):
        axes = movie.fig.axes[0]
        (arrows,) = drawn(movie.fig, "forces")
        length = np.hypot(arrows.U[0], arrows.V[0])
        limits = (*axes.get_xlim(), *axes.get_ylim())
        seen.append((limits, length, axes.get_title(), notes(movie.fig)[-1]))

    monkeypatch.setattr(PillowWriter, "grab_frame", grab)
    monkeypatch.setattr(PillowWriter, "finish", lambda movie: movie.outfile.touch())
    animate(moving(4), tmp_path / "film.gif", forces=True)
    limits, lengths, titles, longest = zip(*seen, strict=True)
    assert len(set(limits)) == 1
    np.testing.assert_allclose(np.array(lengths) / lengths[0], [1, 2, 3, 4], rtol=1e-5)
    assert titles == tuple(f"C2H6O   E = {-1 - i:.3f} eV" for i in range(4))
    assert set(longest) == {"longest arrow 2 eV/Å (of all frames)"}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("film.avi", {}, r"path must end in \.gif or \.mp4, got .*film\.avi"),
        ("film", {}, r"path must end in \.gif or \.mp4"),
        ("film.gif", {"fps": 0}, "fps must be positive, got 0"),
        ("film.gif", {"frames": []}, "frames must hold a structure"),
        ("film.gif", {"frames": [ethanol(), molecule("H2O")]}, r"frames\[1\] has none"),
    ],
    ids=["avi", "no ending", "fps", "no frames", "no forces"],
)
def test_animate_errors_leave_no_file(tmp_path, name, changes, message):
    with pytest.raises(InputError, match=message):
        animate(**{"frames": moving(2), "path": tmp_path / name, "forces": True} | changes)
    assert not list(tmp_path.iterdir())


def test_mp4_without_ffmpeg_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"ffmpeg, not found on PATH.*\.gif"):
        animate(moving(2), tmp_path / "film.mp4")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg on PATH")
def test_mp4_is_written(tmp_path):
    animate(moving(3), tmp_path / "film.mp4", forces=True)
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_interrupted_film_leaves_the_old_one(tmp_path, monkeypatch):
    grab = PillowWriter.grab_frame

    def stop(movie):
        if movie._frames:
            raise KeyboardInterrupt
        grab(movie)

    (tmp_path / "film.gif").write_bytes(b"old")
    monkeypatch.setattr(PillowWriter, "grab_frame", stop)
    with pytest.raises(KeyboardInterrupt):
        animate(moving(2), tmp_path / "film.gif")
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]
    assert (tmp_path / "film.gif").read_bytes() == b"old"

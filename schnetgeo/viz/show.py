"""Draw atoms, bonds, cells and forces with matplotlib; no display is ever needed.

A structure is projected along the view and painted from back to front with plain 2D artists,
which carry a gid: "atom", "bond" (one per half bond), "cell" and "forces".
"""

import itertools
import os
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import natural_cutoffs, neighbor_list
from matplotlib.animation import FFMpegWriter, PillowWriter
from matplotlib.collections import PatchCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from scipy.spatial.distance import pdist

from schnetgeo.data.atoms import to_ase
from schnetgeo.data.structure import Structure
from schnetgeo.errors import InputError
from schnetgeo.geometry import num_structures

_COLORS = np.pad(jmol_colors, ((0, 9), (0, 0)), mode="edge")  # jmol has none beyond Z = 109
_BOND = 0.1  # Å, half the width of a bond
_PINK = "#d6186f"
_TOP_ZORDER = 1e6  # zorder; that of atoms and bonds is their depth in Å
_WRITERS = {".gif": PillowWriter, ".mp4": FFMpegWriter}


def show(structure, *, forces=False, path=None, title=None, ax=None) -> Figure:
    """Draw one structure: atoms, bonds, the unit cell if periodic, and forces if asked.

    Args:
        structure: `ase.Atoms`, with the energy and forces that its calculator has stored, or
            `Data` with `z` (N,), `pos` (N, 3) in Å and, where known, `energy` (1,) in eV, `forces`
            (N, 3) in eV/Å, `cell` (1, 3, 3) in Å, `pbc` (1, 3). Nothing is computed.
        forces: draw an arrow per atom; a note below gives the longest force.
        path: file to write (.png, .pdf, .svg, …), or None.
        title: text in place of the chemical formula; a known energy follows either way.
        ax: 2D matplotlib axes to draw in; by default those of a new figure.

    Returns:
        The figure. A notebook displays it after `%matplotlib inline`.

    Raises:
        InputError: for what is no single structure, and for forces asked for but not there.
    """
    frame = _read(structure, forces, "structure")
    view = _view([frame])
    ax = _new_axes(view) if ax is None else ax
    _draw(ax, frame, view, title)
    fig = ax.get_figure(root=True)
    if path is not None:
        fig.savefig(path)
    return fig


def animate(frames, path, *, forces=False, fps=20) -> None:
    """Write a film of structures; view and arrow scale are the same in all frames.

    Args:
        frames: sequence of structures as in `show`.
        path: file to write, .gif, or .mp4 where there is ffmpeg; it appears once it is complete.
        forces: draw an arrow per atom; a note below gives the longest force of all frames.
        fps: frames per second; viewers of GIF honor at most 50.

    Raises:
        InputError: as `show`, and for another ending, no frames, or fps that is not positive.
        RuntimeError: for .mp4 without ffmpeg.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise InputError(f"path must end in .gif or .mp4, got {str(path)!r}; change the ending")
    if not fps > 0:
        raise InputError(f"fps must be positive, got {fps}; 20 is usual")
    if not writer.isAvailable():
        raise RuntimeError(f"{str(path)!r} needs ffmpeg, not found on PATH; install it or use .gif")
    read = [_read(frame, forces, f"frames[{i}]") for i, frame in enumerate(frames)]
    if not read:
        raise InputError("frames must hold a structure or more, got none; pass some")
    view = _view(read)
    ax, movie = _new_axes(view), writer(fps=fps)
    part = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        with movie.saving(ax.figure, part, dpi=100):
            for i, frame in enumerate(read, start=1):
                ax.clear()
                _draw(ax, frame, view)
                ax.annotate(f"{i} / {len(read)}", (1, 0), xycoords="axes fraction", ha="right",
                            color="0.5", zorder=_TOP_ZORDER)  # fmt: skip
                movie.grab_frame()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def projection(structure) -> tuple[Atoms, np.ndarray]:
    """The atoms of a structure and where `show` draws them, (N, 2) in Å."""
    frame = _read(structure, False, "structure")
    return frame[0], frame[0].positions @ _view([frame])[0][:2].T


def _read(structure, with_forces, name):
    """(atoms, energy in eV or None, forces (N, 3) in eV/Å or None), checked."""
    atoms = structure if isinstance(structure, Atoms) else _atoms(structure, name)
    if len(atoms) == 0 or not np.isfinite(atoms.positions).all():
        raise InputError(
            f"{name} must have atoms at finite positions, got {atoms.positions}; mend it"
        )
    calc = atoms.calc
    fresh = isinstance(calc, Calculator) and not calc.check_state(atoms)
    results = calc.results if fresh else {}
    forces = results.get("forces") if with_forces else None
    if with_forces and forces is None:
        raise InputError(
            f"forces=True needs forces at the present positions, but {name} has none; set them in "
            "the Data, call atoms.get_forces() with a calculator, or pass forces=False"
        )
    if with_forces and not (np.shape(forces) == (len(atoms), 3) and np.isfinite(forces).all()):
        raise InputError(f"{name}: forces must be finite (N, 3) values, got {forces}; mend them")
    return atoms, results.get("energy"), forces


def _atoms(data, name):
    """ASE atoms of one `Data`, with what is drawn."""
    if any(getattr(data, k, None) is None for k in ("z", "pos")) or num_structures(data) != 1:
        raise InputError(
            f"{name} must be ase.Atoms or one Data with z and pos, got {data!r}; "
            "take one structure, such as batch[0]"
        )
    keys = ("z", "pos", "energy", "forces", "cell", "pbc")
    return to_ase(Structure(**{k: data[k] for k in keys if data.get(k) is not None}))


def _view(frames):
    """What all frames share: rotation (3, 3), nearest depth and limits (2, 2) in Å, arrow scale in
    Å per eV/Å, and the note on the longest force; the last two are None without forces.
    """
    rotation = _rotation(frames[0][0])
    points = np.concatenate([p for a, _, _ in frames for p in (a.positions, _corners(a))])
    near, scale, note = (points @ rotation[2]).max(), None, None
    if frames[0][2] is not None:
        longest = max(np.linalg.norm(forces, axis=1).max() for _, _, forces in frames)
        scale = max(1.3, 0.18 * np.ptp(points, axis=0).max()) / max(longest, 1e-12)
        note = f"longest arrow {longest:.3g} eV/Å" + " (of all frames)" * (len(frames) > 1)
        points = np.concatenate([points] + [a.positions + scale * f for a, _, f in frames])
    flat = points @ rotation[:2].T
    margin = max(_radii(a).max() for a, _, _ in frames) + 0.15
    half = np.maximum(np.ptp(flat, axis=0) / 2 + margin, [1.8, 1.1])
    middle = (flat.min(0) + flat.max(0)) / 2
    return rotation, near, np.stack([middle - half, middle + half]), scale, note


def _rotation(atoms):
    """Rows (3, 3) that point right, up and toward the viewer."""
    if atoms.pbc.any():
        return _rotation_matrix(-0.42, 0.24) @ [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    across = np.linalg.eigh(np.cov(atoms.positions.T, ddof=0))[1][:, :0:-1].T  # longest first
    axes = np.vstack([across, np.cross(*across)])
    angles = itertools.product((-0.25, 0.25, -0.5, 0.5, 0.0), (0.3, 0.15, 0.45, 0.6, 0.0))
    views = [_rotation_matrix(*pair) @ axes for pair in angles]
    # the first in which no atom hides another, or else the one that comes closest to it
    apart = [pdist(atoms.positions @ view[:2].T).min(initial=0.7) for view in views]
    return views[int(np.argmax(apart))]


def _rotation_matrix(turn, tilt):
    """Rotation (3, 3) by `turn` about the vertical, then by `tilt` about the horizontal, in rad."""
    c, s, ct, st = np.cos(turn), np.sin(turn), np.cos(tilt), np.sin(tilt)
    return np.array([[c, 0, s], [st * s, ct, -st * c], [-ct * s, st, ct * c]])


def _corners(atoms):
    """Corners (8, 3) of the cell in Å, in binary order; (0, 3) if not periodic."""
    return np.array([*np.ndindex(2, 2, 2)] if atoms.pbc.any() else np.empty((0, 3))) @ atoms.cell


def _radii(atoms):
    """Radii (N,) to draw, in Å."""
    return 0.12 + 0.32 * covalent_radii[atoms.numbers]


def _new_axes(view):
    """Axes in a new figure, in the shape of the view."""
    width, height = np.ptp(view[2], axis=0)
    tall = 6 * np.clip(height / width, 0.4, 1.15)
    full = round(tall + 1.2, 1)
    return Figure((6.4, full), dpi=150).add_axes([0.03, 0.65 / full, 0.94, tall / full])


def _draw(ax, frame, view, title=None):
    atoms, energy, forces = frame
    rotation, near, limits, scale, note = view
    xyz, corners = (p @ rotation.T - [0, 0, near] for p in (atoms.positions, _corners(atoms)))
    ax.set(xlim=limits[:, 0], ylim=limits[:, 1], aspect="equal")
    ax.set_axis_off()
    _draw_cell(ax, corners)
    _draw_bonds(ax, atoms, xyz)
    for color, radius, center in zip(_COLORS[atoms.numbers], _radii(atoms), xyz, strict=True):
        _draw_ball(ax, _fade_with_depth(color, center[2]), radius, center)
    if forces is not None:
        ax.quiver(*xyz.T[:2], *(forces @ rotation[:2].T * scale).T, angles="xy", units="xy",
                  scale_units="xy", scale=1, width=0.08, headwidth=3.3, headlength=3.8,
                  headaxislength=3.4, minlength=0.1, color=_PINK, edgecolor="white",
                  linewidth=0.6, zorder=_TOP_ZORDER, gid="forces")  # fmt: skip
    label = atoms.get_chemical_formula() if title is None else title
    ax.set_title(label if energy is None else f"{label}   E = {energy:.3f} eV", size=13)
    _draw_legend(ax, atoms, note)


def _fade_with_depth(rgb, depth):
    """Color (3,) that fades to white with the depth, which is 0 Å in front and negative behind."""
    return 1 - (1 - rgb) * (0.35 + 0.65 * np.exp(depth / 9))


def _draw_ball(ax, rgb, radius, center):
    """One atom as circles that brighten toward a highlight."""
    t = np.linspace(0, 1, 12)[:, None]
    at = center[:2] + 0.4 * radius * t * [-0.7, 0.7]
    balls = [Circle(p, r) for p, r in zip(at, radius * (1 - 0.92 * t[:, 0]), strict=True)]
    colors = rgb * np.minimum(1, 0.78 + 0.5 * t) * (1 - 0.75 * t**2.5) + 0.75 * t**2.5
    edges = [0.45 * rgb + 0.1] + ["none"] * 11
    ax.add_collection(PatchCollection(balls, facecolor=colors, edgecolor=edges, linewidth=0.8,
                                      zorder=center[2], gid="atom"), autolim=False)  # fmt: skip


def _draw_bonds(ax, atoms, xyz):
    """Pairs closer than 1.25 times the sum of covalent radii, each half in its atom's color."""
    free = Atoms(atoms.numbers, atoms.positions)  # none through the faces of a cell
    visible = np.sqrt(_radii(atoms) ** 2 - _BOND**2)  # where a bond comes out of its atom
    for i, j in zip(*neighbor_list("ij", free, natural_cutoffs(free, mult=1.25)), strict=True):
        along = (xyz[j] - xyz[i]) / max(np.linalg.norm(xyz[j] - xyz[i]), 1e-9)
        ends = np.stack([xyz[i] + along * visible[i], (xyz[i] + xyz[j]) / 2])
        side = _BOND * np.array([-along[1], along[0]]) / max(np.hypot(*along[:2]), 1e-9)
        strips = [[*(ends[:, :2] + w * side), *(ends[::-1, :2] - w * side)] for w in (1, 0.8, 0.35)]
        rgb = _fade_with_depth(_COLORS[atoms.numbers[i]], ends[:, 2].mean())
        colors = [0.45 * rgb + 0.1, 0.85 * rgb, 0.75 * rgb + 0.25]
        ax.add_collection(PolyCollection(strips, facecolor=colors, zorder=ends[:, 2].mean(),
                                         gid="bond"), autolim=False)  # fmt: skip


def _draw_cell(ax, corners):
    """The 12 edges, in pieces so that atoms hide what is behind or inside them."""
    for a, b in itertools.combinations(range(len(corners)), 2):
        if (a ^ b).bit_count() == 1:
            for piece in itertools.pairwise(np.linspace(corners[a], corners[b], 25)):
                x, y, depth = np.stack(piece).T
                color = _fade_with_depth(np.full(3, 0.3), depth[0])
                ax.add_line(Line2D(x, y, color=color, linewidth=1.2, solid_capstyle="butt",
                                   zorder=depth.mean() - 0.5, gid="cell"))  # fmt: skip


def _draw_legend(ax, atoms, note):
    """Elements and the note on forces, below the axes."""
    marks = [(chemical_symbols[z], "o", 10, _COLORS[z]) for z in np.unique(atoms.numbers)]
    if note is not None:
        marks.append((f" {note}", r"$\rightarrow$", 16, _PINK))
    handles = [
        Line2D([], [], linestyle="", label=label, marker=marker, markersize=size, color=color,
               markeredgecolor=color if marker != "o" else 0.45 * color + 0.1)
        for label, marker, size, color in marks
    ]  # fmt: skip
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False,
              ncol=7, handletextpad=0.2, columnspacing=1.4, fontsize=11)  # fmt: skip

"""What a data set holds: fields, compositions, distributions, duplicates, distances."""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from schnetgeo.data.copies import exact_copies
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import element_counts, fit_normalization, formula
from schnetgeo.data.structure import GRAPH, PER_ATOM
from schnetgeo.errors import InputError

UNITS = {
    "pos": "Å",
    "cell": "Å",
    "energy": "eV",
    "free_energy": "eV",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    "charges": "e",
    "initial_charges": "e",
    "masses": "u",
}
MEANINGS = {
    "z": "atomic numbers",
    "pos": "positions",
    "cell": "lattice vectors, in rows",
    "pbc": "periodic directions",
    "energy": "energy, the label",
    "forces": "forces on the atoms, the label",
    "stress": "stress, ∂E/∂strain per volume",
}
_BINS = 1000
_MAX_Z = 119


class Field(NamedTuple):
    """One attribute of the structures."""

    name: str
    per: str  # "atom" or "structure"
    shape: list[int]  # of one atom's or structure's
    type: str
    unit: str | None
    meaning: str | None


class Normal(NamedTuple):
    """A normal distribution with this share of the data."""

    mean: float
    std: float
    share: float = 1.0


class Distribution(NamedTuple):
    """Numbers, as a histogram and as normal distributions fitted to it."""

    count: int
    mean: float
    std: float
    lowest: float
    highest: float
    normal: Normal
    pair: tuple[Normal, Normal]
    bic_gain: float  # what the pair gains over one normal; above 10 it is the better description
    edges: np.ndarray  # of the bins
    counts: np.ndarray


def fields(dataset: StructureDataset, units: dict[str, str] | None = None) -> list[Field]:
    """The attributes that structures carry; units that are not known here are left open."""
    units = UNITS | (units or {})
    result = []
    for key in sorted(dataset.packed.keys()):
        value = dataset.packed[key]
        if key == "ptr" or key in GRAPH:
            continue
        per = "atom" if key in PER_ATOM else "structure"
        tensor = torch.is_tensor(value)
        shape = list(value.shape[1:]) if tensor else []
        kind = str(value.dtype).removeprefix("torch.") if tensor else "text"
        result.append(Field(key, per, shape, kind, units.get(key), MEANINGS.get(key)))
    return sorted(result, key=lambda field: field.per != "atom")


def formulas(dataset: StructureDataset) -> Counter[str]:
    """How many structures have each composition, such as C2H6O, in the order of Hill."""
    counts = Counter()
    for block in dataset.iter_chunks():
        rows, count = element_counts(block, _MAX_Z).unique(dim=0, return_counts=True)
        for row, number in zip(rows, count.tolist(), strict=True):
            counts[formula(dict(enumerate(row.tolist())))] += number
    return counts


def elements(dataset: StructureDataset) -> dict[str, int]:
    """How many atoms of each element there are."""
    total = sum(element_counts(block, _MAX_Z).sum(0) for block in dataset.iter_chunks())
    return {chemical_symbols[z]: int(total[z]) for z in total.nonzero().flatten().tolist()}


def distribution(
    dataset: StructureDataset, field: str, bins: int = _BINS, component: int | None = None
) -> Distribution:
    """Of the energies, or of one or all components of another attribute, in two passes.

    Energies of different compositions differ by what their atoms contribute; where there are
    several, `field` "residual" is the energy less a least-squares energy for each element.

    Raises:
        InputError: if no structure has the attribute.
    """
    values = _reader(dataset, field, component)
    blocks = [block for block in dataset.iter_chunks() if len(block)]
    moments = [_moments(values(block)) for block in blocks]
    count, total = sum(m[0] for m in moments), sum(m[1] for m in moments)
    if not count:
        raise InputError(f"{dataset.name}: no structure has {field}; choose another field")
    mean = total / count
    low, high = min(m[2] for m in moments), max(m[3] for m in moments)
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    squares, counts = 0.0, np.zeros(bins, np.int64)
    for block in blocks:
        numbers = values(block)
        squares += float(((numbers - mean) ** 2).sum())
        counts += np.histogram(numbers, edges)[0]
    std = math.sqrt(squares / count)
    centers = (edges[1:] + edges[:-1]) / 2
    normal = Normal(mean, std)
    pair = _fit_pair(centers, counts, normal, edges[1] - edges[0])
    gain = 2 * (_likelihood(centers, counts, pair) - _likelihood(centers, counts, (normal,)))
    gain -= 3 * math.log(count)  # for three more numbers
    return Distribution(count, mean, std, low, high, normal, pair, gain, edges, counts)


def _reader(dataset: StructureDataset, field: str, component: int | None = None):
    if component is not None:
        return lambda block: (
            block.get_property(field)[block.mask(field), component].double().numpy()
        )
    if field != "residual":
        return lambda block: (
            block.get_property(field)[block.mask(field)].double().numpy().reshape(-1)
        )
    references = fit_normalization(dataset, _MAX_Z).atomic_references

    def residual(block: StructureDataset) -> np.ndarray:
        counts = element_counts(block, _MAX_Z).double()
        return (block.get_property("energy") - counts @ references)[block.mask("energy")].numpy()

    return residual


def _moments(numbers: np.ndarray) -> tuple[int, float, float, float]:
    low, high = float(numbers.min(initial=math.inf)), float(numbers.max(initial=-math.inf))
    return numbers.size, float(numbers.sum()), low, high


def _density(x: np.ndarray, normal: Normal) -> np.ndarray:
    scaled = (x - normal.mean) / normal.std
    return normal.share * np.exp(-(scaled**2) / 2) / (normal.std * math.sqrt(2 * math.pi))


def _likelihood(x: np.ndarray, counts: np.ndarray, parts: tuple[Normal, ...]) -> float:
    if any(part.std == 0 for part in parts):
        return 0.0
    density = sum(_density(x, part) for part in parts)
    return float((counts * np.log(np.maximum(density, 1e-300))).sum())


def _fit_pair(
    x: np.ndarray, counts: np.ndarray, normal: Normal, least: float, steps: int = 500
) -> tuple[Normal, Normal]:
    """Expectation maximization on a histogram, from apart and from around each other.

    No normal becomes narrower than a bin, which would fit a single number.
    """
    if normal.std == 0:
        return normal._replace(share=0.5), normal._replace(share=0.5)
    starts = [
        (Normal(normal.mean - normal.std, normal.std / 2, 0.5),
         Normal(normal.mean + normal.std, normal.std / 2, 0.5)),
        (Normal(normal.mean, normal.std / 2, 0.5), Normal(normal.mean, 1.5 * normal.std, 0.5)),
    ]  # fmt: skip
    fits = []
    for pair in starts:
        for _ in range(steps):
            density = np.array([_density(x, part) for part in pair]) + 1e-300
            weights = counts * density / density.sum(0)
            pair = tuple(_weighted(x, w, counts.sum(), least) for w in weights)
        fits.append(pair)
    best = max(fits, key=lambda pair: _likelihood(x, counts, pair))
    return tuple(sorted(best))


def _weighted(x: np.ndarray, weights: np.ndarray, total: int, least: float) -> Normal:
    total_weight = weights.sum()
    mean = (weights * x).sum() / total_weight
    std = math.sqrt((weights * (x - mean) ** 2).sum() / total_weight)
    return Normal(float(mean), float(max(std, least)), float(total_weight / total))


class Geometry(NamedTuple):
    """Distances within structures, and structures that are alike."""

    shortest: float | None  # Å, between two atoms of one structure, images left out
    longest: float | None  # Å
    exact_copies: int  # structures whose atoms are at the same places as those of an earlier one
    alike: int  # groups of structures that are copies, rotated, permuted, or mirror images


def geometry(dataset: StructureDataset) -> Geometry:
    """Distances and duplicates; of periodic structures without the images of atoms.

    Structures are alike if they have one composition, cells of one shape, and Σ Z_i Z_j / d_ij^p
    agree for p = 1, 2, 3 to 1e-6: numbers that rotating, permuting and mirroring do not change.
    """
    marks = []
    shortest, longest = math.inf, 0.0
    for block in dataset.iter_chunks():
        pos, z = block.get_property("pos").double(), block.get_property("z")
        sizes = block.num_atoms
        ends = sizes.cumsum(0)
        mark = torch.zeros(len(block), 11, dtype=torch.float64)
        for size in sizes.unique().tolist():
            chosen = (sizes == size).nonzero().flatten()
            for part in chosen.split(max(1, 2**22 // size**2)):
                rows = (ends[part] - size).unsqueeze(1) + torch.arange(size)
                near, far, mark[part, 1:4] = _pairs(pos[rows], z[rows])
                shortest, longest = min(shortest, near), max(longest, far)
        if block.has_property("cell") and block.has_property("pbc"):
            mark[:, 4:] = _lattice(block)
        rows = element_counts(block, _MAX_Z).numpy()
        mark[:, 0] = torch.tensor([hash(row.tobytes()) % 2**48 for row in rows])
        marks.append(mark)
    lone = math.isinf(shortest)
    return Geometry(
        None if lone else shortest,
        None if lone else longest,
        exact_copies(dataset),
        _groups(torch.cat(marks)),
    )


def _pairs(pos: Tensor, z: Tensor) -> tuple[float, float, Tensor]:
    """Shortest and longest distance (Å), and Σ Z_i Z_j / d_ij^p of each structure, (B, 3)."""
    i, j = torch.triu_indices(pos.size(1), pos.size(1), offset=1)
    if not i.numel():
        return math.inf, 0.0, torch.zeros(len(pos), 3, dtype=torch.float64)
    distance = torch.linalg.vector_norm(pos[:, i] - pos[:, j], dim=2)
    charge = (z[:, i] * z[:, j]).double()
    sums = [(charge / distance**power).sum(1) for power in (1, 2, 3)]
    return float(distance.min()), float(distance.max()), torch.stack(sums, dim=1)


def _lattice(block: StructureDataset) -> Tensor:
    """Lengths (Å) of the periodic lattice vectors, 2 + cosines between them, their number, (B, 7).

    Rotating and mirroring a crystal does not change them.
    """
    cell = block.get_property("cell").double() * block.get_property("pbc").unsqueeze(2)
    products = cell @ cell.mT
    lengths = products.diagonal(dim1=1, dim2=2).sqrt()
    cosines = products / (lengths.unsqueeze(1) * lengths.unsqueeze(2)).clamp(min=1e-12)
    angles = torch.stack([cosines[:, 0, 1], cosines[:, 0, 2], cosines[:, 1, 2]], dim=1)
    return torch.cat([lengths, 2 + angles, block.get_property("pbc").sum(1, keepdim=True)], dim=1)


def _groups(marks: Tensor) -> int:
    """How many groups of two or more rows agree to 1e-6."""
    marks = marks.numpy()
    marks = marks[np.lexsort((marks[:, 4], marks[:, 1], marks[:, 0]))]
    scale = np.maximum(np.abs(marks[1:]), 1e-12)
    same = (np.abs(np.diff(marks, axis=0)) <= 1e-6 * scale).all(1)
    starts = np.diff(np.concatenate([[False], same]).astype(int)) == 1
    return int(starts.sum())

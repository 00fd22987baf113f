"""Histogram of a field of a data set, and normal distributions fitted to it."""

import math
from typing import NamedTuple

import numpy as np

from schnetgeo.data.normal_mixture import Normal, fit_mixture, log_likelihood
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import element_counts, fit_normalization
from schnetgeo.data.structure import MAX_Z
from schnetgeo.errors import InputError

_BINS = 1000


class Distribution(NamedTuple):
    """Numbers, as a histogram and as normal distributions fitted to it."""

    count: int
    mean: float
    std: float
    lowest: float
    highest: float
    normal: Normal
    mixture: tuple[Normal, Normal]
    bic_gain: float  # what the mixture gains over one normal; above 10 it is the better description
    edges: np.ndarray  # of the bins
    counts: np.ndarray


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
    pair = fit_mixture(centers, counts, normal, edges[1] - edges[0])
    gain = 2 * (log_likelihood(centers, counts, pair) - log_likelihood(centers, counts, (normal,)))
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
    references = fit_normalization(dataset, MAX_Z).atomic_references

    def residual(block: StructureDataset) -> np.ndarray:
        counts = element_counts(block, MAX_Z).double()
        return (block.get_property("energy") - counts @ references)[block.mask("energy")].numpy()

    return residual


def _moments(numbers: np.ndarray) -> tuple[int, float, float, float]:
    low, high = float(numbers.min(initial=math.inf)), float(numbers.max(initial=-math.inf))
    return numbers.size, float(numbers.sum()), low, high

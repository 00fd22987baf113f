"""Uniform knots, where filter networks run instead of on every edge."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from schnetgeo.errors import InputError

_MAX_KNOTS = 1_000_000
_ALIGNMENT = 16  # knots; ranges of few lengths let memory of one batch serve another
_RELATIVE_SPACING = 0.08  # of the basis's length scale
_SAMPLES = (2**13, 2**17)  # of the basis up to the cutoff: the second where the first are too few
_SAMPLES_PER_LENGTH = 32
_LOWEST_PEAK = 0.1  # of the tallest function; a function below counts as if it were as tall


class Knots:
    """The knots r_m = m h of the filters W(r) = Σ_q B_q(t) c_{k+q}, with c as in `ops.bspline`.

    They are multiples of the spacing whatever their range, so that a filter does not depend on the
    other edges of a batch. The cutoff function stays outside: it has a kink in its second
    derivative at the cutoff, which a spline would smear. Values err as h⁴, derivatives as h³.

    Args:
        basis: functions e(r), (E,) to (E, K), smooth for all r.
        cutoff: r_c in Å.
        spacing: h in Å; `None` is 0.08 of the basis's `length_scale`, which leaves 3e-5 relative in
            the forces of real molecules.

    Raises:
        InputError: for a spacing that is not positive, exceeds the cutoff, or is far too small; and
            for a basis that is not finite from a little below 0 to a little beyond the cutoff.
    """

    def __init__(self, basis: nn.Module, cutoff: float, spacing: float | None = None):
        if spacing is None:
            spacing = float(f"{_RELATIVE_SPACING * length_scale(basis, cutoff):.3g}")
        if not 0 < spacing <= cutoff:
            raise InputError(f"spacing must lie in 0 … cutoff = {cutoff} Å, got {spacing}")
        if cutoff / spacing > _MAX_KNOTS:
            raise InputError(
                f"a spacing of {spacing} Å makes {cutoff / spacing:.3g} knots up to the cutoff, "
                f"more than {_MAX_KNOTS:,}; raise spacing, or take a basis of wider functions"
            )
        self.basis, self.cutoff, self.spacing = basis, cutoff, spacing
        self._cache_key: tuple | None = None
        self._cached: Tensor
        self._check_ends()

    def range(self, distance: Float[Tensor, "E"]) -> range:
        """Numbers m of the coefficients that the distances below the cutoff need."""
        first, last = 0, math.floor(self.cutoff / self.spacing)
        if distance.device.type == "cpu" and distance.numel():  # a GPU would have to be waited for
            low, high = distance.detach().aminmax()
            first = min(math.floor(float(low) / self.spacing), last)
            last = min(math.floor(float(high) / self.spacing), last)
        first, last = first // _ALIGNMENT * _ALIGNMENT, -(-(last + 1) // _ALIGNMENT) * _ALIGNMENT
        return range(first - 1, last + 2)

    def samples(self, coefficients: range, like: Tensor) -> Float[Tensor, "M+2 K"]:
        """Basis functions on the knots of these coefficients and on one more at each end.

        Computed once, unless parameters of the basis are trained: then gradients flow to them.
        """
        full = self.range(like.new_empty(0))
        start = coefficients.start - full.start
        rows = slice(start, start + len(coefficients) + 2)
        if any(parameter.requires_grad for parameter in self.basis.parameters()):
            return self._evaluate(full)[rows].to(like)
        key = like.dtype, like.device, *_versions(self.basis)
        if self._cache_key != key:
            with torch.inference_mode(False), torch.no_grad():  # training may need them next
                self._cache_key, self._cached = key, self._evaluate(full).to(like)
        return self._cached[rows]

    def _evaluate(self, coefficients: range) -> Float[Tensor, "M+2 K"]:
        numbers = torch.arange(coefficients.start - 1, coefficients.stop + 1, dtype=torch.float64)
        return _in_double(self.basis, numbers * self.spacing)

    def _check_ends(self) -> None:
        full = self.range(torch.empty(0))
        last = max(full.start, full.stop - 2 * _ALIGNMENT)
        for part in (range(full.start, 2), range(last, full.stop)):
            numbers = torch.arange(part.start - 1, part.stop + 1, dtype=torch.float64)
            _finite_samples(self.basis, numbers * self.spacing)


def length_scale(basis: nn.Module, cutoff: float) -> float:
    """min_k √(max |e_k| / max |e_k″|) over 0 … cutoff, Å: σ for Gaussians exp(−(r − μ)² / 2σ²).

    Args:
        basis: functions e(r), (E,) to (E, K).
        cutoff: r_c in Å.

    Raises:
        InputError: if all functions are 0, or one is not finite.
    """
    for intervals in _SAMPLES:
        step = cutoff / intervals
        length = _sampled_length_scale(basis, intervals, step)
        if _SAMPLES_PER_LENGTH * step <= length <= cutoff:
            break
    if not length < math.inf:
        raise InputError("basis is 0 at all distances up to the cutoff; take wider functions")
    return min(length, cutoff)


@torch.no_grad()
def _sampled_length_scale(basis: nn.Module, intervals: int, step: float) -> float:
    """Second differences in parts, so that memory does not grow with the number of intervals."""
    peak = bend = torch.zeros(())
    for start in range(0, intervals, _SAMPLES[0]):
        numbers = torch.arange(start, start + _SAMPLES[0] + 1, dtype=torch.float64)
        e = _finite_samples(basis, numbers * step)
        peak = torch.maximum(peak, e.abs().amax(0))
        bend = torch.maximum(bend, (e[2:] - 2 * e[1:-1] + e[:-2]).abs().amax(0) / step**2)
    if not peak.any():
        return math.inf
    length = (peak.clamp(min=_LOWEST_PEAK * float(peak.max())) / bend).sqrt()
    return float(length.min())


@torch.no_grad()
def _finite_samples(basis: nn.Module, distance: Float[Tensor, "E"]) -> Float[Tensor, "E K"]:
    e = _in_double(basis, distance)
    finite = e.isfinite().all(dim=1)
    if not finite.all():
        r = float(distance[int(finite.long().argmin())])
        raise InputError(
            f"basis is not finite at r = {r:.4g} Å, where a spline of the filters needs it; "
            "continue the functions smoothly, or take filters='exact'"
        )
    return e


def _in_double(basis: nn.Module, distance: Float[Tensor, "E"]) -> Float[Tensor, "E K"]:
    """Basis functions in float64, whatever the type of the parameters."""
    tensors = dict(basis.named_parameters()) | dict(basis.named_buffers())
    device = next((tensor.device for tensor in tensors.values()), distance.device)
    double = {k: t.double() for k, t in tensors.items() if t.is_floating_point()}
    return torch.func.functional_call(basis, double, (distance.to(device),))


def _versions(basis: nn.Module) -> tuple:
    """What changes when a parameter or buffer is replaced or written to."""
    tensors = (*basis.parameters(), *basis.buffers())
    return tuple((id(t), None if t.is_inference() else t._version) for t in tensors)

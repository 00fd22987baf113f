"""Where the edges of each atom begin, compiled."""

import numpy as np

from schnetgeo.ops.jit import allocating


@allocating
def first_edges(source, target, reverse, shift, atoms):
    """Where each atom's edges begin; −1 first if edges are not sorted, or not symmetric."""
    out = np.zeros(atoms + 1, np.int64)
    edges, last = target.shape[0], 0
    if shift.shape[0] not in (0, edges):
        out[0] = -1
        return out
    for e in range(edges):
        i, back = target[e], reverse[e] if e < reverse.shape[0] else -1
        inside = 0 <= back < min(edges, reverse.shape[0]) and last <= i < atoms
        if (
            not inside
            or back == e
            or reverse[back] != e
            or source[back] != i
            or target[back] != source[e]
        ):
            out[0] = -1
            return out
        if shift.shape[0]:
            for k in range(3):
                if shift[back, k] != -shift[e, k]:
                    out[0] = -1
                    return out
        out[i + 1] += 1
        last = i
    for i in range(atoms):
        out[i + 1] += out[i]
    return out

"""Convolutions of vector features, and those whose filters carry the unit vector of the edge.

As in `edge_kernels`, both edges of a pair are worked on at its first edge; the unit vector of the
other edge is the opposite one. Features are (n, 1, F) or (n, 3, F).
"""

from schnetgeo.engine.numba.edge_kernels import add_to_table
from schnetgeo.engine.program import Direction
from schnetgeo.ops.jit import inner, standalone

NONE, GRADIENT, DIVERGENCE = (int(direction) for direction in Direction)


@inner
def transposed(direction):
    """Direction and sign of the convolution that is the transpose of one."""
    if direction == NONE:
        return NONE, 1
    return (DIVERGENCE if direction == GRADIENT else GRADIENT), -1


@inner
def _interpolate(table, k, w, factor, out):
    """Write factor · Σ_q w_q c_{k+q}."""
    w0, w1, w2, w3 = factor * w[0], factor * w[1], factor * w[2], factor * w[3]
    c0, c1, c2, c3 = table[k], table[k + 1], table[k + 2], table[k + 3]
    for f in range(out.shape[0]):
        out[f] = w0 * c0[f] + w1 * c1[f] + w2 * c2[f] + w3 * c3[f]


@inner
def _add_pair(filter, factor, x_i, x_j, out_i, out_j, sign):
    """Add factor · filter ⊙ x_j to out_i, and sign times that of x_i to out_j."""
    back = sign * factor
    for f in range(filter.shape[0]):
        out_i[f] += factor * filter[f] * x_j[f]
        out_j[f] += back * filter[f] * x_i[f]


@standalone
def _apply(direction, filter, unit, sign, x_i, x_j, out_i, out_j):
    """Add what one pair of edges gives for one filter; for unit vectors the other edge's is −u."""
    one = filter.dtype.type(1)
    if direction == NONE:
        for c in range(x_i.shape[0]):
            _add_pair(filter, one, x_i[c], x_j[c], out_i[c], out_j[c], one)
    elif direction == GRADIENT:
        for c in range(3):
            _add_pair(filter, sign * unit[c], x_i[0], x_j[0], out_i[c], out_j[c], -one)
    else:
        for c in range(3):
            _add_pair(filter, sign * unit[c], x_i[c], x_j[c], out_i[0], out_j[0], -one)


@standalone
def vector_conv(direction, sign, x, table, edges, atoms, rows, out):
    """Add sign · Σ_{e: j→i} W(r_e) x_j to out_i, as `Direction` says. `rows` is (2, F)."""
    begin, end = atoms
    filter, sign = rows[0], x.dtype.type(sign)
    for i in range(begin, end):
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j = edges.source[e] - begin
            _interpolate(table, edges.interval[e], edges.weights[e], x.dtype.type(1), filter)
            _apply(
                direction, filter, edges.unit[e], sign, x[i - begin], x[j], out[i - begin], out[j]
            )


@standalone
def vector_conv_tangent(direction, sign, x, dx, table, edges, dr, du, atoms, rows, out):
    """Add the tangent of `vector_conv` for ẋ, ṙ_e = dr and u̇_e = du."""
    begin, end = atoms
    filter, derivative, sign = rows[0], rows[1], x.dtype.type(sign)
    for i in range(begin, end):
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j, k = edges.source[e] - begin, edges.interval[e]
            x_i, x_j, out_i, out_j = x[i - begin], x[j], out[i - begin], out[j]
            _interpolate(table, k, edges.weights[e], x.dtype.type(1), filter)
            _interpolate(table, k, edges.derivatives[e], dr[e], derivative)
            unit = edges.unit[e]
            _apply(direction, filter, unit, sign, dx[i - begin], dx[j], out_i, out_j)
            _apply(direction, derivative, unit, sign, x_i, x_j, out_i, out_j)
            if direction != NONE:
                _apply(direction, filter, du[e], sign, x_i, x_j, out_i, out_j)


@inner
def _pair_product(x_i, x_j, y_i, y_j, factor, sign, out):
    """Add factor · (x_j ⊙ y_i + sign · x_i ⊙ y_j)."""
    back = factor * sign
    for f in range(out.shape[0]):
        out[f] += factor * (x_j[f] * y_i[f]) + back * (x_i[f] * y_j[f])


@standalone
def _pair_gradient(direction, unit, x_i, x_j, y_i, y_j, out):
    """Add what the filter of a pair is multiplied by in Σ ⟨y, conv(x)⟩."""
    one = out.dtype.type(1)
    if direction == NONE:
        for c in range(x_i.shape[0]):
            _pair_product(x_i[c], x_j[c], y_i[c], y_j[c], one, one, out)
    elif direction == GRADIENT:
        for c in range(3):
            _pair_product(x_i[0], x_j[0], y_i[c], y_j[c], unit[c], -one, out)
    else:
        for c in range(3):
            _pair_product(x_i[c], x_j[c], y_i[0], y_j[0], unit[c], -one, out)


@inner
def _product_sum(filter, x_i, x_j, y_i, y_j):
    """Σ_f W_f (x_j y_i − x_i y_j)."""
    total = filter.dtype.type(0)
    for f in range(filter.shape[0]):
        total += filter[f] * (x_j[f] * y_i[f] - x_i[f] * y_j[f])
    return total


@standalone
def vector_edge_gradient(direction, x, adjoint, table, edges, atoms, rows, radial, angular):
    """Add ∂/∂r_e and ∂/∂u_e of Σ ⟨a, conv(x)⟩ to the first edge of each pair."""
    begin, end = atoms
    filter, pair = rows[0], rows[1]
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for i in range(begin, end):
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j, k = edges.source[e] - begin, edges.interval[e]
            x_i, x_j, a_i, a_j = x[i - begin], x[j], adjoint[i - begin], adjoint[j]
            for f in range(pair.shape[0]):
                pair[f] = 0
            _pair_gradient(direction, edges.unit[e], x_i, x_j, a_i, a_j, pair)
            _interpolate(table, k, edges.derivatives[e], one, filter)
            total = zero
            for f in range(pair.shape[0]):
                total += pair[f] * filter[f]
            radial[e] += total
            if direction == NONE:
                continue
            _interpolate(table, k, edges.weights[e], one, filter)
            for c in range(3):
                if direction == GRADIENT:
                    angular[e, c] += _product_sum(filter, x_i[0], x_j[0], a_i[c], a_j[c])
                else:
                    angular[e, c] += _product_sum(filter, x_i[c], x_j[c], a_i[0], a_j[0])


@standalone
def vector_table_gradient(
    direction, x, dx, adjoint, gradient, edges, dr, du, with_tangents, atoms, rows, out
):
    """Add Σ_e w_eq (x_j b_i + ẋ_j a_i) + ẇ_eq x_j a_i to the rows k_e + q of the table."""
    begin, end = atoms
    pair, tangent = rows[0], rows[1]
    for i in range(begin, end):
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j, unit, n = edges.source[e] - begin, edges.unit[e], i - begin
            for f in range(pair.shape[0]):
                pair[f] = 0
                tangent[f] = 0
            _pair_gradient(direction, unit, x[n], x[j], gradient[n], gradient[j], pair)
            t = out.dtype.type(0)
            if with_tangents:
                t = dr[e]
                _pair_gradient(direction, unit, dx[n], dx[j], adjoint[n], adjoint[j], pair)
                _pair_gradient(direction, unit, x[n], x[j], adjoint[n], adjoint[j], tangent)
                if direction != NONE:
                    _pair_gradient(direction, du[e], x[n], x[j], adjoint[n], adjoint[j], pair)
            add_to_table(pair, tangent, edges, e, t, out)

"""A tile of a matrix product whose sums stay in the processor's registers, written for LLVM.

Loops over arrays cannot say that: compilers write every partial sum to memory and read it again.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable


def _registers() -> tuple[int, int]:
    """Bytes of a vector register, and how many vectors a row of a tile has."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 4
    if features.get("avx2"):
        return 32, 2
    return 16, 4 if features.get("neon") else 2


_BYTES, VECTORS = _registers()
ROWS = 6  # of a tile: with its vectors, those of b and a number of a, all registers are in use


@register_jitable
def lanes(itemsize):
    """Numbers in a vector."""
    return _BYTES // itemsize


@intrinsic(prefer_literal=True)
def add_tile(typing, a, b, out, row, column, rows, vectors, turned):
    """Add Σ_k a[r, k] b[k, c] to out[r, c], for some rows from `row` and vectors from `column` on.

    The last three arguments are literal numbers; with `turned`, a[k, r] stands for a[r, k]. Numbers
    of a row of b and of out lie side by side.
    """
    literal = [getattr(t, "literal_value", None) for t in (rows, vectors, turned)]
    if None in literal:
        return None
    signature = types.void(a, b, out, row, column, rows, vectors, turned)

    def generate(context, builder, signature, arguments):
        arrays = zip(signature.args[:3], arguments[:3], strict=True)
        views = [context.make_array(kind)(context, builder, value) for kind, value in arrays]
        number = context.get_data_type(signature.args[2].dtype)
        _Tile(builder, number, context.get_abi_sizeof(number)).add(
            *views, *arguments[3:5], *literal
        )
        return context.get_dummy_value()

    return signature, generate


class _Tile:
    """The instructions of `add_tile` for one type of numbers."""

    def __init__(self, builder: ir.IRBuilder, number: ir.Type, size: int):
        self.builder, self.number, self.size = builder, number, size
        self.vector = ir.VectorType(number, lanes(size))
        self.mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes(size)), None)

    def add(self, a, b, out, row, column, rows: int, vectors: int, turned: int) -> None:
        """Load the sums, add one product of a column and a row after the other, store the sums."""
        builder, places = self.builder, [(r, v) for r in range(rows) for v in range(vectors)]
        kept = [builder.add(row, ir.Constant(row.type, r)) for r in range(rows)]
        begin = [self.address(out, r, column) for r in kept]
        sums = {place: cgutils.alloca_once(builder, self.vector) for place in places}
        for r, v in places:
            builder.store(self.load(begin[r], v), sums[r, v])
        (depth, _) = cgutils.unpack_tuple(builder, b.shape)
        with cgutils.for_range(builder, depth) as loop:
            start = self.address(b, loop.index, column)
            factors = [self.load(start, v) for v in range(vectors)]
            for r in range(rows):
                place = (loop.index, kept[r]) if turned else (kept[r], loop.index)
                totals = [sums[r, v] for v in range(vectors)]
                self.accumulate(self.address(a, *place), factors, totals)
        for r, v in places:
            builder.store(builder.load(sums[r, v]), self.pointer(begin[r], v), align=self.size)

    def accumulate(self, address, factors: list, sums: list) -> None:
        """Add the number at an address times each of the vectors."""
        builder, nothing = self.builder, ir.Constant(self.vector, ir.Undefined)
        number = builder.load(builder.bitcast(address, self.number.as_pointer()))
        first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
        everywhere = builder.shuffle_vector(first, nothing, self.mask)
        for factor, total in zip(factors, sums, strict=True):
            product = builder.fmul(everywhere, factor, flags=("contract",))
            new = builder.fadd(builder.load(total), product, flags=("contract",))
            builder.store(new, total)

    def address(self, array, row, column):
        """Of one number, in bytes."""
        steps = cgutils.unpack_tuple(self.builder, array.strides)
        parts = [self.builder.mul(k, step) for k, step in zip((row, column), steps, strict=True)]
        data = self.builder.bitcast(array.data, ir.IntType(8).as_pointer())
        return self.builder.gep(data, [self.builder.add(*parts)])

    def pointer(self, address, vector: int):
        """To one of the vectors that begin at an address."""
        moved = self.builder.gep(address, [ir.Constant(ir.IntType(64), vector * _BYTES)])
        return self.builder.bitcast(moved, self.vector.as_pointer())

    def load(self, address, vector: int):
        return self.builder.load(self.pointer(address, vector), align=self.size)

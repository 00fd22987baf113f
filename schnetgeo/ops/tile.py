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
ROWS = 6  # of a tile, whose sums, vectors of b and one number of a then fill the registers


@register_jitable
def lanes(itemsize):
    """Numbers in a vector."""
    return _BYTES // itemsize


@intrinsic(prefer_literal=True)
def add_tile(typing, a, b, out, row, column, rows, vectors):
    """Add Σ_k a[r, k] b[k, c] to out[r, c], for some rows from `row` and vectors from `column` on.

    The last two arguments are literal numbers. Numbers of a row of b and of out lie side by side;
    a may be the transpose of an array.
    """
    shape = [getattr(t, "literal_value", None) for t in (rows, vectors)]
    if None in shape:
        return None
    signature = types.void(a, b, out, row, column, rows, vectors)

    def generate(context, builder, signature, arguments):
        kinds, (row, column) = signature.args[:3], arguments[3:5]
        a, b, out = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(kinds, arguments[:3], strict=True)
        )
        number = context.get_data_type(kinds[2].dtype)
        size = context.get_abi_sizeof(number)
        step = ir.Constant(row.type, size)
        by_row, by_k = cgutils.unpack_tuple(builder, a.strides)
        lines = [cgutils.unpack_tuple(builder, array.strides)[0] for array in (b, out)]
        starts = [
            _moved(builder, a.data, builder.mul(row, by_row)),
            _moved(builder, b.data, builder.mul(column, step)),
            _moved(builder, out.data, builder.mul(row, lines[1]), builder.mul(column, step)),
        ]
        depth = cgutils.unpack_tuple(builder, b.shape)[0]
        tile = _tile(builder.module, number, size, *shape)
        builder.call(tile, [*starts, by_row, by_k, *lines, depth])
        return context.get_dummy_value()

    return signature, generate


def _tile(module: ir.Module, number: ir.Type, size: int, rows: int, vectors: int) -> ir.Function:
    """The function that adds a tile, once in a module: inlined, it would be compiled everywhere."""
    address, word = ir.IntType(8).as_pointer(), ir.IntType(64)
    kind = ir.FunctionType(ir.VoidType(), [address] * 3 + [word] * 5)
    function = cgutils.get_or_insert_function(module, kind, f"add_{number}_{rows}_{vectors}")
    if function.blocks:
        return function
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    a, b, out, a_by_row, a_by_k, b_by_k, out_by_row, depth = function.args
    places = [(r, v) for r in range(rows) for v in range(vectors)]
    vector = ir.VectorType(number, lanes(size))
    a_rows, out_rows = (
        [_moved(builder, start, builder.mul(ir.Constant(word, r), by_row)) for r in range(rows)]
        for start, by_row in ((a, a_by_row), (out, out_by_row))
    )
    sums = {place: cgutils.alloca_once(builder, vector) for place in places}  # become registers
    targets = {(r, v): _vector(builder, out_rows[r], v, vector) for r, v in places}
    for place in places:
        builder.store(builder.load(targets[place], align=size), sums[place])
    with cgutils.for_range(builder, depth) as loop:
        b_row = _moved(builder, b, builder.mul(loop.index, b_by_k))
        factors = [
            builder.load(_vector(builder, b_row, v, vector), align=size) for v in range(vectors)
        ]
        for r in range(rows):
            start = _moved(builder, a_rows[r], builder.mul(loop.index, a_by_k))
            value = builder.load(builder.bitcast(start, number.as_pointer()))
            everywhere = _everywhere(builder, value, vector)
            for v in range(vectors):
                product = builder.fmul(everywhere, factors[v], flags=("contract",))
                total = builder.fadd(builder.load(sums[r, v]), product, flags=("contract",))
                builder.store(total, sums[r, v])
    for place in places:
        builder.store(builder.load(sums[place]), targets[place], align=size)
    builder.ret_void()
    return function


def _moved(builder: ir.IRBuilder, address, *steps):
    """An address so many bytes further."""
    address = builder.bitcast(address, ir.IntType(8).as_pointer())
    for step in steps:
        address = builder.gep(address, [step])
    return address


def _vector(builder: ir.IRBuilder, address, index: int, vector: ir.VectorType):
    """A pointer to one of the vectors that begin at an address."""
    start = _moved(builder, address, ir.Constant(ir.IntType(64), index * _BYTES))
    return builder.bitcast(start, vector.as_pointer())


def _everywhere(builder: ir.IRBuilder, value, vector: ir.VectorType):
    """A vector of one number."""
    nothing, word = ir.Constant(vector, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(nothing, value, ir.Constant(word, 0))
    mask = ir.Constant(ir.VectorType(word, vector.count), None)
    return builder.shuffle_vector(first, nothing, mask)

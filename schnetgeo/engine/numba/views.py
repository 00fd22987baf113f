"""Parts of an array as arrays of other shapes, without the checks that take long to compile."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def view(typing, memory, start, shape):
    """The numbers of a contiguous array (L,) from `start` on, as an array of a shape, a tuple.

    Nothing is checked, and the view does not keep the memory alive.
    """
    kind = types.Array(memory.dtype, len(shape), "C")

    def generate(context, builder, signature, arguments):
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        word = context.get_value_type(types.intp)
        size = context.get_abi_sizeof(context.get_data_type(memory.dtype))
        first = context.cast(builder, arguments[1], signature.args[1], types.intp)
        lengths = [
            context.cast(builder, value, integer, types.intp)
            for value, integer in zip(
                cgutils.unpack_tuple(builder, arguments[2]), signature.args[2], strict=True
            )
        ]
        strides, step = [], ir.Constant(word, size)
        for length in reversed(lengths):
            strides.insert(0, step)
            step = builder.mul(step, length)
        result = context.make_array(kind)(context, builder)
        context.populate_array(
            result,
            data=builder.gep(source.data, [first]),
            shape=cgutils.pack_array(builder, lengths),
            strides=cgutils.pack_array(builder, strides),
            itemsize=ir.Constant(word, size),
            meminfo=None,
        )
        return result._getvalue()

    return kind(memory, start, shape), generate

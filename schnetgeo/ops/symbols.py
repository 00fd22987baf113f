"""Calls from one compiled function to another that do not compile the other one again.

Numba links what a function calls into it, and optimizes the whole again at every level of calls.
Here the caller knows nothing of the other function but a symbol, whose address is given to the
linker before the caller is loaded.
"""

import copy
import hashlib
from collections.abc import Callable
from typing import NamedTuple

import llvmlite.binding
from numba import types
from numba.core import cgutils
from numba.core.codegen import CPUCodeLibrary
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic


class Symbol(NamedTuple):
    """A function for arguments of certain types, in a form that a cache can keep."""

    function: str  # dotted path
    arguments: tuple[types.Type, ...]

    @property
    def name(self) -> str:
        """What the linker knows it by."""
        digest = hashlib.sha256(str(self.arguments).encode()).hexdigest()
        return f"{self.function}.{digest[:16]}"


_functions: dict[str, Dispatcher] = {}
_bound: dict[str, Symbol] = {}  # by name


def bind(symbol: Symbol) -> None:
    """Compile the function of a symbol, or load it, and tell the linker where it is."""
    kernel = _functions[symbol.function]
    kernel.compile(symbol.arguments)
    result = kernel.overloads[symbol.arguments]
    address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    llvmlite.binding.add_symbol(symbol.name, address)
    _bound[symbol.name] = symbol


def needed_by(library: CPUCodeLibrary) -> list[Symbol]:
    """The symbols that compiled code jumps to, its own and those of all that it contains."""
    functions = library._final_module.functions
    return [_bound[f.name] for f in functions if f.is_declaration and f.name in _bound]


def by_symbol(kernel: Dispatcher) -> Callable:
    """A function for use in kernels that stands for another one."""
    path = f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__}"
    _functions[path] = kernel

    @intrinsic
    def call(typing, *arguments):
        symbol = Symbol(path, arguments)
        bind(symbol)
        result = kernel.overloads[arguments]
        function = copy.copy(result.fndesc)
        function.mangled_name = symbol.name

        def generate(context, builder, signature, values):
            unpacked = cgutils.unpack_tuple(builder, values[0])
            return context.call_internal(builder, function, result.signature, unpacked)

        return result.signature.return_type(types.StarArgTuple(arguments)), generate

    return call

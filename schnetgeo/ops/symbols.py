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
_callers: list[tuple[object, list[Symbol]]] = []  # functions being compiled, the innermost last


def bind(symbol: Symbol) -> None:
    """Compile the function of a symbol, or load it, and tell the linker where it is."""
    kernel = _functions[symbol.function]
    kernel.compile(symbol.arguments)
    result = kernel.overloads[symbol.arguments]
    address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    llvmlite.binding.add_symbol(symbol.name, address)
    _add([symbol])


def begin(caller: object) -> None:
    """Begin to note which symbols a function needs."""
    _callers.append((caller, []))


def end(caller: object) -> list[Symbol]:
    """The symbols that the function needs, as does each function that contains it."""
    symbols: list[Symbol] = []
    while _callers:  # those whose compilation failed never come to their end
        last, symbols = _callers.pop()
        if last is caller:
            break
    _add(symbols)
    return symbols


def _add(symbols: list[Symbol]) -> None:
    if _callers:
        needed = _callers[-1][1]
        needed += [symbol for symbol in symbols if symbol not in needed]


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

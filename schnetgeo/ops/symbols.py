"""Calls from one compiled function to another that do not compile the other one again.

Numba links what a function calls into it, and optimizes the whole again at every level of calls.
Here the caller knows nothing of the other function but a symbol: the place in memory where its
address will be. So functions can be compiled in any order, after their callers too, and those that
are not expected to be called only when they are.
"""

import ctypes
import functools
import gc
import hashlib
import time
from collections.abc import Callable
from typing import NamedTuple

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import RETCODE_EXC
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

from schnetgeo.ops import claims


class Symbol(NamedTuple):
    """A function for arguments of certain types, in a form that a cache can keep."""

    function: str  # dotted path
    arguments: tuple[types.Type, ...]

    @property
    def name(self) -> str:
        """What the linker knows the place of its address by."""
        digest = hashlib.sha256(str(self.arguments).encode()).hexdigest()
        return f"{self.function}.{digest[:16]}"


_functions: dict[str, Dispatcher] = {}
_symbols: dict[str, Symbol] = {}  # by name
_addresses: dict[str, ctypes.c_void_p] = {}
_places: dict[int, Symbol] = {}  # by the place of the address
_waiting: list[Symbol] = []  # that callers know, and that are not compiled yet
_expected: dict[str, bool] = {}  # by function; those that are not there are
_compiling = False
_PATIENCE = 30.0  # s, for another process that compiles the last of them
_RESOLVER = "schnetgeo.compile_called"


def expect(calls: dict[str, bool]) -> None:
    """Say which functions, by dotted paths, will be called; others are compiled when they are."""
    for function, is_called in calls.items():
        _expected[function] = is_called or _expected.get(function, False)


def need(symbols: list[Symbol]) -> None:
    """Compile the functions of symbols and all that they call, or load them.

    Within a function that is being compiled for this very reason, it comes later.
    """
    _make_resolver()
    for symbol in symbols:
        if symbol.name not in _addresses:
            _symbols[symbol.name] = symbol
            address = _addresses[symbol.name] = ctypes.c_void_p()
            place = ctypes.addressof(address)
            _places[place] = symbol
            llvmlite.binding.add_symbol(symbol.name, place)
            if _expected.get(symbol.function, True):
                _waiting.append(symbol)
    if not _compiling:
        _compile_waiting()


@functools.cache
def _make_resolver() -> None:
    """Tell the linker what compiled code calls where an address is not there yet."""
    address = ctypes.cast(_compile_called, ctypes.c_void_p).value
    llvmlite.binding.add_symbol(_RESOLVER, address)


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _compile_called(place: int) -> None:
    with global_compiler_lock:
        symbol = _places[place]
        if not _addresses[symbol.name].value:
            _waiting.append(symbol)
            _compile_waiting()


def _compile_waiting() -> None:
    global _compiling
    _compiling, collects_garbage = True, gc.isenabled()
    gc.disable()  # to look for some among all objects of torch takes a tenth of the time
    try:
        while _waiting:
            symbol = _claimed()
            try:
                _addresses[symbol.name].value = _compile(symbol)
            finally:
                claims.release(symbol.name)
            _waiting.remove(symbol)
    finally:
        _compiling = False
        if collects_garbage:
            gc.enable()


def _claimed() -> Symbol:
    """The last that no other process is compiling."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        for symbol in reversed(_waiting):
            if claims.take(symbol.name):
                return symbol
        time.sleep(0.002)
    return _waiting[-1]


def _compile(symbol: Symbol) -> int:
    """The address of a function."""
    kernel = _functions[symbol.function]
    kernel.compile(symbol.arguments)
    result = kernel.overloads[symbol.arguments]
    if result.signature.return_type != types.none:
        raise TypeError(f"{symbol.function} must return nothing, but its callers know no results")
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name)


def is_compiled(symbol: Symbol) -> bool:
    """Whether a process has compiled a function and kept it."""
    kernel = _functions[symbol.function]
    return kernel._cache.holds(symbol.arguments, kernel.targetctx)


def needed_by(library: CPUCodeLibrary) -> list[Symbol]:
    """The symbols that compiled code jumps to, its own and those of all that it contains."""
    names = (variable.name for variable in library._final_module.global_variables)
    return [_symbols[name] for name in names if name in _symbols]


def by_symbol(kernel: Dispatcher) -> Callable:
    """A function for use in kernels that stands for another one, which returns nothing."""
    path = f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__}"
    _functions[path] = kernel

    @intrinsic
    def call(typing, *arguments):
        symbol = Symbol(path, arguments)
        need([symbol])

        def generate(context, builder, signature, values):
            values = cgutils.unpack_tuple(builder, values[0])
            convention = context.call_conv
            kind = convention.get_function_type(types.none, arguments)
            function = _function(builder, symbol.name, kind.as_pointer())
            status, _ = convention.call_function(builder, function, types.none, arguments, values)
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return context.get_dummy_value()

        return types.none(types.StarArgTuple(arguments)), generate

    return call


def _function(builder: ir.IRBuilder, name: str, kind: ir.Type) -> ir.Value:
    """The address of a function, which is compiled if it was not; or an error is returned."""
    module, byte = builder.module, ir.IntType(8).as_pointer()
    place = module.globals.get(name) or ir.GlobalVariable(module, kind, name)
    with cgutils.if_unlikely(builder, cgutils.is_null(builder, builder.load(place))):
        signature = ir.FunctionType(ir.VoidType(), [byte])
        resolver = cgutils.get_or_insert_function(module, signature, _RESOLVER)
        builder.call(resolver, [builder.bitcast(place, byte)])
        with cgutils.if_unlikely(builder, cgutils.is_null(builder, builder.load(place))):
            builder.ret(RETCODE_EXC)
    return builder.load(place)

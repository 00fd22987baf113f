"""Conditions such as "gap > 6 and mu < 1" over named arrays."""

import ast
import operator
from collections.abc import Mapping

import numpy as np

from schnetgeo.errors import InputError

_BINARY = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
_COMPARE = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_FUNCTIONS = {"abs": np.abs, "sqrt": np.sqrt, "log": np.log, "exp": np.exp}
_LONGEST = 1000  # characters
_DEEPEST = 50


class Expression:
    """Arithmetic, comparisons, `and`, `or`, `not`, abs, sqrt, log and exp of names and numbers.

        Expression("gap > 6 and mu < 1").evaluate({"gap": gap, "mu": mu})

    Nothing else is evaluated: the text is parsed, and each part of it must be one of these.

    Args:
        text: in Python's notation; comparisons may be chained, as in 1 < mu < 2.

    Raises:
        InputError: names the part that is none of these.
    """

    def __init__(self, text: str):
        self.text = text
        if len(text) > _LONGEST:
            raise InputError(f"condition: has {len(text)} characters; {_LONGEST} are the most")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise InputError(
                f"condition: {text!r:.80} is no expression; write one such as gap > 6 and mu < 1"
            ) from None
        self.names: list[str] = []
        self._check(self._tree, 0)

    def evaluate(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The value for arrays (n,) by name, NaN where that is undefined.

        Raises:
            InputError: for a name that is not among them.
        """
        for name in self.names:
            if name not in values:
                raise InputError(
                    f"condition: unknown name {name!r}; known: {', '.join(sorted(values))}"
                )
        with np.errstate(all="ignore"):
            return np.asarray(self._value(self._tree, values))

    def _check(self, node: ast.AST, depth: int) -> None:
        if depth > _DEEPEST:
            raise InputError("condition: is nested too deeply; write it in fewer parentheses")
        if isinstance(node, ast.Name):
            if node.id not in self.names:
                self.names.append(node.id)
            return
        parts = self._parts(node)
        if parts is None:
            raise InputError(
                f"condition: {ast.unparse(node)!r:.60} is none of numbers, names, + - * / **, "
                f"comparisons, and, or, not, {', '.join(_FUNCTIONS)}"
            )
        for part in parts:
            self._check(part, depth + 1)

    def _parts(self, node: ast.AST) -> list[ast.AST] | None:
        """What an allowed node is made of; `None` for another node."""
        if isinstance(node, ast.Constant):
            return [] if type(node.value) in (int, float) else None
        if isinstance(node, ast.BoolOp):
            return node.values
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.UAdd):
            return [node.operand]
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return [node.left, node.right]
        if isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
            return [node.left, *node.comparators]
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if is_call and node.func.id in _FUNCTIONS and len(node.args) == 1 and not node.keywords:
            return node.args
        return None

    def _value(self, node: ast.AST, values: Mapping[str, np.ndarray]):
        if isinstance(node, ast.Constant):
            return np.float64(node.value)
        if isinstance(node, ast.Name):
            return values[node.id]
        if isinstance(node, ast.Call):
            return _FUNCTIONS[node.func.id](self._value(node.args[0], values))
        if isinstance(node, ast.UnaryOp):
            value = self._value(node.operand, values)
            if isinstance(node.op, ast.Not):
                return ~np.asarray(value, bool)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):
            left, right = (self._value(part, values) for part in (node.left, node.right))
            return _BINARY[type(node.op)](left, right)
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            parts = [np.asarray(self._value(part, values), bool) for part in node.values]
            return join.reduce(np.broadcast_arrays(*parts))
        return self._compared(node, values)

    def _compared(self, node: ast.Compare, values: Mapping[str, np.ndarray]) -> np.ndarray:
        terms = [self._value(part, values) for part in (node.left, *node.comparators)]
        pairs = zip(node.ops, terms, terms[1:], strict=False)
        parts = [_COMPARE[type(op)](a, b) for op, a, b in pairs]
        return np.logical_and.reduce(np.broadcast_arrays(*parts))

"""What the code can print as a remedy, derived from it: each `InputError(..., remedy=...)`, each branch of it."""

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


def remedies(path: Path) -> Iterator[str]:
    """A pattern for each remedy that the file's code can print; only what is known at run time is left open in it.

    Raises ValueError for a remedy that is put together in a way that cannot be followed from here.
    """
    module = Module(ast.parse(path.read_text("utf-8")))
    for function in module.functions.values():
        for node in ast.walk(function):
            if isinstance(node, ast.keyword) and node.arg == "remedy" and not _is_passed_on(node.value):
                yield from module.texts(node.value, function)


def _is_passed_on(node: ast.expr) -> bool:
    """Whether this is the remedy of an error that was raised elsewhere, as in `remedy=error.remedy`."""
    return isinstance(node, ast.Attribute) and node.attr == "remedy"


class Module:
    """A file's functions and constants, and the texts that an expression in it can have."""

    def __init__(self, tree: ast.Module) -> None:
        self.functions = {node.name: node for node in ast.walk(tree) if isinstance(node, Function)}
        self._body = tree.body

    def texts(self, node: ast.expr, function: Function) -> list[str]:
        """Patterns of the texts that the expression can have within the function."""
        match node:
            case ast.Constant(value=str(text)):
                return [re.escape(text)]
            case ast.IfExp():
                return [*self.texts(node.body, function), *self.texts(node.orelse, function)]
            case ast.BinOp(op=ast.Add()):
                return self._joined([self.texts(node.left, function), self.texts(node.right, function)])
            case ast.JoinedStr():
                return self._joined([self._part(part, function) for part in node.values])
            case ast.Name():
                return self._values(node.id, function)
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                callee = self.functions[name]
                returns = [each.value for each in ast.walk(callee) if isinstance(each, ast.Return)]
                return [text for value in returns if value for text in self.texts(value, callee)]
        raise ValueError(f"line {node.lineno}: write the remedy where it is raised, so that tests can follow it")

    def _part(self, part: ast.expr, function: Function) -> list[str]:
        if not isinstance(part, ast.FormattedValue):
            return self.texts(part, function)
        try:
            return self.texts(part.value, function)
        except ValueError:
            return [".*"]

    def _values(self, name: str, function: Function) -> list[str]:
        """What is assigned to a name in the function, or else in the module."""
        for body in (list(ast.walk(function)), self._body):
            values = [node.value for node in body if isinstance(node, ast.Assign) and _assigns(node, name)]
            if values:
                return [text for value in values for text in self.texts(value, function)]
        raise ValueError(f"{name} is given by a caller")

    def _joined(self, parts: list[list[str]]) -> list[str]:
        return ["".join(pieces) for pieces in product(*parts)]


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)

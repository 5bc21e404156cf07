"""The functions and errors of the package, as they were last approved. ``tests/goldens.py`` says how to approve."""

import ast
import inspect
import textwrap
from pathlib import Path

import goldens

import clipclean
from clipclean import api
from clipclean.requests import values

FOLDER = Path(__file__).parent / "goldens"


def tree(thing):
    return ast.parse(textwrap.dedent(inspect.getsource(thing)))


def signature(name, function):
    """Arguments with their defaults and annotations, one a line, as the source has them."""
    (node,) = tree(inspect.unwrap(function)).body
    words = ast.unparse(ast.FunctionDef(name, node.args, [ast.Pass()], [], node.returns, lineno=1))
    return words.replace("\n    pass", "").replace(", ", ",\n    ")


def described(name, thing):
    """A function's signature, or a class with its bases, its own values and its own methods."""
    if not inspect.isclass(thing):
        return [signature(name, thing)]
    methods = [signature(f"{name}.{key}", value) for key, value in vars(thing).items() if inspect.isfunction(value)]
    bases = ", ".join(base.__name__ for base in thing.__bases__)
    values = ", ".join(f"{key} = {getattr(thing, key)}" for key in ("exit_code", "pages"))
    return [f"class {name}({bases}): {values}", *methods]


def aliases(module):
    """The names of types that annotations use."""
    typed = (node for node in tree(module).body if isinstance(node, ast.AnnAssign))
    return [ast.unparse(node) for node in typed if ast.unparse(node.annotation) == "TypeAlias"]


def test_the_signatures_are_as_they_were_approved():
    public = [line for name in clipclean.__all__ for line in described(name, getattr(clipclean, name))]
    types = sorted(aliases(values) + aliases(api))
    goldens.check(FOLDER / "signatures.txt", "\n\n".join([*types, *public]) + "\n")

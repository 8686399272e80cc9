"""The checks of shapes and types that run over lit_implicit in all tests: beartype's, made once.

jaxtyping decorates a function inside of a function each time that its `def` is run, and beartype
writes and compiles the check anew each time, which is much of the time of tests that iterate.
"""

from typing import get_args, get_origin

from beartype import beartype
from jaxtyping import AbstractArray

CHECKED = {}


def spelled(hint):
    """A hint by its parts: jaxtyping makes a new class of the same shape at each evaluation."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return AbstractArray, hint.__name__, hint.dtypes, hint.array_type, hint.dim_str
    if isinstance(hint, list):  # the arguments of a Callable
        return list, *map(spelled, hint)
    return (get_origin(hint), *map(spelled, get_args(hint))) if get_args(hint) else hint


def checked(function):
    """Return a function with its arguments and its result checked.

    jaxtyping hands over a stand-in of its own, which has the signature of the function and does
    nothing else; so two of equal code and equal hints share one check.
    """
    hints = tuple((name, spelled(hint)) for name, hint in function.__annotations__.items())
    places = len(function.__defaults__ or ()), tuple(function.__kwdefaults__ or ())
    key = function.__module__, function.__qualname__, function.__code__, places, hints
    if key not in CHECKED:
        CHECKED[key] = beartype(function)
    return CHECKED[key]

"""The checks of shapes and types that run over lit_implicit in all tests: beartype's, made once.

jaxtyping decorates a function inside of a function each time that its `def` is run, and beartype
writes and compiles the check anew each time: half of the time of tests that iterate.
"""

from functools import cache

from beartype import beartype


class Decorated:
    """What beartype makes of a function, told from others by all that the check depends on.

    jaxtyping hands over a stand-in of its own, which has the signature of the function and nothing
    else; so two of equal code and equal annotations share one check.
    """

    def __init__(self, function):
        self.function = function
        places = len(function.__defaults__ or ()), tuple(function.__kwdefaults__ or ())
        hints = tuple(function.__annotations__.items())
        # jaxtyping's types are equal only where they are the same object, and are kept by it.
        self.key = function.__module__, function.__qualname__, function.__code__, places, hints

    def __hash__(self):
        return hash(self.key)

    def __eq__(self, other):
        return self.key == other.key


@cache
def once(decorated):
    return beartype(decorated.function)


def checked(function):
    """Return a function with its arguments and its result checked."""
    decorated = Decorated(function)
    try:
        hash(decorated)
    except TypeError:  # a hint such as Literal of a list
        return beartype(function)
    return once(decorated)

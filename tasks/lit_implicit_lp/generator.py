"""Random linear programs of the paper's kind, each a function of (seed, stream, index)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lit_implicit_lp.problem import Floats, LinearProgram

VERSION = 1
"""Raised whenever the same (seed, stream, index) would give another program: part of cache keys."""

MODES = ("A", "b", "c", "l", "u")
"""The features that can be perturbed: the nonzeros of A, b, c, the lower and the upper bounds."""

FEATURES = {"A": "coefficients", "b": "b", "c": "c", "l": "lower", "u": "upper"}
"""The field of a `LinearProgram` that each mode perturbs."""

Size = tuple[int, int, int]
"""Numbers of constraints, of variables and of nonzeros of A."""


def draw_program(seed: int, stream: int, index: int, sizes: Sequence[Size]) -> LinearProgram:
    """Draw one random linear program; about half of those of the paper's size are feasible.

    The costs are 0.01 times uniform on [-1, 1], the right-hand sides uniform on [-1, 1], the bounds
    of a variable two normal numbers of standard deviation 10 in order; A has standard normal
    nonzeros at distinct random places; a constraint is an equality with probability 0.3.

    Args:
        seed: Seed of the whole data set, at least 0.
        stream: Number of the split; splits share no program.
        index: Number of the program in its stream.
        sizes: Sizes (constraints, variables, nonzeros), one of which is drawn; (10, 50, 100) is
            the paper's.

    References:
        arXiv:2510.03638, linear programming; the generator is that of arXiv:2209.12288.
    """
    rng = _generator(seed, stream, index)
    n_constraints, n_variables, n_nonzeros = sizes[int(rng.integers(len(sizes)))]
    bounds = np.sort(rng.normal(0.0, 10.0, (2, n_variables)), axis=0)
    places = rng.choice(n_constraints * n_variables, n_nonzeros, replace=False)
    rows, columns = np.divmod(np.sort(places), n_variables)
    return LinearProgram(
        c=0.01 * rng.uniform(-1.0, 1.0, n_variables),
        rows=rows,
        columns=columns,
        coefficients=rng.normal(size=n_nonzeros),
        b=rng.uniform(-1.0, 1.0, n_constraints),
        is_equality=rng.random(n_constraints) < 0.3,
        lower=bounds[0],
        upper=bounds[1],
    )


def draw_perturbation(
    program: LinearProgram, mode: str, norm: float, seed: int, stream: int, index: int
) -> Floats:
    """Draw a normal direction in one feature of a program, of 2-norm `norm`.

    Args:
        program: The program to perturb.
        mode: One of `MODES`; "A" perturbs the nonzeros that A has.
        norm: The 2-norm of the perturbation.
        seed: Seed of the data set.
        stream: Stream of the program.
        index: Index of the program in its stream.

    Returns:
        What to add to the feature, of its shape.

    Raises:
        ValueError: If the mode is unknown or the norm is not positive.
    """
    if mode not in MODES:
        raise ValueError(f"`mode` must be one of {', '.join(MODES)}, got {mode!r}.")
    if not 0 < norm < np.inf:
        raise ValueError(f"`norm` must be positive, got {norm}.")
    rng = _generator(seed, stream, index, 1 + MODES.index(mode))
    direction = rng.normal(size=len(getattr(program, FEATURES[mode])))
    return norm * direction / np.linalg.norm(direction)


def perturbed(program: LinearProgram, mode: str, delta: Floats) -> LinearProgram:
    """Return the program with `delta` added to the feature of `mode`.

    Raises:
        ValueError: If the mode is unknown or `delta` has another shape than the feature.
        DataError: If `delta` is not finite.
    """
    if mode not in FEATURES:
        raise ValueError(f"`mode` must be one of {', '.join(MODES)}, got {mode!r}.")
    feature = FEATURES[mode]
    if np.shape(delta) != np.shape(getattr(program, feature)):
        raise ValueError(
            f"`delta` of mode {mode!r} must have shape {np.shape(getattr(program, feature))}, got "
            f"{np.shape(delta)}."
        )
    return replace(program, **{feature: getattr(program, feature) + delta})


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))

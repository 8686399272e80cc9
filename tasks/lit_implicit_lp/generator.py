"""Random linear programs, each a function of (seed, stream, index)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

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

Family = Literal["paper", "row_sparse", "mixed"]
"""The law of the programs: the paper's, one that has a solution at every size, or either."""

FAMILIES: tuple[Family, ...] = get_args(Family)


def draw_program(
    seed: int, stream: int, index: int, sizes: Sequence[Size], family: Family = "paper"
) -> LinearProgram:
    """Draw one random linear program.

    In both families the costs are 0.01 times uniform on [-1, 1], the bounds of a variable two
    normal numbers of standard deviation 10 in order, the nonzeros of A standard normal; a
    constraint is an equality with probability 0.3.

    - `paper`: the nonzeros stand at distinct random places, the right-hand sides are uniform on
      [-1, 1]. About half of the programs of the paper's size have a feasible point; of larger ones
      with as many nonzeros per row, hardly any.
    - `row_sparse`: each row has equally many nonzeros, in distinct random columns, and the
      right-hand sides are those of a point drawn uniformly between the bounds. So every program
      has a solution, whatever its size.
    - `mixed`: a program of either family, with even chances.

    Args:
        seed: Seed of the whole data set, at least 0.
        stream: Number of the split; splits share no program.
        index: Number of the program in its stream.
        sizes: Sizes (constraints, variables, nonzeros), one of which is drawn; (10, 50, 100) is
            the paper's. But for `paper` the nonzeros are a multiple of the constraints.
        family: The law.

    References:
        arXiv:2510.03638, linear programming; the generator of `paper` is that of arXiv:2209.12288.
    """
    rng = _generator(seed, stream, index)
    size = sizes[int(rng.integers(len(sizes)))]
    if family == "mixed":
        family = "paper" if rng.random() < 0.5 else "row_sparse"
    return _draw_row_sparse(rng, *size) if family == "row_sparse" else _draw_paper(rng, *size)


def _draw_paper(
    rng: np.random.Generator, n_constraints: int, n_variables: int, n_nonzeros: int
) -> LinearProgram:
    bounds = _draw_bounds(rng, n_variables)
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


def _draw_row_sparse(
    rng: np.random.Generator, n_constraints: int, n_variables: int, n_nonzeros: int
) -> LinearProgram:
    per_row = n_nonzeros // n_constraints
    lower, upper = _draw_bounds(rng, n_variables)
    columns = [rng.choice(n_variables, per_row, replace=False) for _ in range(n_constraints)]
    program = LinearProgram(
        c=0.01 * rng.uniform(-1.0, 1.0, n_variables),
        rows=np.repeat(np.arange(n_constraints), per_row),
        columns=np.sort(columns, axis=1).ravel(),
        coefficients=rng.normal(size=n_constraints * per_row),
        b=np.zeros(n_constraints),
        is_equality=rng.random(n_constraints) < 0.3,
        lower=lower,
        upper=upper,
    )
    return replace(program, b=program.activity(rng.uniform(lower, upper)))


def _draw_bounds(rng: np.random.Generator, n_variables: int) -> Floats:
    return np.sort(rng.normal(0.0, 10.0, (2, n_variables)), axis=0)


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

"""Checks of what an operator returns: shapes, dtypes, finite and repeatable values."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Ragged
from lit_implicit.operator import held_still
from lit_implicit.testing.check import BrokenError
from lit_implicit.testing.operator_case import Bound, OperatorCase
from lit_implicit.testing.trees import first_change, floats_in, gap, same, snapshot, tensors_in
from lit_implicit.tree import map_tensors


def deep_copy(case: OperatorCase) -> None:
    """The operator can be copied by `copy.deepcopy`.

    The Lipschitz probes measure a copy in float64, and all checks here work on copies.
    """
    try:
        copy.deepcopy(case.operator)
    except Exception as err:
        raise BrokenError(
            f"`copy.deepcopy` of {case} fails ({type(err).__name__}: {err}). Keep no tensor that "
            "has a graph, no open file and no generator as an attribute."
        ) from err


def shape_and_dtype(case: OperatorCase) -> str:
    """G keeps shape, dtype and device of its state, and the layout counts the samples.

    Solvers put states, residuals and histories side by side, and report per sample.
    """
    bound = case.bind()
    z0, layout = bound.z0, bound.layout
    if not isinstance(z0, Tensor) or not z0.is_floating_point():
        found = z0.dtype if isinstance(z0, Tensor) else type(z0).__name__
        raise BrokenError(f"`init_state` must return one floating-point tensor, got {found}.")
    if not isinstance(layout, AbstractLayout):
        raise BrokenError(
            f"`layout` must return a `Dense` or a `Ragged`, got {type(layout).__name__}."
        )
    _check_layout(layout, z0)
    gz = bound.g(z0)
    for what in ("shape", "dtype", "device"):
        wanted, got = getattr(z0, what), getattr(gz, what)
        if what == "shape":
            wanted, got = tuple(wanted), tuple(got)
        if wanted != got:
            raise BrokenError(
                f"`forward` must keep the {what} of its state: expected {wanted}, got {got}. "
                "Make `init_state` and the last layer of `forward` agree."
            )
    stop = bound.operator.stop(z0, gz, bound.c)
    if stop is not None and (stop.shape != (layout.n,) or stop.dtype != torch.bool):
        raise BrokenError(
            f"`stop` must return None or booleans of shape ({layout.n},), one per sample, got "
            f"{stop.dtype} of shape {tuple(stop.shape)}."
        )
    y = bound.operator.decode(z0, bound.c)
    if not tensors_in(y):
        raise BrokenError(f"`decode` must return tensors, got {type(y).__name__}.")
    return f"{layout.n} samples, state {tuple(z0.shape)}, {z0.dtype}"


def _check_layout(layout: AbstractLayout, z0: Tensor) -> None:
    if isinstance(layout, Ragged):
        if layout.index.shape != z0.shape[:1] or not 0 <= int(layout.index.max()) < layout.n:
            raise BrokenError(
                f"`layout` must give each of the {len(z0)} rows of the state a sample from 0 to "
                f"{layout.n - 1}, got an index of shape {tuple(layout.index.shape)} with largest "
                f"value {int(layout.index.max())}."
            )
    elif len(z0) != layout.n:
        raise BrokenError(
            f"`layout` counts {layout.n} samples, but the state has {len(z0)} rows, shape "
            f"{tuple(z0.shape)}. Put the sample first in `init_state`, or return a `Ragged` layout."
        )


def finite(case: OperatorCase) -> None:
    """The start, two steps from it and the answers there are finite.

    A sample that is not finite has failed: it gives no loss and no gradient.
    """
    bound = case.bind()
    z = bound.z0
    for t in range(3):
        for place, value in {"": z, **floats_in(bound.operator.decode(z, bound.c))}.items():
            if not value.isfinite().all():
                what = "z" if value is z else f"decode(z, c){place}"
                raise BrokenError(
                    f"{what} is not finite after {t} applications of G to `init_state(c)`. Start "
                    "elsewhere, or keep logarithms, roots and quotients away from their poles."
                )
        z = bound.g(z)


def determinism(case: OperatorCase) -> None:
    """G is a function: the same state and context give the same result, also in training mode.

    A map that changes from call to call has no fixed point. Starts that are drawn come from the
    generator alone, so that runs and measurements can be repeated.
    """
    for training in (False, True):
        bound = case.bind(training=training)
        mode = "training" if training else "evaluation"
        with held_still(bound.operator):
            first, second = bound.g(bound.z), bound.g(bound.z)
        if not _agree(first, second):
            raise BrokenError(
                f"In {mode} mode, `forward` answers differently when called twice with the same "
                f"(z, c), by {gap(first, second):.1e}. Draw masks and noise once in `encode`, and "
                "freeze what is updated at each call (statistics, counters)."
            )
    bound = case.bind()
    _check_starts(case, bound)
    again = case.bind()
    if (place := _first_difference(bound.c, again.c)) is not None:
        raise BrokenError(
            f"In evaluation mode, `encode` answers differently when called twice (at c{place}). "
            "Draw masks and noise only if `self.training`."
        )


def _check_starts(case: OperatorCase, bound: Bound) -> None:
    starts = []
    for seed in (0, 1):
        torch.manual_seed(seed)  # the global state must not matter
        starts.append(bound.operator.init_state(bound.c, case.generator(bound.c)))
    if not _agree(*starts):
        raise BrokenError(
            "`init_state` answers differently for the same generator. Pass `generator=generator` "
            "to whatever it draws by."
        )


def in_place(case: OperatorCase) -> None:
    """No method changes what it is given: x, c or z.

    A solver needs z beside G(z), the context is used at every iteration, and the input again by
    the objective.
    """
    bound = case.bind()
    operator, z = bound.operator, bound.z.clone()
    x = map_tensors(lambda t: t.detach().clone(), case.x)
    before_x = snapshot(x)
    with torch.no_grad():
        c = operator.encode(x)
    # Before any other method has seen the context: one that changes it may do so only once.
    given = {"x": x, "c": c, "z": z}
    before = {"x": before_x, "c": snapshot(c), "z": snapshot(z)}
    calls: dict[str, Callable[[], object]] = {
        "encode": lambda: operator.encode(x),
        "init_state": lambda: operator.init_state(c, case.generator(c)),
        "forward": lambda: operator(z, c),
        "stop": lambda: operator.stop(z, z.clone(), c),
        "decode": lambda: operator.decode(z, c),
    }
    for method, call in calls.items():
        with torch.no_grad():
            call()
        for name, tree in given.items():
            if (place := first_change(before[name], tree)) is not None:
                place = "" if place == "itself" else place
                raise BrokenError(
                    f"`{method}` changes {name}{place} in place. Return a new tensor: "
                    "`z.mul(a)`, not `z.mul_(a)` or `z *= a`."
                )


def _agree(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit on a CPU; on a GPU, sums in no fixed order may differ by rounding."""
    return same(a, b) if a.device.type == "cpu" else gap(a, b) < 1e-4


def _first_difference(a: object, b: object) -> str | None:
    ours, theirs = tensors_in(a), tensors_in(b)
    return next((p for p, t in ours.items() if p not in theirs or not _agree(t, theirs[p])), None)

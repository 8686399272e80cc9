"""Checks of perturbations and of the tensors that derivatives are taken in."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lit_implicit.objective import Perturbed
from lit_implicit.testing.check import BrokenError, NotApplicableError
from lit_implicit.testing.objective_case import ObjectiveCase
from lit_implicit.testing.trees import first_change, gap, snapshot


def perturb(case: ObjectiveCase) -> str:
    """Each mode moves the inputs by the size it says, and leaves the batch it is given alone.

    Lipschitz constants are quotients by this size.
    """
    if not case.objective.modes:
        raise NotApplicableError("The objective has no modes: it gets no Lipschitz curves.")
    for mode in case.objective.modes:
        _check_mode(case, mode)
    return ", ".join(case.objective.modes)


def _check_mode(case: ObjectiveCase, mode: str) -> None:
    objective, n = case.objective, case.n
    batch = case.copy()
    before = snapshot(batch)
    moved, again = (
        objective.perturb(batch, mode, torch.Generator().manual_seed(0)) for _ in range(2)
    )
    who = f"`perturb` in mode {mode!r}"
    if not isinstance(moved, Perturbed):
        raise BrokenError(f"{who} must return a `Perturbed`, got {type(moved).__name__}.")
    if (place := first_change(before, batch)) is not None:
        raise BrokenError(f"{who} changes the batch it is given (at {place}). Copy it first.")
    if first_change(snapshot(moved.batch), again.batch) or gap(moved.size, again.size) > 0:
        raise BrokenError(
            f"{who} is different when called again with the same seed. Draw by the generator only."
        )
    if objective.n_samples(moved.batch) != n:
        raise BrokenError(
            f"{who} gives {objective.n_samples(moved.batch)} samples for {n}: it must keep them "
            "all, in their order, and mark those that became unsolvable in `valid`."
        )
    if moved.valid.shape != (n,) or moved.valid.dtype != torch.bool:
        raise BrokenError(
            f"`valid` of {who} must be booleans of shape ({n},), got {moved.valid.dtype} of shape "
            f"{tuple(moved.valid.shape)}."
        )
    sound = moved.size[moved.valid] if moved.size.shape == (n,) else torch.zeros(1)
    if not bool(((sound > 0) & sound.isfinite()).all()):
        raise BrokenError(
            f"`size` of {who} must be a positive number for each of {n} samples, got "
            f"{moved.size.tolist()}. Mark those that did not move as not valid."
        )
    _check_target(case, moved, who)
    _check_size(case, batch, moved, who)


def _check_target(case: ObjectiveCase, moved: Perturbed, who: str) -> None:
    shift = case.objective.distance(
        case.objective.target(moved.batch), case.objective.target(case.batch), case.batch
    )
    if not shift[moved.valid].isfinite().all():
        raise BrokenError(
            f"The target of a sample that {who} calls valid is not finite, or not comparable."
        )


def _check_size(case: ObjectiveCase, batch: Any, moved: Perturbed, who: str) -> None:
    """Compare the sum of squares over the batch: it needs no knowledge of how samples lie."""
    objective = case.objective
    x, x_moved = objective.inputs(batch), objective.inputs(moved.batch)
    if first_change(snapshot(x), x_moved) is None:
        raise BrokenError(f"{who} does not change the inputs.")
    try:
        leaves, moved_leaves = objective.leaves(x), objective.leaves(x_moved)
    except TypeError:
        return  # without leaves, the change of an input has no norm
    change = rounding = 0.0
    for a, b in zip(leaves, moved_leaves, strict=True):
        if a.shape != b.shape:
            raise BrokenError(
                f"{who} changes the shape of a leaf from {tuple(a.shape)} to {tuple(b.shape)}."
            )
        change += float((b.double() - a.double()).square().sum())
        rounding += float((torch.finfo(b.dtype).eps * b.double()).square().sum())
    change, size = change**0.5, float(moved.size.double().square().sum().sqrt())
    if abs(change - size) > 1e-3 * size + rounding**0.5:
        raise BrokenError(
            f"{who} says a size of {size:.6g} (over the batch), but the leaves change by "
            f"{change:.6g}. Return the 2-norm of what was added to each sample, after clipping."
        )


def leaves(case: ObjectiveCase) -> str:
    """`leaves`, `with_leaves` and `leaf_layouts` fit, and the input stays as it was.

    The Jacobian estimate of the Lipschitz curve puts derivatives in by them.
    """
    objective = case.objective
    x = objective.inputs(case.copy())
    try:
        given = objective.leaves(x)
    except TypeError as err:
        raise NotApplicableError(str(err)) from err
    before = snapshot(x)
    for number, leaf in enumerate(given):
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            found = leaf.dtype if isinstance(leaf, Tensor) else type(leaf).__name__
            raise BrokenError(f"Leaf {number} must be a floating-point tensor, got {found}.")
    wanted = [2 * leaf + 1 for leaf in given]
    got = objective.leaves(objective.with_leaves(x, wanted))
    if len(got) != len(wanted) or any(gap(a, b) > 0 for a, b in zip(got, wanted, strict=True)):
        raise BrokenError(
            "`leaves(with_leaves(x, new))` must be `new`: put every leaf back where `leaves` took "
            "it from, in the same order."
        )
    if (place := first_change(before, x)) is not None:
        raise BrokenError(f"`with_leaves` changes the input it is given (at {place}). Copy it.")
    _check_layouts(case, x, given)
    return f"{len(given)} of shape {', '.join(str(tuple(leaf.shape)) for leaf in given)}"


def _check_layouts(case: ObjectiveCase, x: Any, given: Sequence[Tensor]) -> None:
    """Ask each layout for the size of its leaf, sample by sample."""
    layouts = case.objective.leaf_layouts(x)
    if len(layouts) != len(given):
        raise BrokenError(
            f"`leaf_layouts` must say how samples lie in each of {len(given)} leaves, got "
            f"{len(layouts)}."
        )
    for number, (layout, leaf) in enumerate(zip(layouts, given, strict=True)):
        if (n := len(layout.norm(leaf))) != case.n:
            raise BrokenError(
                f"`leaf_layouts` finds {n} samples in leaf {number}, of shape {tuple(leaf.shape)}, "
                f"but the batch has {case.n}. Where a leaf has other rows than one a sample, as "
                "graphs have, return `Ragged(index, n)` with the sample of each row."
            )

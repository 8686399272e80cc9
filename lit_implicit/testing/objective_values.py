"""Checks of the numbers that an objective gives: per sample, finite, of the right batch."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from lit_implicit.testing.check import BrokenError, NotApplicableError
from lit_implicit.testing.objective_case import ObjectiveCase
from lit_implicit.testing.trees import first_change, floats_in, gap, same, snapshot, tensors_in
from lit_implicit.tree import map_tensors


def per_sample(case: ObjectiveCase) -> str:
    """Loss, error and distance are one finite number per sample, error and distance not negative.

    Failed samples are left out and samples are counted once only where each has its own number.
    """
    objective, n, y = case.objective, case.n, case.answer()
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise BrokenError(f"`n_samples` must return a positive int, got {n!r}.")
    values = {
        "loss": objective.loss(y, case.batch),
        "error": objective.error(y, case.batch),
        "distance": objective.distance(y, case.near(y), case.batch),
        **{f"scores[{k!r}]": score(y, case.batch) for k, score in objective.scores.items()},
    }
    for name, value in values.items():
        if not isinstance(value, Tensor) or value.shape != (n,):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise BrokenError(
                f"`{name}` must return a value per sample, shape ({n},), got {got}. Take no mean "
                "over the batch."
            )
        if not value.is_floating_point() or not value.isfinite().all():
            raise BrokenError(
                f"`{name}` must be finite numbers, got {value.dtype} with "
                f"{int((~value.isfinite()).sum())} of {n} not finite. Keep quotients and "
                "logarithms away from zero."
            )
        if name in ("error", "distance") and bool((value < 0).any()):
            raise BrokenError(
                f"`{name}` must not be negative, got {float(value.min()):.3g}. Curves show it on a "
                "logarithmic axis: return a size, or one minus a score."
            )
    return f"{n} samples"


def loss_gradient(case: ObjectiveCase) -> None:
    """The loss has a finite gradient in the answer.

    A loss without one trains nothing, and NaN in one step ruins the weights for good.
    """
    y = map_tensors(lambda t: t.requires_grad_() if t.is_floating_point() else t, case.answer())
    leaves = list(floats_in(y).values())
    with torch.enable_grad():
        total = case.objective.loss(y, case.batch).sum()
    if not total.requires_grad:
        raise BrokenError(
            "`loss` carries no gradient in the answer. Take `detach`, `item`, `argmax` and `round` "
            "out of it."
        )
    for gradient in torch.autograd.grad(total, leaves, allow_unused=True):
        if gradient is not None and not gradient.isfinite().all():
            raise BrokenError(
                "The gradient of `loss` is not finite. Square a norm, or add a small constant "
                "under the root."
            )


def error_of_target(case: ObjectiveCase) -> None:
    """No answer has a smaller error than the target itself.

    Asked only where the target has the form of an answer.
    """
    if not case.target_is_answer:
        raise NotApplicableError("The target has not the form of an answer.")
    objective, target = case.objective, case.objective.target(case.batch)
    least = objective.error(target, case.batch)
    for seed in range(3):
        other = objective.error(case.near(target, seed), case.batch)
        if bool((least > other).any()):
            worst = int((least - other).argmax())
            raise BrokenError(
                f"`error` of the target is {float(least[worst]):.3g} (sample {worst}), more than "
                f"{float(other[worst]):.3g}, that of an answer beside it. Compare with the same "
                "quantity, in the same units, that `target` returns."
            )


def distance(case: ObjectiveCase) -> None:
    """The distance of an answer to itself is zero, and that of two is the same both ways.

    Lipschitz constants are quotients of it.
    """
    objective, y = case.objective, case.answer()
    other = case.near(y)
    own = objective.distance(y, y, case.batch)
    if own.ne(0).any():
        raise BrokenError(f"`distance(y, y)` must be 0, got {float(own.max()):.3g}.")
    there, back = objective.distance(y, other, case.batch), objective.distance(other, y, case.batch)
    if gap(there, back) > 1e-5:
        raise BrokenError(
            f"`distance(y, y2)` and `distance(y2, y)` differ by {gap(there, back):.1e}. Relate the "
            "difference to neither of the two."
        )
    if bool((there == 0).any()):
        raise BrokenError("`distance` of two different answers is 0: it must see all of them.")


def select(case: ObjectiveCase) -> None:
    """`select(batch, keep)` is the batch of these samples, with the same losses and errors.

    A training step leaves failed samples out by it.
    """
    objective = case.objective
    y, part_of = case.answers()
    before = snapshot(case.batch)
    for keep in case.parts():
        part, n_kept = case.keep(keep), int(keep.sum())
        if objective.n_samples(part) != n_kept:
            raise BrokenError(
                f"`select` of {n_kept} samples gives a batch of {objective.n_samples(part)}."
            )
        for name in ("loss", "error"):
            whole = getattr(objective, name)(y, case.batch)[keep]
            off = gap(getattr(objective, name)(part_of(part, keep), part), whole)
            if off > 1e-4:
                raise BrokenError(
                    f"`{name}` of the samples {keep.nonzero().flatten().tolist()} changes by "
                    f"{off:.1e} when `select` leaves out the others. Keep the same samples in all "
                    "fields of the batch, and let no sample's number depend on the others."
                )
    objective.select(case.batch, case.parts()[0])
    if (place := first_change(before, case.batch)) is not None:
        raise BrokenError(f"`select` changes the batch it is given (at {place}). Copy it.")


def inputs_hide_target(case: ObjectiveCase) -> None:
    """The network's input does not change with the target.

    Else it could read the answer, and every score would be worthless.
    """
    batch = case.copy()
    inputs = snapshot(case.objective.inputs(batch))
    target = case.objective.target(batch)
    old = target.clone()
    target.copy_(target + 1 if target.dtype != torch.bool else ~target)
    if same(case.objective.target(batch), old):
        raise NotApplicableError("`target` is computed anew at each call, so it cannot be altered.")
    if (place := first_change(inputs, case.objective.inputs(batch))) is not None:
        raise BrokenError(
            f"`inputs` changes with the target (at {place}). Give the network only what is known "
            "when the question is asked."
        )


def metrics(case: ObjectiveCase) -> str | None:
    """The task's own metrics are finite, and do not depend on how samples fall into batches.

    Batches, and ranks, are of different sizes: a mean of their means is no mean.
    """
    own = case.objective.metrics()
    if not isinstance(own, MetricCollection):
        raise BrokenError(f"`metrics` must return a `MetricCollection`, got {type(own).__name__}.")
    if not len(own):
        raise NotApplicableError("The objective has no metrics of its own.")
    y, part_of = case.answers()
    whole = _measure(case, own, [(y, case.batch)])
    for name, value in whole.items():
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.isfinite().all():
            raise BrokenError(f"Metric {name!r} must be one finite number, got {value}.")
    masks = case.parts()
    batches = [(part_of(part, keep), part) for keep in masks for part in [case.keep(keep)]]
    in_parts = _measure(case, own, batches)
    for name, value in whole.items():
        if gap(in_parts[name], value) > 1e-4:
            raise BrokenError(
                f"Metric {name!r} is {float(value):.6g} of one batch and "
                f"{float(in_parts[name]):.6g} of the same samples in two. Add up sums and counts, "
                "or keep the values of all samples, and divide in `compute`."
            )
    return ", ".join(whole)


def _measure(
    case: ObjectiveCase, own: MetricCollection, batches: list[tuple[Any, Any]]
) -> dict[str, Any]:
    own = own.clone()
    for tensor in tensors_in(case.batch).values():
        own = own.to(tensor.device)
        break
    for y, batch in batches:
        own.update(preds=y, target=case.objective.target(batch), batch=batch)
    values: dict[str, Any] = own.compute()
    return values

"""Checks that samples of a batch know nothing of each other, whole or narrowed."""

import torch
from torch import Tensor

from lit_implicit.layout import Mask
from lit_implicit.testing.check import BrokenError, NotApplicableError
from lit_implicit.testing.operator_case import Bound, OperatorCase, is_drawn, single_samples
from lit_implicit.testing.trees import floats_in, gap


def select(case: OperatorCase) -> None:
    """`select(c, keep)` gives the context of the samples in `keep`: G there is G, kept after.

    Solvers drop the samples that have stopped, and leave out those that failed, by `select`.
    """
    bound, rounding = case.accurate()
    singles = single_samples(bound.layout, bound.z)
    every_other = torch.arange(bound.layout.n, device=bound.z.device) % 2 == 1
    gz = bound.g(bound.z)
    for keep in [*singles, every_other, torch.ones_like(every_other)]:
        n_kept = int(keep.sum())
        part = _narrowed(bound, keep)
        if part.layout.n != n_kept or bound.layout.sub(keep).n != n_kept:
            raise BrokenError(
                f"After `select` of {n_kept} samples, `layout` counts {part.layout.n}. Number the "
                "kept samples anew in `select`."
            )
        error = gap(part.g(part.z0), bound.layout.select(gz, keep))
        if error > rounding:
            raise BrokenError(
                f"G of the samples {_numbers(keep)}, after `select`, is off by {_off(error)} from "
                "G of the batch. Keep the rows of these samples in every tensor of c, in their "
                "order, and number indices anew."
            )


def _narrowed(bound: Bound, keep: Mask) -> Bound:
    """Bind the samples in `keep`, with their part of the state as start."""
    try:
        c = bound.operator.select(bound.c, keep)
    except (TypeError, AttributeError) as err:
        raise BrokenError(f"`select` raised {type(err).__name__}: {err}") from err
    z = bound.layout.select(bound.z, keep)
    return Bound(bound.operator, bound.x, c, z, bound.operator.layout(z, c))


def batch_invariance(case: OperatorCase) -> str | None:
    """G, stop and decode of a sample are the same alone and in a batch.

    Else an answer would depend on who else asks. In evaluation mode, from the input on.
    """
    bound, rounding = case.accurate()
    singles = single_samples(bound.layout, bound.z)
    gz, drawn = bound.g(bound.z), is_drawn(case, bound)
    stop = bound.operator.stop(bound.z, gz, bound.c)
    answers = []
    for number, keep in enumerate(singles):
        alone = case.bind(double=rounding < 1e-6, x=case.keep_x(bound.x, keep))
        z = bound.layout.select(bound.z, keep)
        if not drawn:
            start = bound.layout.select(bound.z0, keep)
            _compare("init_state", number, alone.z0, start, rounding)
        gz_alone = alone.g(z)
        _compare("G", number, gz_alone, bound.layout.select(gz, keep), rounding)
        stop_alone = alone.operator.stop(z, gz_alone, alone.c)
        if stop is not None and (stop_alone is None or bool(stop_alone[0]) != bool(stop[number])):
            raise BrokenError(
                f"`stop` says {bool(stop[number])} of sample {number} in the batch and "
                f"{None if stop_alone is None else bool(stop_alone[0])} of it alone. Decide for "
                "each sample by its own numbers."
            )
        with torch.no_grad():
            answers.append(floats_in(alone.operator.decode(z, alone.c)))
    with torch.no_grad():
        whole = floats_in(bound.operator.decode(bound.z, bound.c))
    return _compare_answers(whole, answers, rounding)


def _compare(what: str, number: int, alone: Tensor, batch: Tensor, rounding: float) -> None:
    if (error := gap(alone, batch)) > rounding:
        raise BrokenError(
            f"{what} of sample {number} alone is off by {_off(error)} from that in the batch. Mix "
            "no samples: normalise, attend and average within a sample, and pad so that padding "
            "does not count."
        )


def _compare_answers(
    whole: dict[str, Tensor], answers: list[dict[str, Tensor]], rounding: float
) -> str | None:
    """Compare answers tensor by tensor: those of a batch are those of its samples, end to end."""
    unknown = []
    for place, batch in whole.items():
        parts = [answer[place] for answer in answers if place in answer]
        if not all(part.ndim and part.shape[1:] == batch.shape[1:] for part in parts):
            unknown.append(f"y{place}")
            continue
        begin = 0
        for number, part in enumerate(parts):
            _compare("decode", number, part, batch[begin : begin + len(part)], rounding)
            begin += len(part)
    return f"not compared, as not laid out by sample: {', '.join(unknown)}" if unknown else None


def nan_isolation(case: OperatorCase) -> None:
    """A state that is NaN in one sample stays there.

    Solvers freeze a sample that has failed and go on with the others. Zero times NaN is NaN: a
    product with a matrix of diagonal blocks, or with a mask, carries it over.
    """
    bound, rounding = case.accurate()
    first = single_samples(bound.layout, bound.z)[0]
    nan = torch.full_like(bound.z, torch.nan)
    try:
        spoilt = bound.g(bound.layout.where(first, nan, bound.z))
    except Exception as err:
        raise NotApplicableError(f"G refuses NaN: {type(err).__name__}: {err}") from err
    clean = bound.g(bound.z)
    error = gap(bound.layout.select(spoilt, ~first), bound.layout.select(clean, ~first))
    if error > rounding:
        raise BrokenError(
            f"A NaN in the state of sample 0 changes the others by {_off(error)}. Select by "
            "`torch.where` or by index, not by multiplying with zeros."
        )


def _numbers(keep: Mask) -> list[int]:
    return keep.nonzero().flatten().tolist()


def _off(error: float) -> str:
    return "its shape or NaN" if error == float("inf") else f"{error:.1e}"

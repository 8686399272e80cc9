"""An audit in words: what was found, with the numbers that it rests on."""

from typing import TYPE_CHECKING

from lit_implicit.adjoints import AbstractAdjoint, Implicit, JacobianFree, Unrolled

if TYPE_CHECKING:
    from lit_implicit.probes.audit_result import EquilibriumAudit

_HEADS = {True: "an equilibrium", False: "not an equilibrium", None: "undecided"}


def sentences(audit: "EquilibriumAudit") -> list[str]:
    """Say whether a model is an equilibrium and how that was asked; then a sentence per check.

    Args:
        audit: The numbers.
    """
    answer = _HEADS[audit.is_equilibrium]
    if audit.is_equilibrium and audit.error_rises:
        answer += ", though an earlier iterate has the least error"
    head = (
        f"{answer}. {audit.training}; asked of {audit.n_samples:,} samples, iterated to "
        f"t = {audit.n_iter} by {audit.iteration}"
    )
    checks = [_error(audit), _convergence(audit), _paths(audit), _batch(audit)]
    return [f"audit: {text}." for text in (head, *checks)]


def in_words(adjoint: AbstractAdjoint | None, max_iter: int) -> str:
    """Say how a model was trained.

    Args:
        adjoint: How gradients passed the equilibrium; None where there was nothing to train.
        max_iter: The training depth.
    """
    match adjoint:
        case None:
            return "Nothing was trained, as it has no parameters"
        case Unrolled(last=None):
            return f"Trained by unrolling {max_iter} steps"
        case Unrolled(last=last):
            return f"Trained by unrolling {max_iter} steps, with gradients of the last {last}"
        case JacobianFree(steps=steps):
            words = f"Trained with Jacobian-free gradients ({steps} step{'s' * (steps > 1)})"
        case Implicit():
            words = "Trained by implicit differentiation"
        case _:
            words = f"Trained by {type(adjoint).__name__}"
    return f"{words} after at most {max_iter} iterations"


def _error(audit: "EquilibriumAudit") -> str:
    if audit.ever_nonfinite == 1:
        return "no sample stays finite"
    depth, t = audit.train_max_iter, audit.t_least
    past = audit.error_rises and t >= depth
    points = {
        depth: "there" if past else f"at the training depth (t = {depth})",
        audit.n_iter: f"at the end (t = {audit.n_iter})",
    }
    if not audit.error_rises:
        return f"its error does not rise: {_points(audit, points)}"
    points[t] = f"{points[t]}, its least" if t in points else f"at its least (t = {t})"
    where = f" past the training depth of {depth}" * past
    what = "rises" if audit.error_rises_past_training else "is least before the training depth"
    ratio = f"{audit.over_iteration:.3g} times the least"
    return f"its error {what}{where}: {_points(audit, points)}, {ratio}"


def _points(audit: "EquilibriumAudit", points: dict[int, str]) -> str:
    """Errors at some t, in the order of t."""
    return ", ".join(f"{audit.error_mean[t]:.3g} {words}" for t, words in sorted(points.items()))


def _convergence(audit: "EquilibriumAudit") -> str:
    rate = f"; median rate {audit.rate:.3g}" * (audit.rate == audit.rate)
    text = f"{_share(float(audit.converged[-1]))} of the samples converge"
    text += f" (relative residual at most {audit.rtol:.1g}{rate})"
    parts = [
        (audit.still_falling, "are on the way"),
        (audit.stuck, "come no closer"),
        (audit.ever_nonfinite, "are not finite"),
    ]
    return text + "".join(f", {_share(share)} {words}" for share, words in parts if share > 0)


def _paths(audit: "EquilibriumAudit") -> str:
    starts = f"{audit.n_starts} random start" + "s" * (audit.n_starts > 1)
    text = f"from {starts} {_share(audit.path_independent)} end at the same state"
    parts = [(audit.approaching, "are on the way there"), (audit.elsewhere, "end elsewhere")]
    return text + "".join(f", {_share(share)} {words}" for share, words in parts if share > 0)


def _batch(audit: "EquilibriumAudit") -> str:
    if audit.batch_difference is None:
        return "whether batch mates matter was not tested"
    if audit.batch_difference > audit.batch_tolerance:
        return f"batch mates change G by up to {audit.batch_difference:.2g} of its size"
    return "batch mates do not matter"


def _share(share: float) -> str:
    """A share in percent, with one decimal where it says more: 100 only of all, 0 only of none."""
    per_cent = round(100 * share, 1)
    if per_cent in (0, 100) and 0 < share < 1:
        return "less than 0.1 %" if share < 0.5 else "more than 99.9 %"
    return f"{per_cent:g} %"

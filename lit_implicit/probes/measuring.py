"""The measurements of a model over batches, as plain functions."""

from collections.abc import Iterable
from typing import Any

import torch

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.objective import AbstractObjective
from lit_implicit.probes.audit import EquilibriumAuditProbe
from lit_implicit.probes.audit_result import EquilibriumAudit
from lit_implicit.probes.lipschitz_curve import LipschitzCurve
from lit_implicit.probes.lipschitz_probe import LipschitzCurveProbe
from lit_implicit.probes.probe import AbstractProbe
from lit_implicit.probes.regularity import RegularityProbe
from lit_implicit.probes.regularity_report import RegularityReport
from lit_implicit.probes.test_time_curve import TestTimeCurve, TestTimeCurveProbe
from lit_implicit.solvers import AbstractSolver


def measure_test_time_curve(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batches: Iterable[Any],
    n_iter: int,
    solver: AbstractSolver | None = None,
    **settings: Any,
) -> TestTimeCurve:
    """Measure error, scores, residual and cost of the iterates y_0, ..., y_T on given batches.

    Args:
        equilibrium: The model, in evaluation mode.
        objective: The problem.
        batches: Batches of the task's data, on the model's device.
        n_iter: Number T of iterations.
        solver: The iteration; None means plain Picard iteration.
        settings: Further arguments of `TestTimeCurveProbe`: `rtol`, `seed`.

    Raises:
        NoSamplesError: If there is no batch.

    Example:
        >>> curve = measure_test_time_curve(layer, objective, loader, n_iter=50)
        >>> curve.error_mean  # t = 0..50
    """
    scores = tuple(objective.scores)
    probe = TestTimeCurveProbe(n_iter, solver=solver, scores=scores, **settings)
    curve: TestTimeCurve = _over(batches, probe, equilibrium, objective)
    return curve


def measure_lipschitz_curve(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batches: Iterable[Any],
    n_iter: int,
    solver: AbstractSolver | None = None,
    **settings: Any,
) -> LipschitzCurve:
    """Estimate the Lipschitz constants of x -> y_t(x), t = 0..T, on the samples of batches.

    Args:
        equilibrium: The model, in evaluation mode.
        objective: The problem; its modes say how inputs are perturbed.
        batches: Batches of the task's data, on the model's device.
        n_iter: Number T of iterations.
        solver: The iteration; None means plain Picard iteration.
        settings: Further arguments of `LipschitzCurveProbe`: `estimators`, `refine`, `double`,
            `worst_pair_at`, `worst_pair_steps`, `seed`.

    Raises:
        NoSamplesError: If there is no batch.

    Example:
        >>> curve = measure_lipschitz_curve(layer, objective, loader, n_iter=50)
        >>> curve.slopes["x"], curve.target_slopes["x"]
    """
    probe = LipschitzCurveProbe(n_iter, objective.modes, solver, **settings)
    curve: LipschitzCurve = _over(batches, probe, equilibrium, objective)
    return curve


def measure_regularity(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batches: Iterable[Any],
    **settings: Any,
) -> RegularityReport:
    """Ask whether the operator of a model is regular, on the samples of batches.

    Args:
        equilibrium: The model; its solver finds the fixed points, with a tight tolerance.
        objective: The problem; its modes say how inputs are perturbed.
        batches: Batches of the task's data, on the model's device.
        settings: Further arguments of `RegularityProbe`: `n_steps`, `radii`, `scales`,
            `distances`, `max_iter`, `rtol`, `max_samples`, `double`, `seed`.

    Raises:
        NoSamplesError: If there is no batch.

    Example:
        >>> report = measure_regularity(layer, objective, loader)
        >>> report.contracting, report.growth_exponent, report.shell_exponent
    """
    probe = RegularityProbe(objective.modes, **settings)
    report: RegularityReport = _over(batches, probe, equilibrium, objective)
    return report


def audit(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batches: Iterable[Any],
    train_max_iter: int,
    solver: AbstractSolver | None = None,
    **settings: Any,
) -> EquilibriumAudit:
    """Ask whether a trained model is an equilibrium, on the samples of batches.

    Args:
        equilibrium: The model, in evaluation mode.
        objective: The problem.
        batches: Batches of the task's data, on the model's device; best held-out ones.
        train_max_iter: The training depth.
        solver: The iteration; None means the equilibrium's own, without its tolerances.
        settings: Further arguments of `EquilibriumAuditProbe`: `rtol`, `factor`, `n_starts`,
            `max_samples`, `seed`.

    Raises:
        NoSamplesError: If there is no batch.

    Example:
        >>> found = audit(module.test_equilibrium, module.objective, [batch], train_max_iter=12)
        >>> print(found.verdict)
    """
    chosen = equilibrium.solver if solver is None else solver
    probe = EquilibriumAuditProbe(train_max_iter, equilibrium.adjoint, chosen, **settings)
    found: EquilibriumAudit = _over(batches, probe, equilibrium, objective)
    return found


def _over(
    batches: Iterable[Any],
    probe: AbstractProbe,
    equilibrium: Equilibrium,
    objective: AbstractObjective,
) -> Any:
    probe = probe.to(next(equilibrium.parameters(), torch.empty(0)).device)
    for batch in batches:
        probe.update(equilibrium, objective, batch)
    return probe.compute()

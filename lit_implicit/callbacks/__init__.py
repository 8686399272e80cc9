"""Callbacks: schedules, budgets, checks, statistics, curves and pictures for any implicit model."""

from lit_implicit.callbacks.adjoint_schedule import AdjointSchedule
from lit_implicit.callbacks.audit_monitor import AuditMonitor
from lit_implicit.callbacks.best_weights import BestWeights
from lit_implicit.callbacks.failure_guard import FailureGuard
from lit_implicit.callbacks.gallery import Gallery
from lit_implicit.callbacks.iteration_budget import IterationBudget
from lit_implicit.callbacks.lipschitz_curve_monitor import LipschitzCurveMonitor
from lit_implicit.callbacks.operator_check import OperatorCheck
from lit_implicit.callbacks.regularity_monitor import RegularityMonitor
from lit_implicit.callbacks.rollout_curve_monitor import RolloutCurveMonitor
from lit_implicit.callbacks.solver_monitor import SolverMonitor
from lit_implicit.callbacks.test_time_curve_monitor import TestTimeCurveMonitor
from lit_implicit.callbacks.tolerance_schedule import ToleranceSchedule
from lit_implicit.callbacks.warm_start import WarmStart

__all__ = [
    "AdjointSchedule",
    "AuditMonitor",
    "BestWeights",
    "FailureGuard",
    "Gallery",
    "IterationBudget",
    "LipschitzCurveMonitor",
    "OperatorCheck",
    "RegularityMonitor",
    "RolloutCurveMonitor",
    "SolverMonitor",
    "TestTimeCurveMonitor",
    "ToleranceSchedule",
    "WarmStart",
]

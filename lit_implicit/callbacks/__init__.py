"""Callbacks: budgets, statistics and curves for any implicit model."""

from lit_implicit.callbacks.iteration_budget import IterationBudget
from lit_implicit.callbacks.lipschitz_curve_monitor import LipschitzCurveMonitor
from lit_implicit.callbacks.solver_monitor import SolverMonitor
from lit_implicit.callbacks.test_time_curve_monitor import TestTimeCurveMonitor

__all__ = [
    "IterationBudget",
    "LipschitzCurveMonitor",
    "SolverMonitor",
    "TestTimeCurveMonitor",
]

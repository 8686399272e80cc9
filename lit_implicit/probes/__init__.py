"""Measurements of a trained model, as plain functions and as metrics that merge over ranks.

Probes iterate with stopping, freezing and best-so-far switched off: y_t is the t-th iterate.
"""

from lit_implicit.probes.audit import EquilibriumAuditProbe
from lit_implicit.probes.audit_result import EquilibriumAudit
from lit_implicit.probes.contraction import contraction_factor, spectral_radius
from lit_implicit.probes.cost import IterationCost, Stopwatch, flops_of, iteration_cost
from lit_implicit.probes.iterates import Iterate, iterates
from lit_implicit.probes.jacobian_lipschitz import jacobian_slopes
from lit_implicit.probes.lipschitz_curve import Estimator, LipschitzCurve
from lit_implicit.probes.lipschitz_probe import LipschitzCurveProbe
from lit_implicit.probes.measuring import (
    audit,
    measure_lipschitz_curve,
    measure_regularity,
    measure_test_time_curve,
)
from lit_implicit.probes.pairs import pair_slopes
from lit_implicit.probes.probe import AbstractProbe
from lit_implicit.probes.regularity import RegularityProbe
from lit_implicit.probes.regularity_report import RegularityReport
from lit_implicit.probes.rollout_curve import (
    RolloutCurve,
    RolloutCurveProbe,
    RolloutScoreCurve,
)
from lit_implicit.probes.test_time_curve import TestTimeCurve, TestTimeCurveProbe
from lit_implicit.probes.worst_pair import worst_pair_slopes

__all__ = [
    "AbstractProbe",
    "EquilibriumAudit",
    "EquilibriumAuditProbe",
    "Estimator",
    "Iterate",
    "IterationCost",
    "LipschitzCurve",
    "LipschitzCurveProbe",
    "RegularityProbe",
    "RegularityReport",
    "RolloutCurve",
    "RolloutCurveProbe",
    "RolloutScoreCurve",
    "Stopwatch",
    "TestTimeCurve",
    "TestTimeCurveProbe",
    "audit",
    "contraction_factor",
    "flops_of",
    "iterates",
    "iteration_cost",
    "jacobian_slopes",
    "measure_lipschitz_curve",
    "measure_regularity",
    "measure_test_time_curve",
    "pair_slopes",
    "spectral_radius",
    "worst_pair_slopes",
]

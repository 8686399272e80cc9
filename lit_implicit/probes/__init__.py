"""Measurements of a trained model, as plain functions and as metrics that merge over ranks.

Probes iterate with stopping, freezing and best-so-far switched off: y_t is the t-th iterate.
"""

from lit_implicit.probes.audit import EquilibriumAuditProbe, audit
from lit_implicit.probes.audit_result import EquilibriumAudit
from lit_implicit.probes.iterates import Iterate, iterates
from lit_implicit.probes.jacobian_lipschitz import JacobianLipschitzProbe, jacobian_slopes
from lit_implicit.probes.lipschitz_curve import LipschitzCurve, LipschitzCurveProbe
from lit_implicit.probes.test_time_curve import TestTimeCurve, TestTimeCurveProbe

__all__ = [
    "EquilibriumAudit",
    "EquilibriumAuditProbe",
    "Iterate",
    "JacobianLipschitzProbe",
    "LipschitzCurve",
    "LipschitzCurveProbe",
    "TestTimeCurve",
    "TestTimeCurveProbe",
    "audit",
    "iterates",
    "jacobian_slopes",
]

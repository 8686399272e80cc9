"""Measurements of a trained model, as plain functions and as metrics that merge over ranks.

Probes iterate with stopping, freezing and best-so-far switched off: y_t is the t-th iterate.
"""

from lit_implicit.probes.contraction import contraction_factor, spectral_radius
from lit_implicit.probes.iterates import Iterate, iterates
from lit_implicit.probes.jacobian_lipschitz import JacobianLipschitzProbe, jacobian_slopes
from lit_implicit.probes.lipschitz_curve import LipschitzCurve, LipschitzCurveProbe
from lit_implicit.probes.regularity import RegularityProbe
from lit_implicit.probes.regularity_report import RegularityReport
from lit_implicit.probes.test_time_curve import TestTimeCurve, TestTimeCurveProbe

__all__ = [
    "Iterate",
    "JacobianLipschitzProbe",
    "LipschitzCurve",
    "LipschitzCurveProbe",
    "RegularityProbe",
    "RegularityReport",
    "TestTimeCurve",
    "TestTimeCurveProbe",
    "contraction_factor",
    "iterates",
    "jacobian_slopes",
    "spectral_radius",
]

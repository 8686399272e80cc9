"""Kepler's equation as a task."""

from lit_implicit import TaskSpec

task = TaskSpec(
    summary="Kepler's equation E = M + e sin E: the eccentric from the mean anomaly.",
    data="kepler.data.KeplerData",
    objective="kepler.objective.KeplerObjective",
    operators={"relu": "kepler.operator.KeplerOperator"},
)

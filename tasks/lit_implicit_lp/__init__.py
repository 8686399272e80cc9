"""Linear programs: from the program's data to its solution, by a graph network that is iterated."""

from lit_implicit.task import TaskSpec

task = TaskSpec(
    summary="Linear programs: predict the solution with a graph network iterated to a fixed point.",
    data="lit_implicit_lp.data.LPDataModule",
    objective="lit_implicit_lp.objective.LPObjective",
    operators={"gnn": "lit_implicit_lp.operator.LPGraphOperator"},
    baselines={"gnn": "lit_implicit_lp.network.LPGraphNetwork"},
    install="pip install 'lit-implicit[lp]'",
)

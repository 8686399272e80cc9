"""Linear programs: from the program's data to its solution, by an operator that is iterated."""

from lit_implicit.task import TaskSpec

task = TaskSpec(
    summary="Linear programs: a learned primal-dual solver with certificates, and a graph network.",
    data="lit_implicit_lp.data.LPDataModule",
    objective="lit_implicit_lp.objective.LPObjective",
    operators={
        "primal_dual": "lit_implicit_lp.primal_dual.LPPrimalDual",
        "gnn": "lit_implicit_lp.operator.LPGraphOperator",
    },
    baselines={"gnn": "lit_implicit_lp.network.LPGraphNetwork"},
    install="pip install 'lit-implicit[lp]'",
)

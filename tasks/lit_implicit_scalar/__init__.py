"""Functions of one variable that are locally, not globally Lipschitz, as fixed points."""

from lit_implicit.task import TaskSpec

task = TaskSpec(
    summary="Functions of one number (1/x, log, tan, ...) as fixed points, all in closed form.",
    data="lit_implicit_scalar.data.ScalarDataModule",
    objective="lit_implicit_scalar.objective.ScalarObjective",
    operators={
        "mlp": "lit_implicit_scalar.mlp.ScalarMLP",
        "capped": "lit_implicit_scalar.capped_mlp.ScalarCappedMLP",
        "naive": "lit_implicit_scalar.naive.ScalarNaive",
        "reciprocal": "lit_implicit_scalar.reciprocal.ScalarReciprocal",
        "construction": "lit_implicit_scalar.construction.ScalarConstruction",
    },
    baselines={"capped": "lit_implicit_scalar.capped_network.ScalarCappedNetwork"},
    install="pip install 'lit-implicit[scalar]'",
)

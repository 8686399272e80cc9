"""The explicit baseline: the same layers, each with weights of its own, applied once."""

from torch import Tensor, nn

from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.layers import HalfConvolution, check_arguments, embedding, init_weights, mlp


class LPGraphNetwork(nn.Module):
    """Predict the solution of a linear program with four half-convolutions and no iteration.

    Args:
        width: Features of an embedded node, at least 1; 4, 8, 16 and 32 in the paper, with 580,
            2,088, 7,888 and 30,624 parameters.
        cost_scale: Unit in which the network sees costs. The default is that of the generator;
            1 with `bound_scale` 1 is the paper's setting.
        bound_scale: Unit in which it sees bounds and gives its answer.

    Raises:
        ValueError: If an argument is out of range.

    References:
        arXiv:2510.03638, linear programming.
    """

    def __init__(
        self, width: int = 16, cost_scale: float = 0.01, bound_scale: float = 10.0
    ) -> None:
        super().__init__()
        check_arguments("LPGraphNetwork", width, cost_scale, bound_scale)
        self.cost_scale, self.bound_scale = cost_scale, bound_scale
        self.embed_variables = embedding(3, width)
        self.embed_constraints = embedding(2, width)
        self.to_constraints = nn.ModuleList(
            HalfConvolution(width, width, to_constraints=True) for _ in range(2)
        )
        self.to_variables = nn.ModuleList(
            HalfConvolution(width, width, to_constraints=False) for _ in range(2)
        )
        self.readout = mlp(width, width, 1, bias_out=False)
        init_weights(self)

    def forward(self, x: LPFeatures) -> Tensor:
        """Return the predicted solutions, shape `(n_variables,)` over all programs."""
        x = x.prepared(self.cost_scale, self.bound_scale, next(self.parameters()).dtype)
        matrix = x.matrix()
        variables = self.embed_variables(x.variable_features())
        constraints = self.embed_constraints(x.constraint_features())
        for to_constraints, to_variables in zip(
            self.to_constraints, self.to_variables, strict=True
        ):
            constraints = to_constraints(matrix, variables, constraints)
            variables = to_variables(matrix.mT, constraints, variables)
        y: Tensor = self.readout(variables)
        return self.bound_scale * y.squeeze(-1)

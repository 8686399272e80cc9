"""The paper's implicit graph network: one scalar per variable, iterated to a fixed point."""

import torch
from torch import Tensor, nn

from lit_implicit.layout import Ragged
from lit_implicit.operator import AbstractOperator
from lit_implicit_lp.features import LPContext, LPFeatures
from lit_implicit_lp.layers import HalfConvolution, check_arguments, embedding, init_weights, mlp


class LPGraphOperator(AbstractOperator):
    """Iterate a graph network whose state is one number per variable.

    G puts the state beside the embedded variables, sends messages to the constraints and back,
    twice, and reads one number per variable; the constraints start from their embeddings at every
    application. So G has four sweeps over the nonzeros of A.

    Args:
        width: Features of an embedded node, at least 1; 4, 8, 16 and 32 in the paper, with 722,
            2,350, 8,390 and 31,606 parameters.
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
        check_arguments("LPGraphOperator", width, cost_scale, bound_scale)
        self.cost_scale, self.bound_scale = cost_scale, bound_scale
        self.embed_variables = embedding(3, width)
        self.embed_constraints = embedding(2, width)
        self.to_constraints = nn.ModuleList(
            HalfConvolution(width + 1, width, to_constraints=True) for _ in range(2)
        )
        self.to_variables = nn.ModuleList(
            HalfConvolution(width + 1, width, to_constraints=False) for _ in range(2)
        )
        self.to_state = nn.Linear(width + 1, 1)
        self.readout = mlp(width + 1, width, 1, bias_out=False)
        init_weights(self)

    def encode(self, x: LPFeatures) -> LPContext:
        """Embed the variables and the constraints."""
        x = x.prepared(self.cost_scale, self.bound_scale, self.to_state.weight.dtype)
        return LPContext(
            variables=self.embed_variables(x.variable_features()),
            constraints=self.embed_constraints(x.constraint_features()),
            matrix=x.matrix(),
            batch=x.batch,
            constraint_batch=x.constraint_batch,
            n=x.n,
        )

    def init_state(self, c: LPContext, generator: torch.Generator | None = None) -> Tensor:
        """Start from zero: shape `(n_variables, 1)`."""
        return c.variables.new_zeros(len(c.batch), 1)

    def forward(self, z: Tensor, c: LPContext) -> Tensor:
        """Apply G once: shape `(n_variables, 1)`."""
        variables, constraints = torch.cat([c.variables, z], dim=-1), c.constraints
        transpose = c.matrix.mT
        for to_constraints, to_variables in zip(
            self.to_constraints, self.to_variables, strict=True
        ):
            constraints = to_constraints(c.matrix, variables, constraints)
            variables = to_variables(transpose, constraints, variables)
        gz: Tensor = self.to_state(variables)
        return gz

    def decode(self, z: Tensor, c: LPContext) -> Tensor:
        """Read the predicted solution, shape `(n_variables,)`."""
        y: Tensor = self.readout(torch.cat([c.variables, z], dim=-1))
        return self.bound_scale * y.squeeze(-1)

    def layout(self, z: Tensor, c: LPContext) -> Ragged:
        """One sample per program, one node per variable."""
        return Ragged(c.batch, c.n)

    def select(self, c: LPContext, keep: Tensor) -> LPContext:
        """Keep some programs with their variables, constraints and nonzeros."""
        return c.select(keep)

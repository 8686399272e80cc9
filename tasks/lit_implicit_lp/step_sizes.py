"""Step sizes of the primal-dual iteration that depend on the data alone, learned or not."""

import torch
from torch import Tensor, nn

from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.layers import mlp
from lit_implicit_lp.sparse import SparseMatrix
from lit_implicit_lp.step_rules import near
from lit_implicit_lp.sums import norms

_FLAT = 1e-3
"""A column or row whose weighted sum is less takes the step of one that has this sum."""

_ROW = 10**0.5
"""Size of a sum over the nonzeros of a row, about ten, of terms of size one."""


class StepSizes(nn.Module):
    """Embed the programs and give every variable and every constraint its step.

    With weights `u` of the constraints, `v` of the variables and a primal weight `w`, all positive,

        tau_j = w / (v_j sum_i |A_ij| u_i),    sigma_i = u_i / (w sum_j |A_ij| / v_j).

    By Cauchy and Schwarz, `|dual' A y|^2 <= sum_j y_j^2 / tau_j * sum_i dual_i^2 / sigma_i` for
    whatever weights: the iteration is nonexpansive in the metric of these steps, learned or not.
    Weights of one and `w = 1` are the steps of Pock and Chambolle for alpha = 1.

    Args:
        embedding: Features of an embedded node; 0 means that nothing is learned and weights are 1.
        width: Hidden features of the networks.
        rounds: How often embeddings pass messages to the other side and back.

    References:
        Pock and Chambolle (2011), Diagonal preconditioning for first order primal-dual algorithms,
        doi:10.1109/ICCV.2011.6126441, lemma 2.
    """

    def __init__(self, embedding: int, width: int, rounds: int = 2) -> None:
        super().__init__()
        self.embedding = embedding
        if not embedding:
            return
        self.embed_variables = mlp(6, width, embedding, activation=nn.SiLU)
        self.embed_constraints = mlp(5, width, embedding, activation=nn.SiLU)
        self.to_constraints = nn.ModuleList(
            mlp(2 * embedding, width, embedding, activation=nn.SiLU) for _ in range(rounds)
        )
        self.to_variables = nn.ModuleList(
            mlp(2 * embedding, width, embedding, activation=nn.SiLU) for _ in range(rounds)
        )
        self.variable_weight = nn.Linear(embedding, 1)
        self.constraint_weight = nn.Linear(embedding, 1)
        self.log_primal_weight = nn.Parameter(torch.zeros(()))
        for layer in (self.variable_weight, self.constraint_weight):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: LPFeatures, matrix: SparseMatrix) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return tau, sigma and the embeddings of the variables and of the constraints.

        Args:
            x: The programs, in units.
            matrix: Their A.
        """
        sizes = matrix.abs()
        if not self.embedding:
            variables, constraints = x.c.new_zeros(len(x.c), 0), x.c.new_zeros(len(x.b), 0)
            u, v, w = torch.ones_like(x.b), torch.ones_like(x.c), x.c.new_ones(())
        else:
            variables, constraints = self._embed(x, matrix, sizes)
            v = _weight(self.variable_weight(variables))
            u = _weight(self.constraint_weight(constraints))
            w = self.log_primal_weight.exp()
        columns = (sizes.mT @ u[:, None])[:, 0]
        rows = (sizes @ (1 / v)[:, None])[:, 0]
        tau = w / (v * columns).clamp(min=_FLAT)
        sigma = u / (w * rows.clamp(min=_FLAT))
        return tau, sigma, variables, constraints

    def _embed(
        self, x: LPFeatures, matrix: SparseMatrix, sizes: SparseMatrix
    ) -> tuple[Tensor, Tensor]:
        columns = _measures(sizes.mT)
        rows = _measures(sizes)
        lower, upper = near(x.lower), near(x.upper)
        used = (columns[:, :1] > 0).to(columns.dtype)
        variables = self.embed_variables(
            torch.cat([torch.stack([x.c, lower, upper], -1), (columns + _FLAT).log(), used], dim=-1)
        )
        b = x.b[:, None]
        constraints = self.embed_constraints(
            torch.cat([b, x.is_equality[:, None], (rows + _FLAT).log(), (10 * b).asinh()], dim=-1)
        )
        for to_constraints, to_variables in zip(
            self.to_constraints, self.to_variables, strict=True
        ):
            message = matrix @ variables / _ROW
            constraints = constraints + to_constraints(torch.cat([constraints, message], -1))
            message = matrix.mT @ constraints
            variables = variables + to_variables(torch.cat([variables, message], -1))
        return variables, constraints


def _measures(sizes: SparseMatrix) -> Tensor:
    """Return sum and 2-norm of each row, shape `(n_rows, 2)`, of a matrix of absolute values."""
    n_rows, ones = len(sizes.starts) - 1, sizes.values.new_ones(sizes.n_columns, 1)
    lengths = norms(sizes.rows, n_rows, sizes.values)
    return torch.cat([sizes @ ones, lengths[:, None]], dim=-1)


def _weight(log: Tensor) -> Tensor:
    """Return a positive weight, within a factor of e^4 of one."""
    return (4 * (log[:, 0] / 4).tanh()).exp()

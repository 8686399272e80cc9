"""What the primal-dual operator sees of a batch of programs, computed once per solve."""

from dataclasses import dataclass

from torch import Tensor

from lit_implicit_lp.certificate import verdict
from lit_implicit_lp.features import LPFeatures
from lit_implicit_lp.lengths import Lengths
from lit_implicit_lp.solution import LPSolution
from lit_implicit_lp.sparse import SparseMatrix


@dataclass(frozen=True, eq=False)
class Programs:
    """What a step sees of the programs, in units.

    Args:
        x: The programs.
        matrix: Their A.
        tau, sigma: Steps of the variables and of the constraints.
        variables, constraints: Embeddings, with no features where nothing is learned.
    """

    x: LPFeatures
    matrix: SparseMatrix
    tau: Tensor
    sigma: Tensor
    variables: Tensor
    constraints: Tensor

    def select(self, keep: Tensor) -> "Programs":
        """Return the programs in `keep` (`(n,)`, boolean), numbered anew."""
        variables, constraints = self.x.nodes(keep)
        return Programs(
            x=self.x.select(keep),
            matrix=self.matrix.keep(constraints, variables),
            tau=self.tau[variables],
            sigma=self.sigma[constraints],
            variables=self.variables[variables],
            constraints=self.constraints[constraints],
        )


@dataclass(frozen=True, eq=False)
class GivenPrograms:
    """The programs as they were given, in their precision: what certificates are about.

    Args:
        x: The programs.
        matrix: Their A.
        lengths: Norms of its rows and columns.
    """

    x: LPFeatures
    matrix: SparseMatrix
    lengths: Lengths

    @classmethod
    def of(cls, x: LPFeatures, matrix: SparseMatrix) -> "GivenPrograms":
        """Measure the matrix of some programs; about the cost of two sweeps."""
        return cls(x, matrix, Lengths.of(matrix))

    def verdict(self, answer: LPSolution, rtol: float) -> Tensor:
        """Judge an answer as `certificate.verdict` does. Cost: two sweeps."""
        return verdict(self.x, self.matrix, answer, rtol, self.lengths)

    def select(self, keep: Tensor) -> "GivenPrograms":
        """Return the programs in `keep` (`(n,)`, boolean), numbered anew."""
        variables, constraints = self.x.nodes(keep)
        matrix = self.matrix.keep(constraints, variables)
        return GivenPrograms(self.x.select(keep), matrix, self.lengths.keep(constraints, variables))


@dataclass(frozen=True, eq=False)
class PrimalDualContext:
    """What G and its certificates see of a batch of programs.

    Args:
        programs: The programs in units, with steps and embeddings.
        primal, dual: Units of the variables and of the duals.
        given: The programs as they were given; None where no certificate is asked for.
    """

    programs: Programs
    primal: Tensor
    dual: Tensor
    given: GivenPrograms | None

    def select(self, keep: Tensor) -> "PrimalDualContext":
        """Return the context of the programs in `keep` (`(n,)`, boolean), numbered anew."""
        variables, constraints = self.programs.x.nodes(keep)
        given = self.given and self.given.select(keep)
        primal, dual = self.primal[variables], self.dual[constraints]
        return PrimalDualContext(self.programs.select(keep), primal, dual, given)

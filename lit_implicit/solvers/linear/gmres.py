"""GMRES: the least residual over a growing Krylov space, sample by sample."""

from dataclasses import KW_ONLY, dataclass

import torch

from lit_implicit.layout import AbstractLayout, Real
from lit_implicit.solvers.base import check_settings, is_time_to_look
from lit_implicit.solvers.linear.arnoldi import Arnoldi
from lit_implicit.solvers.linear.base import AbstractLinearSolver, Matvec
from lit_implicit.solvers.solution import Solution, Status, relative_residual


@dataclass(frozen=True)
class GMRES(AbstractLinearSolver):
    """Restarted GMRES(m), started from zero; each sample has its own Krylov space.

    A sample stops when |rhs - A u| <= rtol |rhs| + atol and is then frozen. It needs no
    contraction: any A that is not singular will do. The relative residual is |rhs - A u| / |rhs|.
    A sample whose Krylov space is exhausted without an answer (A is singular) ends as MAX_ITER,
    one whose product is not finite as NONFINITE, with the best iterate before it.

    Memory: `restart + 1` states, in at least float32.

    Args:
        restart: Dimension of the Krylov space at which the method starts anew, at least 1.
        rtol: Relative residual at which a sample stops (dimensionless).
        atol: Residual at which a sample stops (units of the right-hand side; the adjoint `Implicit`
            scales it to norm 1).
        max_iter: Most iterations; each costs one product with A, and each restart one more.

    Raises:
        ValueError: If `restart` or `max_iter` is below 1, or a tolerance negative.

    References:
        Saad and Schultz (1986), SIAM J. Sci. Stat. Comput. 7(3), doi:10.1137/0907058.
    """

    restart: int = 20
    _: KW_ONLY
    rtol: float = 1e-4
    atol: float = 0.0
    max_iter: int = 50

    def __post_init__(self) -> None:
        if self.restart < 1:
            raise ValueError(f"`GMRES.restart` must be at least 1, got {self.restart}.")
        check_settings("GMRES", self.rtol, self.atol, self.max_iter)

    @torch.no_grad()
    def solve(self, matvec: Matvec, rhs: Real, layout: AbstractLayout) -> Solution:
        b = rhs.to(torch.promote_types(rhs.dtype, torch.float32))

        def apply(u: Real) -> Real:
            return matvec(u.to(rhs.dtype)).to(b.dtype)

        norm = layout.norm(b)
        threshold = self.rtol * norm + self.atol
        finite = norm.isfinite()
        active = finite & (norm > threshold)
        failed = ~finite
        n_iter = torch.zeros(layout.n, dtype=torch.int64, device=b.device)
        n_eval = n_iter
        u, r, residual = torch.zeros_like(b), b, norm
        space = Arnoldi(min(self.restart, self.max_iter), layout, b)

        k = 0
        while k < self.max_iter and active.any():
            if k:  # the true residual: the recursive one has gathered rounding errors
                r = b - apply(u)
                n_eval = n_eval + active
                truth = layout.norm(r)
                sound = truth.isfinite()
                failed = failed | (active & ~sound)
                residual = torch.where(active & sound, truth, residual)
                active = active & sound & (residual > threshold)
            space.start(r, active)
            for _ in range(min(space.size, self.max_iter - k)):
                n_iter, n_eval = n_iter + space.growing, n_eval + space.growing
                space.grow(apply)
                failed = failed | space.broken
                residual = torch.where(space.took, space.residual, residual)
                space.growing = space.growing & (residual > threshold)
                k += 1
                if is_time_to_look(k - 1, b.device) and not space.growing.any():
                    break
            u = space.add_to(u)
            active = space.growing
        status = torch.where(residual <= threshold, Status.CONVERGED, Status.MAX_ITER)
        status = torch.where(failed, Status.NONFINITE, status)
        ratio = relative_residual(residual, norm)
        return Solution(u.to(rhs.dtype), n_iter, n_eval, ratio, status)

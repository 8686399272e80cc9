"""Plain and damped fixed-point iteration."""

from dataclasses import KW_ONLY, dataclass

from lit_implicit.layout import AbstractLayout
from lit_implicit.solvers.arrays import Flags, State
from lit_implicit.solvers.base import AbstractSolver, AbstractStepper, check_settings
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.host import HostRows


@dataclass(frozen=True)
class Picard(AbstractSolver):
    """Picard iteration, z_{k+1} = (1 - damping) z_k + damping G(z_k).

    With `damping` below 1 this is the Krasnoselskii-Mann iteration, which also converges for maps
    that are only nonexpansive. One evaluation of G a step and no memory.

    Args:
        damping: Share of the new value, in (0, 1]; 1 is plain iteration.
        rtol: Relative residual at which a sample stops (dimensionless).
        atol: Residual at which a sample stops (units of the state).
        max_iter: Most iterations; each costs one evaluation of G.

    Raises:
        ValueError: If `damping` is outside (0, 1], a tolerance negative, or `max_iter` below 1.

    References:
        Krasnoselskii (1955); Mann (1953), Proc. AMS 4, doi:10.1090/S0002-9939-1953-0054846-3.
    """

    damping: float = 1.0
    _: KW_ONLY
    rtol: float = 1e-4
    atol: float = 0.0
    max_iter: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.damping <= 1:
            raise ValueError(
                f"`Picard.damping` must lie in (0, 1], got {self.damping}. 1 is plain iteration."
            )
        check_settings("Picard", self.rtol, self.atol, self.max_iter)

    @property
    def differentiable_steps(self) -> bool:
        return True

    def stepper(self, layout: AbstractLayout) -> AbstractStepper:
        return _PicardStepper(self.damping)


class _PicardStepper(AbstractStepper):
    def __init__(self, damping: float) -> None:
        self.damping = damping

    def on_host(self, rows: HostRows) -> AbstractStepper:
        return self

    def step(self, at: Evaluation) -> State:
        if self.damping == 1:
            return at.gz
        return at.layout.advance(at.z, at.residual, self.damping)

    def select(self, keep: Flags) -> "_PicardStepper":
        return self  # there is nothing to remember

"""The solver that chooses: plain steps where they are about to end, a growing memory elsewhere."""

from dataclasses import KW_ONLY, dataclass

from lit_implicit.layout import AbstractLayout
from lit_implicit.solvers.anderson import Anderson, AndersonStepper
from lit_implicit.solvers.arrays import Flags, Numbers, State
from lit_implicit.solvers.base import AbstractSolver, AbstractStepper, check_settings
from lit_implicit.solvers.evaluation import Evaluation
from lit_implicit.solvers.host import HostRows

# A sample whose first two residuals promise to meet the tolerance in so many plain steps takes
# them, and as many again where the promise was not kept.
_FEW_STEPS = 2


@dataclass(frozen=True)
class Auto(AbstractSolver):
    """Choose the method of each sample from its first residuals.

    Where the ratio of the first two residuals says that two more plain steps will do (warm starts,
    strong contractions), `Picard`; elsewhere `Anderson`, whose memory grows with the iterations, up
    to `depth`: a solve that ends soon never pays for it, and a slow one needs far fewer
    evaluations of G. A sample's choice is its own and depends on its residuals alone, not on its
    batch, the device or a clock.

    `Broyden` is none of its choices: over the maps of docs/choosing_a_solver.md, `Anderson` of the
    same memory needs as many evaluations or fewer, but on one.

    Memory: `2 (depth - 1)` states at most; 8 from the second iteration on, then twice as many or
    all whenever it is full.

    Args:
        depth: How many past residuals are mixed at most, at least 2.
        rtol: Relative residual at which a sample stops (dimensionless).
        atol: Residual at which a sample stops (units of the state).
        max_iter: Most iterations; each costs one evaluation of G.

    Raises:
        ValueError: If `depth` is below 2, a tolerance negative, or `max_iter` below 1.
    """

    depth: int = 20
    _: KW_ONLY
    rtol: float = 1e-4
    atol: float = 0.0
    max_iter: int = 50

    def __post_init__(self) -> None:
        if self.depth < 2:
            raise ValueError(
                f"`Auto.depth` must be at least 2, got {self.depth}. "
                "Use `Picard` for plain fixed-point iteration."
            )
        check_settings("Auto", self.rtol, self.atol, self.max_iter)

    @property
    def differentiable_steps(self) -> bool:
        return True

    def stepper(self, layout: AbstractLayout) -> AbstractStepper:
        return _AutoStepper(self, layout)


class _AutoStepper(AbstractStepper):
    """Anderson's memory, and which samples do without it for now."""

    def __init__(self, settings: Auto, layout: AbstractLayout | HostRows) -> None:
        self.settings, self.layout = settings, layout
        self.memory = AndersonStepper(Anderson(settings.depth), layout)
        self.number = 0  # of the evaluation
        self.first_norm: Numbers | None = None
        self.plain: Flags | None = None  # samples that take plain steps; None where there is none

    def on_host(self, rows: HostRows) -> AbstractStepper:
        return _AutoStepper(self.settings, rows)

    def step(self, at: Evaluation) -> State:
        number, self.number = self.number, self.number + 1
        if number == 0:
            self.first_norm = at.residual_norm
        elif number == 1 and self.first_norm is not None:
            self.plain = self._few_steps_will_do(at, at.residual_norm / self.first_norm)
        z_next = self.memory.step(at)
        if self.plain is not None:
            z_next = self.layout.where(self.plain, at.gz, z_next)
            if number == 2 * _FEW_STEPS:  # a promise that was not kept
                assert self.memory.history is not None
                self.memory.history.drop(self.plain)
                self.plain = None
        return z_next

    def _few_steps_will_do(self, at: Evaluation, rate: Numbers) -> Flags | None:
        """Return the samples that the ratio of two residuals promises to be done in a few steps."""
        target = self.settings.rtol * at.g_norm + self.settings.atol
        plain = at.residual_norm * rate**_FEW_STEPS <= target
        return plain if self.memory.algebra.may_be_any(plain) else None

    def select(self, keep: Flags) -> "_AutoStepper":
        part = _AutoStepper(self.settings, self.layout.sub(keep))
        part.memory, part.number = self.memory.select(keep), self.number
        part.first_norm = None if self.first_norm is None else self.first_norm[keep]
        part.plain = None if self.plain is None else self.plain[keep]
        return part

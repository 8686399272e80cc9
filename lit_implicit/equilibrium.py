"""The layer: an operator, a solver and an adjoint, from an input to the answer at equilibrium."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lit_implicit.adjoints import AbstractAdjoint, Implicit
from lit_implicit.compilation import Compile, CompiledOperator, CompileMode
from lit_implicit.contract import call, check_answer, check_layout, check_start
from lit_implicit.operator import AbstractOperator, FixedPointMap, held_still
from lit_implicit.solvers import AbstractSolver, Anderson, Solution
from lit_implicit.tree import map_tensors


class Equilibrium(nn.Module):
    """Map an input x to decode(z*), where z* = G(z*, x).

    Where gradients are recorded the adjoint rules the solve; in evaluation (`torch.no_grad`) it is
    the solver alone, without a graph.

    Args:
        operator: The operator G with its encoder and readout.
        solver: How the fixed point is found; None means `Anderson()`.
        adjoint: How gradients pass it; None means `Implicit()`.
        compile: Whether solves call G compiled by `torch.compile`: true, a mode of it such as
            `reduce-overhead`, or a `Compile` with more settings. It takes some seconds at the first
            calls. The maps that `bind` and `solve` return are not compiled. A `CompiledOperator` of
            this operator is shared.

    Raises:
        TypeError: If one of them is of another kind.
        ConfigError: If the setting of `compile` is not known; in a solve, if G cannot be compiled.

    Example:
        >>> layer = Equilibrium(operator, solver=Anderson(rtol=1e-4), adjoint=Implicit())
        >>> y, solution = layer(x)
        >>> solution.n_iter, solution.converged
    """

    def __init__(
        self,
        operator: AbstractOperator,
        solver: AbstractSolver | None = None,
        adjoint: AbstractAdjoint | None = None,
        compile: bool | CompileMode | Compile | CompiledOperator | None = None,
    ) -> None:
        super().__init__()
        for name, given, kind in (
            ("operator", operator, AbstractOperator),
            ("solver", solver, AbstractSolver),
            ("adjoint", adjoint, AbstractAdjoint),
        ):
            if not isinstance(given, kind) and (name == "operator" or given is not None):
                raise TypeError(
                    f"`Equilibrium.{name}` must be an `{kind.__name__}`, got {given!r}."
                )
        self.operator = operator
        self.solver = Anderson() if solver is None else solver
        self.adjoint = Implicit() if adjoint is None else adjoint
        if not isinstance(compile, CompiledOperator | None):
            settings = Compile.of(compile)
            compile = None if settings is None else CompiledOperator(operator, settings)
        # Not `self.compile`, which is a method of every module.
        self.compiled: CompiledOperator | None = compile
        """How solves call G, where it is compiled."""

    def bind(
        self, x: Any, z0: Tensor | None = None, seed: int | None = None
    ) -> tuple[FixedPointMap, Tensor]:
        """Return the map z -> G(z, x) and the initial iterate, without solving anything.

        Args:
            x: The input, in the form that the operator's `encode` takes.
            z0: Initial iterate; None means the operator's `init_state`.
            seed: Seed of starts that are drawn; None means torch's global generator.

        Raises:
            OperatorError: If the start is no floating-point tensor, or does not fit the layout or
                the encoded input.
        """
        c = call(self.operator, "encode", x)
        source = "The start `z0`"
        if z0 is None:
            generator = None
            if seed is not None:
                generator = torch.Generator(_device(c)).manual_seed(seed)
            source = f"`{type(self.operator).__name__}.init_state`"
            z0 = call(self.operator, "init_state", c, generator)
        z0 = check_start(self.operator, z0, c, source)
        if z0.dtype in (torch.bfloat16, torch.float16) and torch.is_autocast_enabled(
            z0.device.type
        ):
            # Autocast made the context half precision. The state is what must converge: keep it
            # accurate, and let autocast choose inside G.
            z0 = z0.float()
        layout = call(self.operator, "layout", z0, c)
        check_layout(self.operator, layout, z0, c, source)
        return FixedPointMap(self.operator, c, layout), z0

    def decode(self, g: FixedPointMap, z: Tensor) -> Any:
        """Read the answer off a state.

        Args:
            g: The map that was solved.
            z: A state of its.

        Raises:
            OperatorError: If there is no answer, or not one for each sample.
        """
        return check_answer(self.operator, call(self.operator, "decode", z, g.c), g.layout)

    def forward(self, x: Any, z0: Tensor | None = None) -> tuple[Any, Solution]:
        """Solve for the fixed point and read the answer off it.

        A sample that failed has no gradient through G, but it still passes `encode` and `decode`:
        where its input itself may be NaN, leave out `solution.failed` and call again, as
        `ImplicitLightningModule` does.

        Args:
            x: The input, in the form that the operator's `encode` takes.
            z0: Initial iterate; None means the operator's `init_state`. A state near the fixed
                point (of the last time step or epoch, of a coarser grid) saves iterations: a warm
                start. Detach it, else `Unrolled` differentiates it too.

        Returns:
            The answer `decode(z, c)` and the solution, whose `z` carries the gradient.

        Raises:
            OperatorError: If a method of the operator returns what it must not: G another shape or
                dtype than its state has, `decode` another number of samples, and so on; if G works
                in place, or holds BatchNorm or Dropout in training mode.
        """
        g, solution = self.solve(x, z0)
        return self.decode(g, solution.z), solution

    def solve(self, x: Any, z0: Tensor | None = None) -> tuple[FixedPointMap, Solution]:
        """Solve for the fixed point, and return the map too, for what is measured there.

        Args:
            x: The input, in the form that the operator's `encode` takes.
            z0: Initial iterate, as in `forward`.

        Returns:
            The map z -> G(z, x), whose `c` is the encoded input, and the solution.

        Raises:
            OperatorError: As `forward` does.
        """
        g, z0 = self.bind(x, z0)
        return g, self.solve_bound(g, z0)

    def solve_bound(self, g: FixedPointMap, z0: Tensor) -> Solution:
        """Solve for the fixed point of a map that `bind` made.

        Args:
            g: The map.
            z0: Initial iterate, of the shape of the one that `bind` returned.

        Raises:
            OperatorError: As `forward` does.
        """
        solver = self.solver
        if self.compiled is not None:
            solver = self.compiled.of_steps(solver)
            # Compiled code has no second derivatives.
            twice = isinstance(self.adjoint, Implicit) and self.adjoint.order > 1
            g = replace(g, apply=self.compiled.of_solve(g.layout, tracked=not twice))
        with held_still(self.operator):
            if torch.is_grad_enabled():
                return self.adjoint.solve(g, z0, solver)
            return solver.solve(g, z0)

    def extra_repr(self) -> str:
        compiled = "" if self.compiled is None else f", compile={self.compiled.settings}"
        return f"solver={self.solver}, adjoint={self.adjoint}{compiled}"


def _device(c: Any) -> torch.device:
    """Return the device of the first tensor in a context; the CPU where there is none."""
    devices: list[torch.device] = []

    def note(tensor: Tensor) -> Tensor:
        devices.append(tensor.device)
        return tensor

    map_tensors(note, c)
    return devices[0] if devices else torch.device("cpu")

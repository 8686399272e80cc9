"""The local Lipschitz constant of x -> y_t(x), estimated from below by derivatives."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.objective import AbstractObjective, Mode
from lit_implicit.probes.iterates import iterates
from lit_implicit.probes.lipschitz_curve import LipschitzCurve
from lit_implicit.tree import map_tensors


def jacobian_slopes(
    equilibrium: Equilibrium,
    objective: AbstractObjective,
    batch: Any,
    n_iter: int,
    directions: Sequence[Tensor] | None = None,
    *,
    double: bool = True,
    seed: int = 0,
) -> Tensor:
    """Return |dy_t/dx d| of each sample for one direction d, all t in one pass.

    Forward-mode differentiation carries the derivative along while plain Picard iteration runs: no
    step size, no cancellation, two to three times the cost of the iterates, and the memory of one
    of them. Divide by |d| for a slope. Where x is one number per sample, d = 1 gives the local
    Lipschitz constant itself; elsewhere it is an estimate from below.

    Args:
        equilibrium: The model; its solver plays no part.
        objective: Says in which tensors of the input derivatives are taken (`leaves`), and how
            answers are measured: its `distance` must be a norm of their difference.
        batch: The samples.
        n_iter: Number T of iterations.
        directions: d, a tensor for each leaf, of its shape. None means ones.
        double: Compute in float64, on a copy of the operator.
        seed: Seed of starts that are drawn.

    Returns:
        Sizes of the derivatives, shape `(T + 1, n)`.

    Raises:
        ValueError: If the directions do not have the shapes of the leaves.
        RuntimeError: By torch, if G uses a function without a forward-mode derivative.
    """
    # Evaluation may run in inference mode, whose tensors can carry no derivative.
    with torch.inference_mode(False), torch.no_grad():
        x = map_tensors(torch.clone, objective.inputs(batch))
        wide = widest_dtype(objective.leaves(x)[0].device)
        if double and wide == torch.float64:
            operator = copy.deepcopy(equilibrium.operator).double()
            equilibrium = Equilibrium(operator)
            x = map_tensors(lambda t: t.double() if t.is_floating_point() else t, x)
        leaves = objective.leaves(x)
        if directions is None:
            directions = [torch.ones_like(leaf) for leaf in leaves]
        _check(leaves, directions)
        slopes = []
        with forward_ad.dual_level():
            duals = [
                _dual(leaf, d.clone().to(leaf)) for leaf, d in zip(leaves, directions, strict=True)
            ]
            dual_x = objective.with_leaves(x, duals)
            for y, _ in iterates(equilibrium, dual_x, n_iter, seed=seed):
                tangent = map_tensors(_tangent, y)
                zero = map_tensors(torch.zeros_like, tangent)
                slopes.append(objective.distance(tangent, zero, batch).to(wide))
        return torch.stack(slopes)


class JacobianLipschitzProbe(Metric):
    """Collect the Lipschitz curve of a model over batches by derivatives, all t in one pass.

    The counterpart of `LipschitzCurveProbe` in the limit of small perturbations: derivatives along
    the directions of the objective's modes, by plain Picard iteration; the largest of all samples.
    Where the input is one number per sample, the direction does not matter and each sample's value
    is exact. The slope of the labels is that of the modes' pairs, as their function is not at hand.

    Args:
        n_iter: Number T of iterations.
        modes: The objective's modes, `objective.modes`; what they say about aggregation plays no
            part.
        double: Compute in float64, on a copy of the model.
        seed: Seed of starts and, where the task draws them here, of perturbations.

    Raises:
        ValueError: If there is no mode, or `n_iter` is below 1.
    """

    full_state_update = False

    def __init__(
        self, n_iter: int, modes: Mapping[str, Mode], double: bool = True, seed: int = 0
    ) -> None:
        super().__init__()
        if n_iter < 1:
            raise ValueError(f"`JacobianLipschitzProbe.n_iter` must be at least 1, got {n_iter}.")
        if not modes:
            raise ValueError(
                "The objective has no modes of perturbation: give it one, or call "
                "`jacobian_slopes` with directions of your own."
            )
        self.n_iter, self.modes, self.seed = n_iter, dict(modes), seed
        self.double_precision = double
        for mode in modes:
            self.add_state(f"slopes_{mode}", default=[], dist_reduce_fx="cat")
            self.add_state(f"target_slopes_{mode}", default=[], dist_reduce_fx="cat")

    def update(self, equilibrium: Equilibrium, objective: AbstractObjective, batch: Any) -> None:
        """Differentiate the iterates on a batch, along one direction per mode."""
        generator = torch.Generator().manual_seed(self.seed + self.update_count)
        leaves = objective.leaves(objective.inputs(batch))
        scalar = len(leaves) == 1 and leaves[0].numel() == objective.n_samples(batch)
        target = objective.target(batch)
        for mode in self.modes:
            p = objective.perturb(batch, mode, generator)
            labels = objective.distance(objective.target(p.batch), target, batch) / p.size
            moved = objective.leaves(objective.inputs(p.batch))
            # In the wider of the two precisions: a small step is no difference in float32.
            directions = [b - a for a, b in zip(leaves, moved, strict=True)]
            size = p.size
            if scalar:
                directions, size = [torch.ones_like(leaves[0])], torch.ones_like(p.size)
            slopes = jacobian_slopes(
                equilibrium, objective, batch, self.n_iter, directions,
                double=self.double_precision, seed=self.seed,
            )  # fmt: skip
            wide = slopes.dtype
            getattr(self, f"slopes_{mode}").append((slopes / size).T[p.valid].to(wide))
            getattr(self, f"target_slopes_{mode}").append(labels[p.valid].to(wide))

    def compute(self) -> LipschitzCurve:
        """Return the curve over all samples seen; a mode without a valid sample is left out."""
        slopes, target_slopes, n_samples, nonfinite = {}, {}, {}, []
        for mode in self.modes:
            values = dim_zero_cat(getattr(self, f"slopes_{mode}"))
            labels = dim_zero_cat(getattr(self, f"target_slopes_{mode}"))
            if len(values) == 0:
                continue
            n_samples[mode] = len(values)
            nonfinite.append(~values.isfinite())
            slopes[mode] = values.where(values.isfinite(), -torch.inf).amax(0)
            target_slopes[mode] = float(labels.max())
        share = torch.cat(nonfinite).float().mean(0) if nonfinite else torch.ones(self.n_iter + 1)
        return LipschitzCurve(slopes, target_slopes, share, n_samples, dict.fromkeys(slopes, "max"))


def _dual(leaf: Tensor, direction: Tensor) -> Tensor:
    with warnings.catch_warnings():
        # The first call imports a part of torch that complains about another.
        warnings.simplefilter("ignore", FutureWarning)
        dual: Tensor = forward_ad.make_dual(leaf, direction)  # type: ignore[no-untyped-call]
    return dual


def _tangent(y: Tensor) -> Tensor:
    """Return the derivative that a tensor carries; zero where it depends on no leaf."""
    primal, tangent = forward_ad.unpack_dual(y)  # type: ignore[no-untyped-call]
    return torch.zeros_like(primal) if tangent is None else tangent


def _check(leaves: Sequence[Tensor], directions: Sequence[Tensor]) -> None:
    wanted, given = ([tuple(t.shape) for t in some] for some in (leaves, directions))
    if wanted != given:
        raise ValueError(
            f"`jacobian_slopes.directions` must have the shapes of the leaves, {wanted}, got "
            f"{given}."
        )

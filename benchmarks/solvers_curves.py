"""Curves over t = 1..T in one pass, against what one writes without them: a restart for each t."""

import tempfile
from typing import Any

import torch
from torch import Tensor

from lit_implicit import Equilibrium, Picard
from lit_implicit.probes import measure_lipschitz_curve, measure_test_time_curve
from lit_implicit_lp.data import LPDataModule
from lit_implicit_lp.objective import LPObjective
from lit_implicit_lp.operator import LPGraphOperator
from solvers_graphs import SIZES
from solvers_timing import in_turns, quartiles, ratio


class Curves:
    """The test-time curve and the Lipschitz curve by pairs of a graph network on linear programs.

    Args:
        device: Where it is measured.
        n: Programs.
        n_iter: T.
    """

    def __init__(self, device: torch.device, n: int = 16, n_iter: int = 40) -> None:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as root:
            data = LPDataModule(
                root=root, n_train=1, n_val=1, n_test=n, sizes=SIZES, eval_batch_size=n,
                perturb_splits=("test",), dtype="float64", progress=False,
            )  # fmt: skip
            data.prepare_data()
            data.setup("test")
            (batch,) = data.test_dataloader()
        self.batch = batch.to(device)
        self.layer = Equilibrium(LPGraphOperator(16).double().to(device)).eval()
        self.objective = LPObjective()
        self.device, self.n_iter = device, n_iter

    def answer(self, batch: Any, t: int) -> Tensor:
        """Return y_t from the start, as a user would ask for it."""
        solver = Picard(rtol=0.0, max_iter=t)
        y: Tensor = Equilibrium(self.layer.operator, solver)(self.objective.inputs(batch))[0]
        return y

    @torch.no_grad()
    def errors_by_restarts(self) -> list[Tensor]:
        """Return the mean error at each t = 1..T."""
        return [
            self.objective.error(self.answer(self.batch, t), self.batch).mean()
            for t in range(1, self.n_iter + 1)
        ]

    @torch.no_grad()
    def slopes_by_restarts(self) -> dict[str, list[Tensor]]:
        """Return the slopes by pairs at each t = 1..T, by mode."""
        generator = torch.Generator().manual_seed(0)
        modes = self.objective.modes
        pairs = {mode: self.objective.perturb(self.batch, mode, generator) for mode in modes}
        found: dict[str, list[Tensor]] = {mode: [] for mode in modes}
        for t in range(1, self.n_iter + 1):
            y = self.answer(self.batch, t)
            for mode, p in pairs.items():
                moved = self.objective.distance(self.answer(p.batch, t), y, self.batch)
                slope = (moved / p.size)[p.valid]
                found[mode].append(slope.max() if modes[mode].aggregate == "max" else slope.mean())
        return found

    def errors(self) -> Tensor:
        """Return the mean error at each t = 1..T, in one pass."""
        curve = measure_test_time_curve(self.layer, self.objective, [self.batch], self.n_iter)
        return curve.error_mean[1:]

    def slopes(self) -> dict[str, Tensor]:
        """Return the slopes at each t = 1..T by mode, in one pass."""
        curve = measure_lipschitz_curve(self.layer, self.objective, [self.batch], self.n_iter)
        return {mode: values[1:] for mode, values in curve.slopes.items()}

    def rows(self, rounds: int) -> list[dict[str, Any]]:
        """Time both curves, in one pass over restarts."""
        found = []
        for name, one, many in (
            ("test-time curve", self.errors, self.errors_by_restarts),
            ("Lipschitz curve, pairs", self.slopes, self.slopes_by_restarts),
        ):
            runs = {"one pass": one, "restarts": many}
            taken = in_turns(runs, self.device, rounds)
            found.append({
                "curve": name,
                "seconds": {key: quartiles(times) for key, times in taken.items()},
                "ratio": ratio(taken["one pass"], taken["restarts"]),
            })  # fmt: skip
        return found

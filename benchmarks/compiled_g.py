"""What `compile` costs and gains: seconds of the first calls, and of each call of G after them.

uv run python benchmarks/compiled_g.py [--mode default]

For three operators: one evaluation without gradients, and one of a training step with gradients
(the tracked call of G and a product with its Jacobian), plain and compiled, in turns in one
process; the largest difference of their values. Medians, with the quartiles of the ratio. Then the
step of `Anderson()` with the norms that stopping asks for, and no G: the fastest of all, too.
"""

import argparse
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime

import torch
from torch import Tensor, nn

from lit_implicit import AbstractOperator, AbstractSolver, Anderson
from lit_implicit.compilation import Compile, CompiledOperator
from lit_implicit.compilation.compiled_step import with_compiled_steps
from lit_implicit.layout import Dense
from lit_implicit.solvers import Evaluation


class TransformerBlock(AbstractOperator):
    """A weight-tied block before its norms: G(z, x) = block(z + x), tokens of 128 features."""

    def __init__(self, width: int = 128, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.last = nn.LayerNorm(width)

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        h = z + c
        q, k, v = self.qkv(self.norm1(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = h + self.out(
            nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        )
        gz: Tensor = self.last(h + self.mlp(self.norm2(h)))
        return gz


def scalar_mlp() -> tuple[AbstractOperator, object]:
    """ScalarMLP as configs/scalar.yaml has it, 256 points."""
    from lit_implicit_scalar.mlp import ScalarMLP

    return ScalarMLP(32, 64), torch.rand(256)


def linear_programs() -> tuple[AbstractOperator, object]:
    """LPPrimalDual of the default width, 50 programs of 50 variables."""
    from lit_implicit_lp.data import LPDataModule
    from lit_implicit_lp.objective import LPObjective
    from lit_implicit_lp.primal_dual import LPPrimalDual

    data = LPDataModule(n_train=50, n_val=2, n_test=2, batch_size=50, progress=False)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    operator = LPPrimalDual()
    with torch.no_grad():
        for weight in operator.parameters():  # else all that is learned begins as nothing
            weight += 0.1 * torch.randn_like(weight)
    return operator, LPObjective().inputs(batch)


def transformer() -> tuple[AbstractOperator, object]:
    """A transformer block of width 128, 16 sequences of 64 tokens."""
    return TransformerBlock(), torch.randn(16, 64, 128)


CASES = (scalar_mlp, linear_programs, transformer)


def seconds(work: Callable[[], object], n: int) -> float:
    start = time.perf_counter()
    for _ in range(n):
        work()
    return (time.perf_counter() - start) / n


def quartiles(values: list[float]) -> Tensor:
    return torch.tensor(values).quantile(torch.tensor([0.25, 0.5, 0.75]))


def measure(case: Callable[[], tuple[AbstractOperator, object]], settings: Compile) -> list[str]:
    torch.manual_seed(0)
    operator, x = case()
    operator.train()
    compiled = CompiledOperator(operator, settings)
    with torch.no_grad():
        c = operator.encode(x)
        z = operator.init_state(c)
        for _ in range(3):
            z = operator(z, c)
        compiled_g = compiled.of_solve(operator.layout(z, c))

    v = torch.randn_like(z)

    def evaluate(g: Callable[[Tensor, object], Tensor]) -> Tensor:
        with torch.no_grad():
            return g(z, c)

    def differentiate(g: Callable[[Tensor, object], Tensor]) -> Tensor:
        at = z.clone().requires_grad_()
        gz = g(at, c)
        return torch.autograd.grad(gz, at, v, retain_graph=True)[0]

    def row(name: str, work: Callable[[Callable[[Tensor, object], Tensor]], Tensor]) -> str:
        before = compiled.seconds
        for _ in range(3):  # the very first call is plain
            found = work(compiled_g)
        off = float((found - work(operator)).abs().max() / found.abs().max())
        n = max(1, int(0.2 / seconds(lambda: work(operator), 3)))
        plain, fast = [], []
        for _ in range(15):
            plain.append(seconds(lambda: work(operator), n))
            fast.append(seconds(lambda: work(compiled_g), n))
        low, ratio, high = quartiles([b / a for a, b in zip(plain, fast, strict=True)])
        return (
            f"| `{type(operator).__name__}` | {name} | {1e6 * quartiles(plain)[1]:.0f} | "
            f"{1e6 * quartiles(fast)[1]:.0f} | {ratio:.2f} ({low:.2f} to {high:.2f}) | "
            f"{compiled.seconds - before:.1f} | {off:.0e} |"
        )

    return [row("G", evaluate), row("G and a product", differentiate)]


@torch.no_grad()
def measure_step(d: int, settings: Compile) -> str:
    """Return the row of steps on 16 samples of d numbers, G(z) = a z + 1, itself not timed."""
    layout, a, told = Dense(16), torch.linspace(-0.3, 0.95, d), []
    solver = Anderson()
    compiled = with_compiled_steps(solver, settings, told.append)

    def steps(solver: AbstractSolver) -> tuple[list[float], Tensor]:
        stepper, z, times = solver.stepper(layout), torch.zeros(16, d), []
        for _ in range(60):
            gz = a * z + 1
            start = time.perf_counter()
            at = Evaluation(layout, z, gz)
            z = stepper.step(at)
            _ = at.residual_norm, at.g_norm
            times.append(time.perf_counter() - start)
        return times[10:], z

    start = time.perf_counter()
    found = steps(compiled)[1]
    warm_up = time.perf_counter() - start
    expected = steps(solver)[1]
    plain, fast = [], []
    for _ in range(15):
        plain.append(torch.tensor(steps(solver)[0]))
        fast.append(torch.tensor(steps(compiled)[0]))
    low, ratio, high = quartiles(
        [float(b.median() / a.median()) for a, b in zip(plain, fast, strict=True)]
    )
    cells = [
        f"{1e6 * torch.cat(times).median():.0f}, {1e6 * torch.cat(times).min():.0f}"
        for times in (plain, fast)
    ]
    off = float((found - expected).abs().max() / expected.abs().max())
    return (
        f"| `Anderson()`, 16 x {d} | step | {cells[0]} | {cells[1]} | "
        f"{ratio:.2f} ({low:.2f} to {high:.2f}) | {warm_up:.1f} | {off:.0e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", default="default")
    settings = Compile(parser.parse_args().mode)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, torch {torch.__version__}, {platform.machine()}, "
        f"{torch.get_num_threads()} thread(s), mode {settings.mode}\n"
    )
    print(
        "| operator | work | plain, µs | compiled, µs | ratio (quartiles) | warm-up, s | off by |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        for row in measure(case, settings):
            print(row, flush=True)
    for d in (4096, 128):
        print(measure_step(d, settings), flush=True)


if __name__ == "__main__":
    main()

"""Print the tables of docs/choosing_a_solver.md: calls of G, products with its Jacobian, errors.

Counts and errors, no times: they do not depend on the machine, but for rounding. Two minutes:
`uv run python benchmarks/solver_choice.py [--figure docs/images/choosing_residuals.png]`.
"""

import argparse
import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from lit_implicit import (
    GMRES,
    AbstractAdjoint,
    AbstractOperator,
    AbstractSolver,
    Anderson,
    Broyden,
    Equilibrium,
    Implicit,
    JacobianFree,
    Neumann,
    Picard,
    Solution,
    Unrolled,
)
from lit_implicit.solvers import relative_residual
from lit_implicit_scalar.mlp import ScalarMLP
from lit_implicit_scalar.objective import ScalarObjective
from lit_implicit_scalar.points import draw_points, make_batch
from lit_implicit_scalar.targets import TARGETS

DIM, N_SAMPLES, MAX_ITER = 128, 16, 2000
SOLVERS: dict[str, AbstractSolver] = {
    "Picard()": Picard(),
    "Picard(0.5)": Picard(0.5),
    "Anderson(5)": Anderson(5),
    "Anderson(10)": Anderson(10),
    "Anderson(20)": Anderson(20),
    "Broyden(10)": Broyden(10),
}
GOALS = ((1e-3, torch.float32), (1e-6, torch.float32), (1e-10, torch.float64))


class Map(AbstractOperator):
    """G(z, x) = A z + x, or tanh(A z + x)."""

    def __init__(self, a: Tensor, *, bounded: bool = False) -> None:
        super().__init__()
        self.a, self.bounded, self.n_tracked = nn.Parameter(a), bounded, 0

    def init_state(self, c: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Start from zero."""
        return torch.zeros_like(c)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Apply G once; where a gradient is recorded, count that and the products to come."""
        gz = z @ self.a.T + c
        gz = gz.tanh() if self.bounded else gz
        if not torch.is_grad_enabled():
            return gz
        self.n_tracked += 1
        counted: Tensor = CountedProducts.apply(gz)
        return counted


class CountedProducts(torch.autograd.Function):
    """The identity, which counts how often a gradient passes it."""

    n_calls = 0

    @staticmethod
    def forward(ctx: object, z: Tensor) -> Tensor:
        """Return a copy."""
        return z.clone()

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:  # type: ignore[override]
        """Return the gradient as it is."""
        CountedProducts.n_calls += 1
        return v


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def symmetric(low: float, high: float, n: int = DIM) -> Tensor:
    """Return a symmetric matrix with eigenvalues evenly spread over [low, high]."""
    basis = torch.linalg.qr(draw(n, n)).Q
    return basis @ torch.diag(torch.linspace(low, high, n, dtype=torch.float64)) @ basis.T


def outlier(value: float) -> Tensor:
    """Return `symmetric(-0.3, 0.9)` with its largest eigenvalue moved."""
    a = symmetric(-0.3, 0.9)
    v = torch.linalg.eigh(a).eigenvectors[:, -1]
    return a + (value - 0.9) * torch.outer(v, v)


def bounded(a: Tensor) -> Map:
    """Return the map tanh(A z + x)."""
    return Map(a, bounded=True)


def rotating(radius: float = 0.95, n: int = DIM) -> Tensor:
    """Return a normal matrix with eigenvalues r exp(+-i theta) that fill a disc."""
    r = torch.linspace(1, n // 2, n // 2, dtype=torch.float64).div(n // 2).sqrt() * radius
    theta = 2.399963 * torch.arange(n // 2, dtype=torch.float64)  # the golden angle
    c, s = r * theta.cos(), r * theta.sin()
    blocks = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    basis = torch.linalg.qr(draw(n, n)).Q
    return basis @ torch.block_diag(*blocks) @ basis.T


@cache
def trained() -> ScalarMLP:
    """Train the network of the task `scalar` on 1/x, as its config does but in a plain loop."""
    torch.manual_seed(0)
    operator, objective, n_steps = ScalarMLP(), ScalarObjective(), 480
    layer = Equilibrium(operator, Anderson(5, rtol=1e-3, max_iter=30), JacobianFree(3))
    optimizer = torch.optim.Adam(operator.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    points = draw_points(TARGETS["reciprocal_positive"], "train", 4096, closest=1e-2).float()
    for _ in range(n_steps):
        batch = make_batch(points[torch.randint(4096, (256,))], "reciprocal_positive")
        y, solution = layer(batch.x)
        loss = objective.loss(y, batch)[~solution.failed].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(operator.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return operator.requires_grad_(False)


@dataclass(frozen=True)
class Problem:
    """A map and inputs to solve it for."""

    name: str
    make: Callable[[], AbstractOperator]
    x: Tensor


X = draw(N_SAMPLES, DIM, seed=7)
PROBLEMS = {
    "a": Problem("affine, eigenvalues in [-0.3, 0.9]", lambda: Map(symmetric(-0.3, 0.9)), X),
    "b": Problem("affine, eigenvalues in [-0.3, 0.99]", lambda: Map(symmetric(-0.3, 0.99)), X),
    "c": Problem("affine, complex eigenvalues, modulus up to 0.95", lambda: Map(rotating()), X),
    "d": Problem("affine, eigenvalues in [-2, 0.9]", lambda: Map(symmetric(-2, 0.9)), X),
    "e": Problem("affine, as a, but one eigenvalue is 1.5", lambda: Map(outlier(1.5)), X),
    "f": Problem("affine, eigenvalues in [-0.3, 1.5]", lambda: Map(symmetric(-0.3, 1.5)), X),
    "g": Problem("tanh(A z + x), A of map b", lambda: bounded(symmetric(-0.3, 0.99)), 0.1 * X),
    "h": Problem("tanh(A z + x), eigenvalues of A in [-3, 0.9]",
                 lambda: bounded(symmetric(-3, 0.9)), 0.1 * X),
    "i": Problem("trained `ScalarMLP`, 1/x at 0.01 to 0.1", trained,
                 torch.linspace(0.01, 0.1, N_SAMPLES, dtype=torch.float64)),
}  # fmt: skip


def solve(problem: Problem, solver: AbstractSolver, dtype: torch.dtype) -> Solution:
    """Solve for all inputs of a problem in a precision."""
    operator = copy.deepcopy(problem.make()).to(dtype)
    with torch.no_grad():
        return Equilibrium(operator, solver)(problem.x.to(dtype))[1]


def calls(problem: Problem, solver: AbstractSolver, rtol: float, dtype: torch.dtype) -> str:
    """Return the median number of calls of G to a tolerance, or how many inputs miss it."""
    solution = solve(problem, replace(solver, rtol=rtol, max_iter=MAX_ITER), dtype)  # type: ignore[type-var]
    n, n_converged = len(problem.x), int(solution.converged.sum())
    median = f"{int(solution.n_eval[solution.converged].float().median())}" if n_converged else ""
    if n_converged == n:
        return median
    if solution.failed.all():
        return "diverges"
    return f"{median} ({n_converged} of {n})" if n_converged else f"> {MAX_ITER}"


def forward_rows(names: Iterable[str]) -> Iterator[list[str]]:
    """Yield a row per problem: for each solver, calls of G to each goal."""
    for name in names:
        row = [f"{name}: {PROBLEMS[name].name}"]
        for solver in SOLVERS.values():
            counts = [calls(PROBLEMS[name], solver, *goal) for goal in GOALS]
            row.append(" / ".join(counts) if len({*counts}) > 1 else counts[0])
        yield row


def contraction_and_slope(mu: float) -> tuple[Map, Tensor]:
    """Return a tanh map whose Jacobian at its fixed points has the largest singular value mu."""
    z_star = 0.3 * draw(8, 32, seed=3)
    a = symmetric(-0.3, 1.0, 32)
    slopes = 1 - z_star.tanh().square()
    a = a * (mu / max(torch.linalg.matrix_norm(s[:, None] * a, 2).item() for s in slopes))
    return bounded(a), z_star - z_star.tanh() @ a.T


ADJOINTS: dict[str, AbstractAdjoint] = {
    "Implicit(Anderson(rtol=1e-2))": Implicit(Anderson(rtol=1e-2)),
    "Implicit(Anderson(rtol=1e-4))": Implicit(Anderson(rtol=1e-4)),
    "Implicit(Picard(rtol=1e-4))": Implicit(Picard(rtol=1e-4, max_iter=500)),
    "Implicit(GMRES(rtol=1e-2))": Implicit(GMRES(rtol=1e-2)),
    "Implicit(GMRES(rtol=1e-4))": Implicit(GMRES(rtol=1e-4)),
    "Implicit(Neumann(5))": Implicit(Neumann(5)),
    "Implicit(Neumann(20))": Implicit(Neumann(20)),
    "JacobianFree(1)": JacobianFree(1),
    "JacobianFree(3)": JacobianFree(3),
    "Unrolled()": Unrolled(),
    "Unrolled(5)": Unrolled(5),
}


def gradient(
    mu: float, adjoint: AbstractAdjoint, solver: AbstractSolver
) -> tuple[Tensor, int, int]:
    """Return a loss's gradient in A and x, the tracked calls of G, and the products behind it."""
    operator, x = contraction_and_slope(mu)
    x.requires_grad_()
    CountedProducts.n_calls = 0
    y, _ = Equilibrium(operator, solver, adjoint)(x)
    # Any readout that is not special to A.
    loss = (y * draw(8, 32, seed=5)).sum() + y.square().sum()
    of_a, of_x = torch.autograd.grad(loss, [operator.a, x])
    found = torch.cat([of_a.flatten(), of_x.flatten()])
    return found, operator.n_tracked, CountedProducts.n_calls


@cache
def exact_gradient(mu: float) -> Tensor:
    """Return the gradient by a backward solve to rounding."""
    tight = Anderson(10, rtol=1e-13, max_iter=500)
    return gradient(mu, Implicit(GMRES(32, rtol=1e-14, max_iter=64)), tight)[0]


def error(a: Tensor, b: Tensor) -> float:
    """Return |a - b| / |b|."""
    return ((a - b).norm() / b.norm()).item()


def adjoint_rows(mus: Sequence[float] = (0.5, 0.9)) -> Iterator[list[str]]:
    """Yield a row per adjoint: tracked calls of G, then error, cosine and products for each mu."""
    for label, adjoint in ADJOINTS.items():
        row = [f"`{label}`"]
        for mu in mus:
            exact = exact_gradient(mu)
            solver: AbstractSolver = Anderson(10, rtol=1e-12, max_iter=500)
            if isinstance(adjoint, Unrolled):
                solver = Picard(max_iter=20)
            found, n_tracked, n_products = gradient(mu, adjoint, solver)
            row[1:] = [str(n_tracked), *row[2:]]
            cosine = torch.cosine_similarity(found, exact, dim=0).item()
            row += [f"{error(found, exact):.0e}", f"{cosine:.3f}", str(n_products)]
        yield row


def tolerance_rows(mu: float = 0.9) -> Iterator[list[str]]:
    """Yield a row per tolerance: error and cost of z* and of the default adjoint's gradient."""
    operator, x = contraction_and_slope(mu)
    with torch.no_grad():
        z_star = Equilibrium(operator, Anderson(10, rtol=1e-14, max_iter=500))(x)[0]
    for rtol in (1e-2, 1e-3, 1e-4, 1e-6):
        solver = Anderson(rtol=rtol, max_iter=200)
        with torch.no_grad():
            z, solution = Equilibrium(operator, solver)(x)
        found, _, n_products = gradient(mu, Implicit(), solver)
        worst = max(error(a, b) for a, b in zip(z, z_star, strict=True))
        yield [f"{rtol:.0e}", str(int(solution.n_eval.max())), f"{worst:.0e}",
               str(n_products), f"{error(found, exact_gradient(mu)):.0e}"]  # fmt: skip


def warm_rows() -> Iterator[list[str]]:
    """Yield a row per change of the input: calls of G from zero and from the old fixed point."""
    problem = PROBLEMS["g"]
    operator, x = problem.make(), problem.x
    solvers = {name: replace(SOLVERS[name], rtol=1e-4, max_iter=MAX_ITER) for name in  # type: ignore[type-var]
               ("Picard()", "Anderson(5)", "Broyden(10)")}  # fmt: skip
    with torch.no_grad():
        z_star = Equilibrium(operator, Anderson(10, rtol=1e-12, max_iter=MAX_ITER))(x)[0]
        for change in (1e-1, 1e-2, 1e-3):
            moved = x + change * 0.1 * draw(*x.shape, seed=11)
            row = [f"{change:.0e}"]
            for solver in solvers.values():
                starts = (None, z_star)
                counts = [Equilibrium(operator, solver)(moved, z0)[1].n_eval for z0 in starts]
                row += [str(int(count.float().median())) for count in counts]
            yield row


def floor_rows() -> Iterator[list[str]]:
    """Yield a row per precision: the least residual on map a, and the error after 400 calls."""
    problem = PROBLEMS["a"]
    exact = torch.linalg.solve(torch.eye(DIM) - symmetric(-0.3, 0.9), X.T).T
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        row = [str(dtype).removeprefix("torch.")]
        for name in ("Picard()", "Anderson(5)", "Broyden(10)"):
            least = torch.inf
            for z, ratio in iterate(problem, SOLVERS[name], 400, dtype):  # noqa: B007
                least = min(least, ratio.median().item())
            errors = (z.double() - exact).norm(dim=1) / exact.norm(dim=1)
            row.append(f"{least:.0e} / {errors.median():.0e}")
        yield row


def iterate(
    problem: Problem, solver: AbstractSolver, n_calls: int, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the state and its relative residual at each call of G, without a stop."""
    operator = copy.deepcopy(problem.make()).to(dtype)
    with torch.no_grad():
        g, z0 = Equilibrium(operator).bind(problem.x.to(dtype))
        for z, gz in islice(solver.iterates(g, z0), n_calls):
            yield z, relative_residual(g.layout.norm(gz - z), g.layout.norm(gz))


def draw_figure(path: Path) -> None:
    """Draw the median relative residual against the calls of G, a panel for each map."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    for axes, (name, problem) in zip(
        figure.subplots(3, 3, sharex=True, sharey=True).flat, PROBLEMS.items(), strict=True
    ):
        for color, (label, solver) in enumerate(SOLVERS.items()):
            ratios = [r.median() for _, r in iterate(problem, solver, 150, torch.float64)]
            # As a solve would stop: what comes after is rounding.
            end = next((k for k, ratio in enumerate(ratios) if ratio < 1e-12), 149) + 1
            axes.semilogy(range(1, end + 1), ratios[:end], color=f"C{color}", lw=1.2, label=label)
        axes.set_title(f"{name}: {problem.name}".replace("`", ""), fontsize=9)
        axes.set_ylim(1e-12, 10)
        axes.set_xlabel("calls of G" if name in "ghi" else "")
        axes.grid(alpha=0.3)
    figure.supylabel("relative residual, median of 16 inputs (float64, log scale)", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=6)
    figure.savefig(path, dpi=110)


def table(header: Sequence[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def main() -> None:
    """Print all tables, and draw the figure where a path is given."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--figure", type=Path)
    path = parser.parse_args().figure
    torch.set_num_threads(1)
    write = sys.stdout.write
    write(table(["map", *(f"`{name}`" for name in SOLVERS)], forward_rows(PROBLEMS)))
    of_mu = [f"{what}, mu = {mu}" for mu in (0.5, 0.9) for what in ("error", "cosine", "products")]
    write(table(["adjoint", "tracked calls of G", *of_mu], adjoint_rows()))
    write(table(["rtol", "calls of G", "error of z*", "products", "error of the gradient"],
                tolerance_rows()))  # fmt: skip
    of_start = [f"{name}, {start}" for name in ("Picard()", "Anderson(5)", "Broyden(10)")
                for start in ("cold", "warm")]  # fmt: skip
    write(table(["change of x", *of_start], warm_rows()))
    write(table(["precision", "Picard()", "Anderson(5)", "Broyden(10)"], floor_rows()))
    write(f"torch {torch.__version__}, Python {sys.version.split()[0]}\n")
    if path is not None:
        draw_figure(path)


if __name__ == "__main__":
    main()

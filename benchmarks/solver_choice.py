"""Print the tables of docs/choosing_a_solver.md: calls of G, products with its Jacobian, errors.

Counts and errors, no times: they do not depend on the machine, but for rounding. Two minutes:
`uv run python benchmarks/solver_choice.py [--figure docs/images/choosing_residuals.png]`.
"""

import argparse
import copy
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from lit_implicit import (
    GMRES,
    AbstractAdjoint,
    AbstractSolver,
    Anderson,
    Auto,
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
from solver_maps import (
    DIM,
    PROBLEMS,
    CountedProducts,
    Problem,
    X,
    contraction_and_slope,
    draw,
    symmetric,
)

MAX_ITER = 2000
SOLVERS: dict[str, AbstractSolver] = {
    "Picard()": Picard(),
    "Picard(0.5)": Picard(0.5),
    "Anderson(5)": Anderson(5),
    "Anderson(10)": Anderson(10),
    "Anderson(20)": Anderson(20),
    "Anderson(10, I)": Anderson(10, type="I"),
    "Broyden(10)": Broyden(10),
    "Auto()": Auto(),
}
GOALS = ((1e-3, torch.float32), (1e-6, torch.float32), (1e-10, torch.float64))


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


WARM = ("Picard()", "Anderson(5)", "Broyden(10)", "Auto()")


def warm_rows() -> Iterator[list[str]]:
    """Yield a row per change of the input: calls of G from zero and from the old fixed point."""
    problem = PROBLEMS["g"]
    operator, x = problem.make(), problem.x
    solvers = {name: replace(SOLVERS[name], rtol=1e-4, max_iter=MAX_ITER) for name in WARM}  # type: ignore[type-var]
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
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=8)
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
    of_start = [f"{name}, {start}" for name in WARM for start in ("cold", "warm")]
    write(table(["change of x", *of_start], warm_rows()))
    write(table(["precision", "Picard()", "Anderson(5)", "Broyden(10)"], floor_rows()))
    write(f"torch {torch.__version__}, Python {sys.version.split()[0]}\n")
    if path is not None:
        draw_figure(path)


if __name__ == "__main__":
    main()

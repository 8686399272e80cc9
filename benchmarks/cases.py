"""The cases: each asks one library one question with a known answer."""

from collections.abc import Callable
from typing import Any

import torch

from problem import Map, affine, affine_solution, error, matrix, random, tanh

CASES: dict[str, Callable[[Any], str]] = {}


def case(title: str) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Enter a case into the table."""

    def enter(function: Callable[[Any], str]) -> Callable[[Any], str]:
        CASES[title] = function
        return function

    return enter


def verdict(found: float, limit: float) -> str:
    """Judge a relative error."""
    return "right" if found < limit else f"wrong (relative error {found:.1e})"


@case("first derivative = dense solve")
def first_derivative(library: Any) -> str:
    a, x, v = matrix(5, 0.9).requires_grad_(), random(3, 5), random(3, 5, seed=9)
    z = library.train(affine(a, x), "picard", 1e-12, 500, 500).z
    (found,) = torch.autograd.grad((z * v).sum(), a)
    u = torch.linalg.solve((torch.eye(5).double() - a.detach()).T, v.T).T
    return verdict(error(found, u.T @ affine_solution(a.detach(), x)), 1e-8)


@case("second derivative = finite differences")
def second_derivative(library: Any) -> str:
    x, along, h = random(3, 4), random(4, 4, seed=3), 1e-5

    def gradient(a: torch.Tensor, graph: bool) -> torch.Tensor:
        z = library.train(tanh(a, x), "picard", 1e-13, 500, 500, order=2).z
        return torch.autograd.grad(z.square().sum(), a, create_graph=graph)[0]

    a = matrix(4, 0.8)
    differences = sum(
        sign * gradient((a + sign * h * along).requires_grad_(), False) / (2 * h)
        for sign in (1, -1)
    )
    a.requires_grad_()
    try:
        (found,) = torch.autograd.grad((gradient(a, True) * along).sum(), a)
    except RuntimeError:
        return "refused"
    return verdict(error(found, differences), 1e-6)


def _sick(a: torch.Tensor, first: int) -> Map:
    """Three samples; the one with a huge first entry is NaN from call `first` on."""
    x = random(3, 4)
    x[1, 0] = 100.0

    def function(z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        gz = z @ a.T + x
        marked = (x[:, :1] > 50) & torch.tensor(g.n_calls >= first)
        return torch.where(marked, torch.nan, gz)

    g = Map(function, x, (a,) if a.requires_grad else ())
    return g


@case("NaN in one sample: the others' values")
def nan_others(library: Any) -> str:
    a = matrix(4, 0.5)
    g = _sick(a, 3)
    z = library.solve(g, "anderson", 1e-10, 60).z
    # Loose, so that it judges the NaN and not the accuracy of an acceleration.
    return verdict(max(error(z[i], affine_solution(a, g.x[i])) for i in (0, 2)), 1e-6)


@case("NaN in one sample: its best iterate is kept")
def nan_best(library: Any) -> str:
    z = library.solve(_sick(matrix(4, 0.5), 6), "picard", 1e-10, 60).z[1]
    return "right" if z.isfinite().all() and z.norm() > 0 else f"wrong ({z[0].item()})"


@case("NaN in one sample: gradient of a shared weight")
def nan_gradient(library: Any) -> str:
    a = matrix(4, 0.5).requires_grad_()
    g = _sick(a, 3)
    z = library.train(g, "picard", 1e-12, 100, 100).z
    (found,) = torch.autograd.grad(z[[0, 2]].sum(), a)  # a masked loss, as one writes it
    u = torch.linalg.solve((torch.eye(4).double() - a.detach()).T, torch.ones(4, 2).double()).T
    expected = u.T @ affine_solution(a.detach(), g.x[[0, 2]])
    return verdict(error(found, expected), 1e-8) if found.isfinite().all() else "wrong (NaN)"


def _mates(library: Any, method: str) -> str:
    """Solve a sample that contracts at 0.5 alone, and beside one at 0.97; rtol is 1e-4."""
    base = matrix(5, 1.0)

    def function(z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1] * (z @ base.T) + x

    x = torch.cat([torch.tensor([[0.5], [0.97]]).double(), random(2, 4)], 1)
    together = library.solve(Map(function, x), method, 1e-4, 200).z[0]
    alone = library.solve(Map(function, x[:1]), method, 1e-4, 200).z[0]
    apart = error(together, alone)
    return "right" if apart < 1e-12 else f"depends on it (differs by {apart:.0e})"


@case("a sample alone = beside a slow one: Picard")
def mates_picard(library: Any) -> str:
    return _mates(library, "picard")


@case("a sample alone = beside a slow one: Anderson")
def mates_anderson(library: Any) -> str:
    return _mates(library, "anderson")


@case("a sample alone = beside a slow one: Broyden")
def mates_broyden(library: Any) -> str:
    return _mates(library, "broyden")


@case("Anderson: the same error at scales 1e-4, 1, 1e4")
def scales(library: Any) -> str:
    basis = torch.linalg.qr(random(64, 64)).Q
    a = basis @ torch.diag(torch.linspace(-0.3, 0.95, 64).double()) @ basis.T
    errors = []
    for scale in (1e-4, 1.0, 1e4):
        x = scale * random(1, 64, seed=7)
        z = library.solve(affine(a, x), "anderson", 1e-15, 50).z
        errors.append(error(z, affine_solution(a, x)))
    shown = ", ".join(f"{e:.0e}" for e in errors)
    same = max(errors) < 1.1 * min(errors)
    return f"right ({shown})" if same else f"depends on scale ({shown})"


@case("Anderson in bfloat16")
def bfloat16(library: Any) -> str:
    a, x = matrix(4, 0.5), random(2, 4)
    z = library.solve(affine(a.bfloat16(), x.bfloat16()), "anderson", 1e-2, 30).z
    return verdict(error(z, affine_solution(a, x)), 5e-2)  # bfloat16 has 8 bits


@case("Anderson, max_iter=2: an iterate is returned, not the start")
def short_budget(library: Any) -> str:
    z = library.solve(affine(matrix(4, 0.5), random(2, 4)), "anderson", 1e-12, 2).z
    return "right" if z.norm() > 0 else "wrong (the start)"


@case("BatchNorm in training mode in G")
def batch_norm(library: Any) -> str:
    norm = torch.nn.BatchNorm1d(4).double().train()
    a = matrix(4, 0.5).requires_grad_()
    g = Map(lambda z, x: 0.1 * norm(z @ a.T + x) + x, random(8, 4), (a,), norm)
    try:
        library.train(g, "picard", 1e-6, 20, 20)
    except RuntimeError:
        return "refused"
    return f"not guarded ({norm.num_batches_tracked.item()} updates of its statistics)"


@case("an unknown setting")
def unknown_keyword(library: Any) -> str:
    try:
        library.unknown_keyword()
    except TypeError:
        return "refused"
    return "ignored"


@case("a backward solve that did not converge is reported")
def unconverged_backward(library: Any) -> str:
    a = matrix(5, 0.95).requires_grad_()
    answer = library.train(affine(a, random(2, 5)), "picard", 1e-10, 800, 3)
    answer.z.sum().backward()
    said = answer.backward_converged()
    return "not reported" if said is None else "right" if said is False else "wrong (converged)"


@case("calls of G in evaluation with 10 iterations")
def evaluation_calls(library: Any) -> str:
    g = affine(matrix(5, 0.95).requires_grad_(), random(2, 5))
    library.solve(g, "picard", 1e-15, 10)
    return "right (10)" if g.n_calls == 10 else f"wrong ({g.n_calls})"

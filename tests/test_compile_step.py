"""The compiled step of `Anderson`: the numbers of the eager one, by few graphs, without a break.

The solves run in a process of their own: what checks shapes in the tests cannot be traced.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lit_implicit.solvers import Status

SOLVES = ("depth 5", "training", "depth 2", "depth 9", "mixing", "ridge", "inference", "rank 3")
# Each solve is traced for seconds, and generated code takes longer: `aot_eager` has all of them.
OF = {"eager": ("depth 5", "training", "depth 2", "inference", "rank 3"), "inductor": SOLVES[:2]}


def measured(backend):
    done = subprocess.run(
        [sys.executable, __file__, backend], capture_output=True, text=True, timeout=900,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {"solves": OF.get(backend, SOLVES), **json.loads(done.stdout)}


@pytest.fixture(
    scope="module",
    params=[pytest.param(backend, marks=pytest.mark.slow) for backend in ("eager", "aot_eager")],
)
def found(request):
    return measured(request.param)


@pytest.fixture(scope="module")
def generated():
    return measured("inductor")


def check_numbers(found):
    for kind in ("dense", "ragged"):
        for solve in found["solves"]:
            case = found[f"{kind}, {solve}"]
            assert case["told"] == [], (kind, solve)  # no fall-back: one graph, no break
            assert case["n_graphs"] > 0
            assert case["off"] < 1e-10, (kind, solve)
            assert case["steps off"] < 1e-10, (kind, solve)
            assert case["n_iter"][0] == case["n_iter"][1], (kind, solve)


def test_solves_have_the_numbers_of_eager_steps(found):
    check_numbers(found)


def test_samples_forget_as_in_eager_steps(found):
    case = found["restart"]
    assert case["forgot"][0] == case["forgot"][1]
    assert len(case["forgot"][0]) >= 2
    assert any(not all(mask) for mask in case["forgot"][0])  # each for itself
    assert case["off"] < 1e-10


def test_a_sample_that_fails_touches_no_other(found):
    case = found["fails"]
    assert case["status"] == [Status.NONFINITE if i == 2 else Status.CONVERGED for i in range(6)]
    assert case["n_iter"][0] == case["n_iter"][1]
    assert case["off"] < 1e-10


@pytest.mark.parametrize("kind", ["dense", "ragged"])
def test_a_batch_that_narrows_needs_two_graphs_at_most(found, kind):
    case = found[f"{kind}, narrows"]
    assert len(case["sizes"]) >= 2
    assert min(case["sizes"]) == 1
    assert case["n_graphs"] <= 2
    assert case["after"] == case["n_graphs"]  # a second solve, and one of another size
    assert case["n_iter"][0] == case["n_iter"][1]


@pytest.mark.parametrize("kind", ["dense", "ragged"])
def test_a_sample_is_solved_as_if_alone(found, kind):
    case = found[f"{kind}, alone"]
    assert case["n_iter"][0] == case["n_iter"][1]
    assert case["off"] < 1e-10


def test_the_norms_of_a_step_are_those_of_the_evaluation(found):
    assert found["norms"] < 1e-14


def test_what_cannot_be_compiled_runs_as_it_is(found):
    case = found["no compiler"]
    assert case["off"] < 1e-14  # plain solves step with arrays, whose sums go another way
    assert len(case["told"]) == 1
    assert case["told"][0].startswith("The step of Anderson runs without compiled code: ")


@pytest.mark.slow
def test_generated_code_has_the_numbers_of_eager_steps(generated):
    check_numbers(generated)
    assert generated["restart"]["forgot"][0] == generated["restart"]["forgot"][1]
    assert generated["dense, narrows"]["n_graphs"] <= 2


def main(backend):
    import torch
    from test_compile import RaggedRates, Rates, dense, ragged
    from torch import Tensor

    from lit_implicit import Anderson, Equilibrium, Implicit
    from lit_implicit.compilation import Compile
    from lit_implicit.compilation.compiled_step import CompiledStep, with_compiled_steps
    from lit_implicit.layout import Dense
    from lit_implicit.solvers import Evaluation

    settings = Compile(backend=backend, step=True)
    told, found = [], {}

    def tell(line):
        if not line.startswith("Compiled"):
            told.append(line)

    class HighRank(Rates):
        """States `(n, 5, 1, 1)`."""

        def init_state(self, c, generator=None):
            return super().init_state(c)[..., None, None]

        def forward(self, z, c):
            return super().forward(z[..., 0, 0], c)[..., None, None]

    def problem(kind):
        return (Rates(), dense()) if kind == "dense" else (RaggedRates(0.9), ragged())

    def compiled(solver):
        return with_compiled_steps(solver, settings, tell)

    def n_graphs(solver, layout):
        with torch.no_grad():
            return compiled(solver).stepper(layout).run.func.n_graphs

    def off(a, b):
        return float((a - b).norm() / b.norm())

    @torch.no_grad()
    def steps_off(solver, g, z0):
        """Largest relative difference over six iterates."""
        theirs = [z for (z, _), _ in zip(solver.iterates(g, z0), range(7), strict=False)]
        ours = [z for (z, _), _ in zip(compiled(solver).iterates(g, z0), range(7), strict=False)]
        return max(off(a, b) for a, b in zip(ours[1:], theirs[1:], strict=True))

    def solves(kind, solver, operator=None):
        own, x = problem(kind)
        operator = own if operator is None else operator
        g, z0 = Equilibrium(operator).bind(x)
        mine, theirs = compiled(solver).solve(g, z0), solver.solve(g, z0)
        return {
            "off": off(mine.z, theirs.z), "n_iter": [mine.n_iter.tolist(), theirs.n_iter.tolist()],
            "told": list(told), "n_graphs": n_graphs(solver, g.layout),
            "steps off": steps_off(solver, g, z0),
        }  # fmt: skip

    def trained(kind, solver):
        operator, x = problem(kind)
        leaf = x["b"] if kind == "dense" else x.b
        results = []
        for switch in (settings, None):
            layer = Equilibrium(operator, solver, Implicit(), compile=switch)
            y, solution = layer(x)
            gradients = torch.autograd.grad(y.square().sum(), [*operator.parameters(), leaf])
            results.append((torch.cat([y.detach().flatten(), *map(Tensor.flatten, gradients)]),
                            solution.n_iter.tolist()))  # fmt: skip
        (mine, n), (theirs, m) = results
        return {"off": off(mine, theirs), "n_iter": [n, m]}

    def of_kind(kind):
        exact = {"rtol": 1e-12, "max_iter": 60}
        solvers = {
            "depth 5": Anderson(**exact), "depth 2": Anderson(2, **exact),
            "depth 9": Anderson(9, **exact), "mixing": Anderson(3, 0.6, **exact),
            "ridge": Anderson(ridge=1e-3, **exact),
        }  # fmt: skip
        for name, solver in solvers.items():
            if name in OF.get(backend, SOLVES):
                found[f"{kind}, {name}"] = solves(kind, solver)
        solver = solvers["depth 5"]
        found[f"{kind}, training"] = found[f"{kind}, depth 5"] | trained(kind, solver)
        if backend == "inductor":
            return
        with torch.inference_mode():
            found[f"{kind}, inference"] = solves(kind, solver)
        high = HighRank() if kind == "dense" else None
        found[f"{kind}, rank 3"] = solves(kind, solver, high)

    def narrows(kind):
        operator, x = problem(kind)
        solver, sizes = Anderson(4, rtol=1e-10, max_iter=200), set()
        g, z0 = Equilibrium(operator).bind(x)
        select = operator.select
        operator.select = lambda c, keep: (sizes.add(int(keep.sum())), select(c, keep))[1]
        mine, theirs = compiled(solver).solve(g, z0), solver.solve(g, z0)
        n = n_graphs(solver, g.layout)
        compiled(solver).solve(g, z0)
        some = torch.arange(6) > 2
        compiled(solver).solve(g.select(some), g.layout.select(z0, some))
        found[f"{kind}, narrows"] = {
            "sizes": sorted(sizes), "n_graphs": n, "after": n_graphs(solver, g.layout),
            "n_iter": [mine.n_iter.tolist(), theirs.n_iter.tolist()],
        }  # fmt: skip
        alone = [
            compiled(solver).solve(g.select(keep), g.layout.select(z0, keep))
            for keep in torch.eye(6, dtype=torch.bool)
        ]
        found[f"{kind}, alone"] = {
            "n_iter": [mine.n_iter.tolist(), [int(one.n_iter) for one in alone]],
            "off": off(mine.z, torch.cat([one.z for one in alone])),
        }

    @torch.no_grad()
    def restart():
        """A map that bends: residuals of some samples more than double after mixed steps."""
        layout, solver, forgot, seen = Dense(5), Anderson(4), ([], []), ([], [])
        scale = torch.tensor([0.5, 2.0, 4.0, 6.0, 9.0], dtype=torch.float64)[:, None]
        start = torch.linspace(-1, 2, 15, dtype=torch.float64).reshape(5, 3)
        for i, one in enumerate((compiled(solver), solver)):
            stepper, z = one.stepper(layout), start
            for k in range(9):
                gz = torch.sin(scale * z) + 0.3 * z.roll(1, 1)
                z = stepper.step(Evaluation(layout, z, gz))
                seen[i].append(z)
                fresh = stepper.fresh if i == 0 else getattr(stepper.history, "fresh", None)
                if k > 0 and fresh is not None and fresh.any():
                    forgot[i].append([k, *fresh.tolist()])
        return {"forgot": forgot, "off": max(map(off, *seen))}

    def fails():
        operator, x = Rates(), dense(requires_grad=False)
        x["b"][2] = torch.nan
        solver = Anderson(rtol=1e-10, max_iter=200)
        g, z0 = Equilibrium(operator).bind(x)
        mine, theirs = compiled(solver).solve(g, z0), solver.solve(g, z0)
        sound = torch.arange(6) != 2
        return {
            "status": mine.status.tolist(), "off": off(mine.z[sound], theirs.z[sound]),
            "n_iter": [mine.n_iter.tolist(), theirs.n_iter.tolist()],
        }  # fmt: skip

    @torch.no_grad()
    def norms():
        operator, x = problem("dense")
        g, z = Equilibrium(operator).bind(x)
        stepper, worst = compiled(Anderson()).stepper(g.layout), 0.0
        for _ in range(6):
            at = Evaluation(g.layout, z, g(z))
            z = stepper.step(at)
            worst = max(worst, off(at.residual_norm, (at.gz - at.z).norm(dim=1)))
            worst = max(worst, off(at.g_norm, at.gz.norm(dim=1)))
        return worst

    def without_compiler():
        def broken(self):
            def run(*tensors):
                raise RuntimeError("No working C++ compiler found\nmore")

            return run

        own, lines = CompiledStep._compile, []
        CompiledStep._compile = broken
        try:
            solver = Anderson(7, rtol=1e-10)
            g, z0 = Equilibrium(Rates()).bind(dense())
            mine = with_compiled_steps(solver, settings, lines.append).solve(g, z0)
        finally:
            CompiledStep._compile = own
        return {"off": off(mine.z, solver.solve(g, z0).z), "told": lines}

    for kind in ("dense", "ragged"):
        of_kind(kind)
        narrows(kind)
    found["restart"] = restart()
    if backend != "inductor":
        found |= {"fails": fails(), "norms": norms(), "no compiler": without_compiler()}
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])

"""benchmarks/solvers.py: its counters count, its truths are true, its picks and ratios right."""

import importlib
import json
import math
from pathlib import Path

import pytest
import torch
from problems import PROBLEMS, Affine, Tanh, affine_solution, matrix, random

from lit_implicit import Anderson, Equilibrium, Implicit, Picard

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


@pytest.fixture
def part(monkeypatch):
    """Return a module of the benchmark by the end of its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return lambda name: importlib.import_module(f"solvers_{name}")


@pytest.fixture
def work(part):
    """Count what a function does outside a map on states of 4 x 8: passes, operations, looks."""

    def work(function, n_state=32):
        counter = part("counting").WorkOutside(part("calls").Calls(), n_state)
        with torch.no_grad(), counter:
            function()
        return counter.n_passes, counter.n_ops, counter.n_looks

    return work


Z, ZZ = random(4, 8), random(4, 8, seed=2)
KEEP = torch.tensor([True, True, False, True])
STACK = random(3, 4, 8)
WEIGHTS = random(3, 4)
SMALL, SMALL_RHS = torch.eye(3).double(), random(3, 1)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda: Z + ZZ, (3, 1, 0)),
        (lambda: Z + Z, (2, 1, 0)),  # one place in memory
        (lambda: Z.clone().mul_(2), (4, 2, 0)),
        (lambda: Z.clone().copy_(ZZ), (4, 2, 0)),  # copies write only
        (lambda: torch.add(Z, ZZ, out=torch.empty_like(Z)), (3, 1, 0)),
        (lambda: Z.norm(dim=1), (1, 1, 0)),
        (lambda: torch.where(KEEP[:, None], Z, ZZ), (3, 1, 0)),
        (lambda: Z[:, None].expand(4, 5, 8) * 1.0, (6, 1, 0)),  # broadcasts are read once
        (lambda: Z.reshape(2, 16).T[:3].detach(), (0, 0, 0)),  # views
        (lambda: torch.empty_like(Z), (0, 0, 0)),
        (lambda: torch.zeros(3, 4, 8).double(), (9, 2, 0)),  # written, read, written
        (lambda: torch.zeros_like(Z) + Z.new_ones(4, 8), (5, 3, 0)),
        (lambda: torch.einsum("kn,knd->nd", WEIGHTS, STACK), (4, 1, 0)),
        (lambda: torch.stack([Z, ZZ]), (4, 1, 0)),
        (lambda: WEIGHTS.sum() + 1, (0, 2, 0)),  # smaller than a state
        (lambda: Z.sum().item(), (1, 1, 1)),
        (lambda: bool((Z.sum() > 0).all()), (1, 3, 1)),
        (lambda: torch.linalg.solve(SMALL, SMALL_RHS), (0, 1, 1)),
        (lambda: KEEP.nonzero(), (0, 1, 1)),
        (lambda: STACK[:, KEEP], (4.5, 1, 1)),  # 9 of 4 rows are picked
        (lambda: STACK.clone().index_put_((torch.tensor(0),), Z), (8, 2, 0)),
        (lambda: torch.equal(Z, ZZ), (2, 1, 1)),
    ],
)
def test_work_outside_counts_known_operations(work, function, expected):
    assert work(function) == expected


def test_work_inside_the_map_is_not_counted(part):
    operator, x = Affine(matrix(6, 0.5)), random(4, 6)
    outside = part("counting").WorkOutside
    with part("calls").counted(operator) as calls, outside(calls, 24) as work:
        z = torch.zeros_like(x)
        with torch.no_grad():
            for _ in range(5):
                gz = operator(z, x)
                if (gz - z).norm() < 0:  # 3 passes, 1 pass, a comparison, a look
                    break
                z = gz
    assert (calls.n, calls.work) == (5, 5.0)
    assert (work.n_passes, work.n_ops, work.n_looks) == (1 + 5 * 4, 1 + 5 * 3, 5)


def test_narrowed_batch_counts_in_fractions_of_the_state(part):
    operator, x = Affine(matrix(6, 0.5)), random(4, 6)
    outside = part("counting").WorkOutside
    with part("calls").counted(operator) as calls, outside(calls, 24) as work, torch.no_grad():
        operator(x, x)
        half = operator(x[:2], x[:2])
        half.add(half)  # 2 passes of half a state
    assert (calls.n, calls.work, work.n_passes) == (2, 1.5, 1.0)


@pytest.mark.parametrize("n_terms", [1, 7])
def test_products_with_the_jacobian_are_counted(part, n_terms):
    operator, x = Affine(matrix(6, 0.5)), random(4, 6)
    z = x.clone().requires_grad_()
    with part("calls").counted(operator) as calls:
        gz = operator(z, x)
        for _ in range(n_terms):
            torch.autograd.grad(gz, z, x, retain_graph=True)
    assert (calls.n, calls.n_vjp) == (1, n_terms)


def test_calls_are_ended_and_bad_states_found(part):
    calls = part("calls")
    operator, x = Affine(matrix(6, 0.5)), random(4, 6)
    with calls.counted(operator) as seen, calls.at_most(operator, 3):
        for _ in range(9):
            operator(x, x)
    assert seen.n == 3
    with calls.finite(operator, every=2):
        operator(x * math.nan, x)
        with pytest.raises(ArithmeticError, match="call 2"):
            operator(x * math.nan, x)


def test_peak_is_the_largest_sum_of_living_tensors(part):
    def run():
        a = torch.zeros(1000)  # 4,000 bytes
        b = a + 1  # 8,000
        del a
        c = b * 2  # 8,000
        view = c[:10]
        d = torch.ones(2000)  # 16,000
        return d, view

    assert part("memory").peak_bytes(run, CPU) == 16_000


def test_peak_counts_what_autograd_keeps(part):
    x = torch.randn(250, requires_grad=True)  # before the run: not counted

    def run(n):
        y = x
        for _ in range(n):
            y = y.exp()  # keeps its result
        torch.autograd.grad(y.sum(), x)

    peaks = [part("memory").peak_bytes(lambda n=n: run(n), CPU) for n in (10, 20)]
    assert peaks[1] - peaks[0] == 10 * 1000


def test_closed_forms_and_long_solves_are_fixed_points(part):
    problems, zoo = part("problems"), part("zoo")
    for name, make in zoo.problems(quick=False).items():
        if name.startswith("affine") or name.startswith("tanh"):
            problem = make(CPU)
            operator, x = problem.in_float64()
            with torch.no_grad():
                gz = operator(problem.z_star, x)
            apart = (gz - problem.z_star).norm() / gz.norm()
            assert problem.z_star.dtype == torch.float64
            assert apart < 1e-12, name  # rounding of float64
    g, z0 = Equilibrium(Tanh(matrix(5, 0.9))).bind(random(3, 5))
    with pytest.raises(RuntimeError, match="was not found in 5 iterations"):
        problems.long_solve(g, z0, max_iter=5)


def test_errors_are_relative_and_per_sample(part):
    problem = part("zoo").problems(True)["tanh MLP, 64 x 256"](CPU)
    z = problem.z_star.clone()
    z[3] *= 1.25
    z[5, 0] = math.nan
    errors = problem.errors(z)
    torch.testing.assert_close(errors[3].item(), 0.25)
    assert errors[5] == math.inf
    assert errors[:3].max() == 0


def test_ragged_states_are_one_row_to_rivals(part):
    ragged = next(problem for problem in PROBLEMS if problem.name == "ragged")
    problem = part("problems").Problem("", ragged.make(), ragged.x)
    assert problem.row.shape == (1, 17)
    torch.testing.assert_close(problem.f(problem.row)[0], ragged.x.b)
    torch.testing.assert_close(problem.z_star, ragged.z_star, rtol=1e-10, atol=0)
    assert problem.errors(ragged.z_star).shape == (4,)


def test_gradient_of_a_training_step_is_the_dense_one(part):
    a, x = matrix(5, 0.8), random(3, 5)
    gradient = part("training").Gradient(part("problems").Problem("", Affine(a), x))
    u = torch.linalg.solve((torch.eye(5).double() - a).T, gradient.v.T).T
    expected = u.T @ affine_solution(a, x)
    torch.testing.assert_close(gradient.exact, expected.flatten(), rtol=1e-10, atol=1e-12)
    assert gradient.error([expected * 1.5]) == pytest.approx(0.5, rel=1e-9)
    solver = Picard(rtol=1e-13, max_iter=500)
    z = Implicit().solve(gradient.problem.g, gradient.problem.z0, solver).z
    assert gradient.error(gradient.step(z)) < 1e-10


def _ladder(part, errors, budget=100, calls=10, grid=(0.1, 0.01, 0.001, 0.0001)):
    tried = []

    def attempt(rtol):
        tried.append(rtol)
        error = errors[grid.index(rtol)]
        if isinstance(error, Exception):
            raise error
        return error, calls

    return part("picking").Ladder(attempt, budget, grid), tried


def test_picker_takes_the_loosest_tolerance(part):
    ladder, tried = _ladder(part, [0.5, 0.05, 0.004, 0.0004])
    assert ladder.loosest(0.01).rtol == 0.001
    assert ladder.loosest(0.06).rtol == 0.01  # from what was tried
    assert tried == [0.1, 0.01, 0.001]
    assert ladder.loosest(0.0005).rtol == 0.0001
    assert ladder.loosest(1e-9) is None
    assert ladder.best.error == 0.0004


def test_picker_ends_with_the_budget_and_with_failures(part):
    ladder, tried = _ladder(part, [0.5] * 4, budget=10)
    assert ladder.loosest(0.01) is None
    assert tried == [0.1]
    ladder, tried = _ladder(part, [0.5, RuntimeError("singular\nmatrix"), 0.0, 0.0])
    assert ladder.loosest(0.01) is None
    assert (ladder.trials[-1].failure, tried) == ("RuntimeError: singular", [0.1, 0.01])
    assert ladder.best.error == 0.5


def test_picker_gives_up_on_the_hopelessly_slow(part, monkeypatch):
    picking, clock = part("picking"), {"now": 0.0}
    monkeypatch.setattr(picking.time, "perf_counter", lambda: clock["now"])
    hurry = picking.Hurry(factor=8)

    def ladder(seconds, errors):
        def attempt(rtol):
            clock["now"] += seconds
            return errors[rtol], 10

        return picking.Ladder(attempt, 100, (0.1, 0.01), hurry)

    errors = {0.1: 0.5, 0.01: 0.0}
    assert ladder(1.0, errors).loosest(0.1).rtol == 0.01
    assert ladder(7.0, errors).loosest(0.1).rtol == 0.01
    slow = ladder(9.0, errors)
    assert slow.loosest(0.1) is None
    assert slow.best.failure == "given up: 8 times as long as the fastest"
    assert ladder(9.0, {0.1: 0.05}).loosest(0.1).rtol == 0.1  # slow, but there


def test_goal_is_loosened_until_one_reaches_it(part):
    ladders = [_ladder(part, [0.5, 0.05, 0.04, 0.02])[0], _ladder(part, [0.9] * 4)[0]]
    assert part("picking").reachable(0.05, ladders) == 0.05
    assert part("picking").reachable(0.001, ladders) == pytest.approx(0.001 * 10**1.5)
    with pytest.raises(RuntimeError, match="No method"):
        part("picking").reachable(0.001, [_ladder(part, [math.inf] * 4)[0]])


def test_rounds_take_turns_and_leave_out_the_slow(part, monkeypatch):
    timing, order = part("timing"), []
    clock = {"now": 0.0}
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock["now"])

    def run(name, seconds):
        def go():
            order.append(name)
            clock["now"] += seconds

        return go

    lasts = {"a: 1": 1.0, "a: 2": 3.0, "b: 1": 5.0, "b: 2": 9.0, "c: 1": 4.0}
    runs = {name: run(name, seconds) for name, seconds in lasts.items()}
    taken = timing.in_turns(runs, CPU, rounds=2, always=("b",))
    assert order == [*lasts, *2 * ["a: 1", "b: 1", "b: 2", "c: 1"]]
    assert taken == {"a: 1": [1, 1], "a: 2": [3], "b: 1": [5, 5], "b: 2": [9, 9], "c: 1": [4, 4]}
    order.clear()
    taken = timing.in_turns(runs, CPU, rounds=1, factor=1.5)
    assert order == [*lasts, "a: 1"]
    assert taken["c: 1"] == [4]
    assert timing.seconds(run("c", 0.25), CPU, number=4) == 0.25


def test_ratios_are_taken_round_by_round(part):
    timing = part("timing")
    assert timing.ratio([2.0, 4.0, 9.0], [1.0, 4.0, 3.0]) == {
        "median": 2.0, "q25": 1.5, "q75": 2.5
    }  # fmt: skip
    assert timing.geometric_mean([0.5, 8.0, 2.0]) == pytest.approx(2.0)
    assert math.isnan(timing.geometric_mean([]))


def _row(library, method, times, n_calls=10):
    found = {"problem": "p", "goal": 1e-3, "library": library, "method": method}
    if times is None:
        return {**found, "seconds": None, "failed": {}}
    times = [float(t) for t in times]
    median = {"median": sorted(times)[len(times) // 2]}
    return {**found, "n_calls": n_calls, "seconds": median, "seconds_each": times}


def test_comparison_is_of_the_best_with_the_best_rival(part):
    comparing = part("comparing")
    rows = [
        _row("lit-implicit", "Picard", [4, 4, 4]),
        _row("lit-implicit", "Anderson", [2, 3, 2]),
        _row("torchdeq", "anderson", [8, 4, 8]),
        _row("torchdeq", "broyden", None),
        _row("plain loop", "Picard", [10, 10, 10]),
        _row("plain loop", "oracle", [1, 1, 1], n_calls=5),
    ]
    (entry,) = comparing.compare(rows)
    assert (entry["ours"], entry["rival"]) == ("Anderson", "torchdeq: anderson")
    assert entry["ratio"]["median"] == 0.25  # of 2/8, 3/4, 2/8
    assert entry["ratios"]["Picard"]["median"] == 0.5
    # Ten calls of a fifth of a second each, of eight seconds.
    assert entry["rival_share_outside"] == pytest.approx(0.75)
    assert comparing.mean_ratio([entry, {"ratio": {"median": 4.0}}]) == pytest.approx(1.0)
    (other,) = comparing.compare(rows, {"plain loop"})
    assert (other["rival"], other["ratio"]["median"]) == ("plain loop: Picard", 0.2)
    (alone,) = comparing.compare(rows[3:4] + rows[4:5])
    assert (alone["ours"], alone["rival"]) == (None, "plain loop: Picard")


def test_targets_say_what_is_reached(part):
    entry = {"problem": "p", "goal": 1e-3, "ours": "Auto", "rival": "r: s"}
    content = {
        "forward": [
            {**entry, "ratio": {"median": 0.5}, "rival_share_outside": 0.6},
            {**entry, "ratio": {"median": 0.98}, "rival_share_outside": 0.4},
        ],
        "training_torchdeq": [{**entry, "ours": None}],
        "skewed_batch": [{"solver": "Picard", "iterations": [10, 100], "ratio": {"median": 0.41}}],
    }
    found = {line["target"]: line for line in part("targets").targets(content)}
    measured = {name: (line["measured"], line["reached"]) for name, line in found.items()}
    assert measured == {
        "forward solve / best rival, worst problem": (0.98, True),
        "the same, where over half of its time is outside G": (0.5, True),
        "the same, geometric mean": (pytest.approx(0.7), True),
        "training step / torchdeq, worst problem": (math.inf, False),
        "10 % slow samples, with / without compaction, Picard": (0.41, False),
    }


@pytest.mark.filterwarnings("ignore")  # the libraries' own
def test_every_method_solves_and_differentiates(part):
    """Each reaches an error of 1e-3 on an easy problem, in values and in gradients."""
    problem = part("problems").affine_problem("p", 0.5, 1.0, 16, CPU, n=3)
    methods, versions = part("methods").methods()
    assert versions["torchdeq"] == "0.1.0"  # in the group `dev`; the others where installed
    rows = part("forward").forward_rows(problem, methods, rounds=1)
    assert [row for row in rows if row["seconds"] is None and row["goal"] == 1e-3] == []
    assert all(row["error"] <= row["goal"] for row in rows if row["seconds"])
    free = [row for row in rows if row["method"] == "oracle"]
    assert all(row["passes_per_iteration"] == row["looks_per_iteration"] == 0 for row in free)
    plain = next(row for row in rows if row["library"] == "plain loop")
    # gz - z reads two states and writes one; two norms read one each.
    assert (plain["passes_per_iteration"], plain["looks_per_iteration"]) == (5, 1)
    for row in part("training").training_rows(
        problem, part("gradients").gradient_methods(), 1e-3, rounds=1
    ):
        assert row["seconds"] is not None
        assert row["error"] <= 1e-3


@pytest.mark.filterwarnings("ignore")
def test_evaluation_makes_no_call_more_than_it_says(part):
    problem = part("problems").affine_problem("p", 0.5, 1.0, 16, CPU, n=3)
    found = part("evaluation").evaluation_rows(
        problem, part("evaluation").evaluation_methods(), 1e-3, rounds=1
    )
    ours = next(row for row in found if row["method"] == "Equilibrium, Anderson")
    solution = Anderson(rtol=ours["rtol"], max_iter=100).solve(problem.g, problem.z0)
    assert ours["n_calls"] == solution.n_eval.max()


@pytest.mark.slow
def test_a_quick_run_fills_tables_figure_and_json(part, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    threads = torch.get_num_threads()
    try:
        importlib.import_module("solvers").main(["--quick", "--output", str(tmp_path / "s.json")])
    finally:
        torch.set_num_threads(threads)
    content = json.loads((tmp_path / "s.json").read_text())
    assert (tmp_path / "s.png").stat().st_size > 10_000
    assert content["geometric_mean_ratio"] > 0
    assert len(content["forward"]) == 2
    assert {line["reached"] for line in content["targets"]} <= {True, False}
    assert str(tmp_path) not in json.dumps(content)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120

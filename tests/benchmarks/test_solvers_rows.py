"""The benchmark of solvers knows its problems' answers, and its methods find them."""

import json
import math

import pytest
import torch
from problems import PROBLEMS, Affine, Tanh, affine_solution, matrix, random

from lit_implicit import Anderson, Equilibrium, Implicit, Picard

CPU = torch.device("cpu")


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
def test_a_quick_run_fills_tables_figure_and_json(part, tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        part("").main(["--quick", "--output", str(tmp_path / "s.json")])
    finally:
        torch.set_num_threads(threads)
    content = json.loads((tmp_path / "s.json").read_text())
    assert (tmp_path / "s.png").stat().st_size > 10_000
    assert content["geometric_mean_ratio"] > 0
    assert len(content["forward"]) == 2
    assert {line["reached"] for line in content["targets"]} <= {True, False}
    assert str(tmp_path) not in json.dumps(content)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120

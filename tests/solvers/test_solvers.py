"""All solvers over the shared problems, and what each of them promises by itself."""

import math
import subprocess
import sys
from itertools import islice, pairwise

import pytest
import torch
from problems import NAMES, PROBLEMS, Affine, Tanh, affine_solution, matrix, random, solve, systems

from lit_implicit import AbstractOperator, Anderson, Auto, Broyden, Equilibrium, Picard, Status
from lit_implicit.solvers import base

EXACT = {"rtol": 1e-13, "max_iter": 600}
SOLVERS = {
    "picard": Picard(**EXACT),
    "damped": Picard(0.7, **EXACT),
    "anderson": Anderson(**EXACT),
    "mixing": Anderson(3, 0.6, **EXACT),
    "type I": Anderson(type="I", **EXACT),
    "mixing, type I": Anderson(3, 0.6, type="I", **EXACT),
    "auto": Auto(**EXACT),
    "broyden": Broyden(**EXACT),
    "short broyden": Broyden(2, **EXACT),
}
each_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=NAMES)


@each_solver
@each_problem
def test_reaches_the_known_fixed_point(problem, solver):
    z, solution = solve(problem.make(), problem.x, solver)
    # A residual of 1e-13 and a contraction of 0.9 leave an error of 1e-12, relative to the state.
    assert torch.allclose(z, problem.z_star, rtol=1e-10, atol=1e-12)
    assert solution.converged.all()
    assert (solution.relative_residual <= 1e-13).all()


@each_solver
@each_problem
def test_a_sample_does_not_see_its_batch_mates(problem, solver):
    _, together = solve(problem.make(), problem.x, solver)
    for i, (x, _) in enumerate(problem.alone):
        z, alone = solve(problem.make(), x, solver)
        assert alone.n_iter.item() == together.n_iter[i].item()
        of_sample = torch.arange(len(problem.alone)) == i
        g_layout = problem.make().layout(together.z, problem.x)
        part = g_layout.select(together.z, of_sample)
        assert torch.allclose(part, z, rtol=1e-13, atol=1e-15)  # sums in another order


@each_solver
def test_counts_are_the_calls_of_g(solver):
    operator = Affine(matrix(6, 0.8))
    _, solution = solve(operator, random(1, 6), solver)
    assert operator.n_calls == solution.n_eval.item() == solution.n_iter.item()


def test_picard_stops_at_the_tolerance():
    # z -> z/2 + 1 from 0: the residual at z_k is 2^-k and G(z_k) = 2 - 2^-k.
    for rtol in (1e-1, 1e-3, 1e-6):
        k = next(k for k in range(99) if 2.0**-k <= rtol * (2 - 2.0**-k))
        x, a = torch.ones(1, 1).double(), torch.tensor([[0.5]]).double()
        z, solution = solve(Affine(a), x, Picard(rtol=rtol))
        assert solution.n_iter.item() == k + 1
        assert z.item() == 2 - 2.0**-k
        assert solution.relative_residual.item() == pytest.approx(2.0**-k / (2 - 2.0**-k))


def test_absolute_tolerance_stops_too():
    x, a = torch.ones(1, 1).double(), torch.tensor([[0.5]]).double()
    _, solution = solve(Affine(a), x, Picard(rtol=0.0, atol=2.0**-7))
    assert solution.n_iter.item() == 8


def test_damping_is_the_share_of_the_new_value():
    x, a = torch.ones(1, 1).double(), torch.tensor([[0.5]]).double()
    z, _ = solve(Affine(a), x, Picard(0.25, rtol=0.0, max_iter=2))
    # z_1 = 0.25 * 1; z_2 = 0.75 * 0.25 + 0.25 * (0.125 + 1)
    assert z.item() == 0.75 * 0.25 + 0.25 * 1.125


def test_anderson_of_depth_one_is_picard():
    problem = PROBLEMS[1]
    z, a = solve(problem.make(), problem.x, Anderson(depth=1))
    z2, b = solve(problem.make(), problem.x, Picard())
    assert torch.equal(z, z2)
    assert torch.equal(a.n_iter, b.n_iter)


def test_anderson_ends_on_an_affine_map_like_gmres():
    # With full memory it spans the Krylov space: n + 1 mixed steps solve n linear equations.
    n = 6
    a, x = matrix(n, 0.95), random(2, n)
    z, _ = solve(Affine(a), x, Anderson(depth=n + 2, rtol=0.0, max_iter=n + 2, ridge=0.0))
    assert torch.allclose(z, affine_solution(a, x), rtol=1e-9)


def spectral() -> torch.Tensor:
    """A symmetric matrix of size 128 with spectrum [-0.3, 0.99], evenly spread."""
    basis = torch.linalg.qr(random(128, 128)).Q
    return basis @ torch.diag(torch.linspace(-0.3, 0.99, 128).double()) @ basis.T


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize(
    ("solver", "calls"),
    # Calls of G to a true error of 1e-6, as measured, with a margin where rounding moves them;
    # plain iteration takes 1321.
    [
        (lambda **given: Anderson(5, **given), 270),
        (lambda **given: Anderson(10, **given), 140),
        (lambda **given: Anderson(20, **given), 100),
        (lambda **given: Broyden(5, **given), 160),
        (lambda **given: Broyden(10, **given), 160),
        (lambda **given: Broyden(20, **given), 160),
    ],
    ids=["anderson5", "anderson10", "anderson20", "broyden5", "broyden10", "broyden20"],
)
def test_calls_to_an_error_on_a_slow_map_of_any_scale(solver, calls, scale):
    a = spectral()
    x = random(1, 128, seed=7) * scale
    operator, z_star, errors = Affine(a), affine_solution(a, x), []
    g, z0 = Equilibrium(operator).bind(x)

    def note(k, z, gz):
        errors.append(((gz - z_star).norm() / z_star.norm()).item())

    solver(rtol=0.0, max_iter=calls).solve(g, z0, on_iterate=note)
    assert min(errors) < 1e-6
    assert operator.n_calls == calls


@pytest.mark.parametrize("gain", [2.0, 5.0, -5.0])
@pytest.mark.parametrize("size", [1, 3])
def test_anderson_solves_what_expands_and_stays_there(size, gain):
    """In `size` dimensions `size` differences tell all of an affine map, however steep it is."""
    a = gain * torch.linalg.qr(random(size, size)).Q
    x = random(6, size, seed=3)
    z_star = affine_solution(a, x)
    g, z0 = Equilibrium(Affine(a)).bind(x)
    assert Anderson(size + 1, rtol=1e-10).solve(g, z0).converged.all()
    errors = [
        ((z - z_star).norm(dim=1) / z_star.norm(dim=1)).max()
        for z, _ in islice(Anderson(size + 1).iterates(g, z0), 200)
    ]
    # Past rounding, plain steps lead away, until there are differences to mix again.
    assert max(errors[20:]) < 1e-11


@pytest.mark.parametrize("gain", [2.0, 5.0, -5.0])
def test_secant_methods_solve_what_expands_and_stay_there(gain):
    """A step of length zero, at the rounding of G, must not make them forget what they know."""
    a, x = torch.tensor([[gain]]), random(6, 1, seed=3).float()
    z_star = affine_solution(a, x)
    g, z0 = Equilibrium(Affine(a)).bind(x)
    for solver in (Broyden(rtol=1e-9, max_iter=60), Anderson(2, type="I", rtol=1e-9, max_iter=60)):
        z = solver.solve(g, z0).z
        assert ((z - z_star).norm(dim=1) / z_star.norm(dim=1)).max() < 2e-6


class Projection(Affine):
    """Half the projection on the cone of positive matrices, plus x: LAPACK takes no NaN."""

    def forward(self, z, c):
        values, vectors = torch.linalg.eigh(z)
        positive = vectors @ torch.diag_embed(values.clamp(min=0)) @ vectors.mT
        late = (z != 0).any((1, 2), keepdim=True)
        return torch.where(late & (c[:, :1, :1] > 50), float("nan"), 0.5 * positive + c)


@each_solver
@pytest.mark.parametrize("every", [1, 4])
def test_g_is_never_given_what_is_not_finite(monkeypatch, solver, every):
    monkeypatch.setattr(base, "looks_every", lambda device: every)
    x = torch.stack([torch.diag(random(3, seed=i).abs()) for i in range(4)])
    x[1, 0, 0] = 100.0
    z, solution = solve(Projection(matrix(2, 0.5)), x, solver)
    assert solution.status.tolist() == [0, Status.NONFINITE, 0, 0]
    sound = torch.tensor([0, 2, 3])
    assert torch.allclose(z[sound], 2 * x[sound], rtol=1e-11)


def test_solves_do_not_ask_what_torch_cannot_tell():
    """Reduced precision, set by the newer interface, is no question that the older one answers."""
    code = """
import torch
from lit_implicit import Anderson, Dense
from lit_implicit.solvers import Evaluation
backend = torch.backends.mkldnn.matmul
if not hasattr(backend, "fp32_precision"):
    raise SystemExit(0)
backend.fp32_precision = "bf16"
z = torch.randn(3, 200)
dot = Dense(3).dot(z, z)
assert torch.allclose(dot.double(), (z.double() ** 2).sum(1), rtol=1e-5), dot
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Sabotaged(Affine):
    """From its third call on, samples marked by a huge first entry become NaN or grow."""

    def __init__(self, a, what):
        super().__init__(a)
        self.what = what

    def forward(self, z, c):
        gz = super().forward(z, c)
        marked = (c[:, :1] > 50) & torch.tensor(self.n_calls >= 3)
        return torch.where(marked, float("nan") if self.what == "nan" else 1e4 * z, gz)


@pytest.mark.parametrize(
    ("what", "status"), [("nan", Status.NONFINITE), ("growth", Status.DIVERGED)]
)
@pytest.mark.parametrize(
    "solver",
    [Picard(), Anderson(), Anderson(type="I"), Broyden(), Auto()],
    ids=["picard", "anderson", "type I", "broyden", "auto"],
)
def test_a_failed_sample_keeps_its_best_iterate_and_harms_no_other(solver, what, status):
    a, x = matrix(4, 0.5), random(3, 4)
    x[1, 0] = 100.0
    z, solution = solve(Sabotaged(a, what), x, solver)
    sound = torch.tensor([0, 2])
    z_sound, alone = solve(Affine(a), x[sound], solver)
    assert torch.allclose(z[sound], z_sound, rtol=1e-13)
    assert torch.equal(solution.n_iter[sound], alone.n_iter)
    assert solution.status.tolist() == [Status.CONVERGED, status, Status.CONVERGED]
    assert solution.failed.tolist() == [False, True, False]
    # The second iterate, G(0) = x, has the least relative residual of those before the sabotage.
    assert torch.equal(z[1], x[1])


def test_a_budget_that_ends_is_said():
    _, solution = solve(Affine(matrix(4, 0.9)), random(2, 4), Picard(rtol=1e-12, max_iter=3))
    assert solution.status.tolist() == [Status.MAX_ITER] * 2
    assert solution.n_iter.tolist() == [3, 3]


def test_an_operator_may_have_its_own_reason_to_stop():
    class Certified(Affine):
        def stop(self, z, gz, c):
            return self.n_calls >= c[:, 0]

    x = torch.tensor([[2.0, 1.0], [4.0, 1.0]]).double()
    _, solution = solve(Certified(matrix(2, 0.9)), x, Picard(rtol=0.0))
    assert solution.n_iter.tolist() == [2, 4]
    assert solution.converged.all()


def test_a_reason_to_stop_may_be_put_on_one_operator():
    operator = Affine(matrix(2, 0.9))
    operator.stop = lambda z, gz, c: torch.ones(len(z), dtype=torch.bool)
    _, solution = solve(operator, random(3, 2), Picard(rtol=0.0))
    assert solution.n_iter.tolist() == [1, 1, 1]


def test_on_iterate_sees_each_evaluated_iterate():
    operator, x, seen = Affine(matrix(3, 0.5)), random(1, 3), []
    g, z0 = Equilibrium(operator).bind(x)
    Picard(rtol=0.0, max_iter=4).solve(g, z0, on_iterate=lambda k, z, gz: seen.append((k, z, gz)))
    assert [k for k, _, _ in seen] == [0, 1, 2, 3]
    for (_, _, gz), (_, z, _) in pairwise(seen):
        assert torch.equal(gz, z)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    "solver",
    [Anderson(rtol=1e-2), Anderson(type="I", rtol=1e-2), Broyden(rtol=1e-2), Auto(rtol=1e-2)],
    ids=["aa", "type I", "broyden", "auto"],
)
def test_accelerated_methods_run_in_low_precision(solver, dtype):
    a, x = matrix(4, 0.5).to(dtype), random(2, 4).to(dtype)
    z, _ = solve(Affine(a), x, solver)
    expected = affine_solution(a.double(), x.double())
    error = (z.double() - expected).norm() / expected.norm()
    assert error < 20 * torch.finfo(dtype).eps + 1e-2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Picard(0.0), r"damping` must lie in \(0, 1\], got 0.0"),
        (lambda: Picard(rtol=-1.0), r"Picard.rtol` must be at least 0, got -1.0"),
        (lambda: Anderson(0), r"depth` must be at least 1, got 0. Use `Picard`"),
        (lambda: Anderson(mixing=2.0), r"mixing` must lie in \(0, 1\], got 2.0"),
        (lambda: Anderson(max_iter=0), r"Anderson.max_iter` must be at least 1, got 0"),
        (lambda: Broyden(0), r"Broyden.depth` must be at least 1, got 0. Use `Picard`"),
        (lambda: Broyden(atol=-1.0), r"Broyden.atol` must be at least 0, got -1.0"),
        (lambda: Auto(1), r"Auto.depth` must be at least 2, got 1. Use `Picard`"),
        (lambda: Anderson(ridge=-1.0), r"ridge` must be at least 0, got -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_ragged_batch_has_samples_of_one_size_too():
    parts = [(matrix(3, 0.5, seed=s), random(3, seed=s)) for s in range(2)]
    operator: AbstractOperator = PROBLEMS[2].make()
    z, _ = solve(operator, systems(*parts), Anderson(**EXACT))
    assert torch.allclose(z, torch.cat([affine_solution(a, b) for a, b in parts]), rtol=1e-11)


@pytest.mark.parametrize("mixing", [1.0, 0.6])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_anderson_iterates_are_those_of_walker_and_ni(depth, mixing):
    """Their algorithm as written: weights that sum to one, by a dense least-squares solve."""
    a, x = matrix(6, 0.9), random(1, 6)
    z, iterates, images = torch.zeros(6).double(), [], []
    for k in range(8):
        iterates.append(z)
        images.append(a @ z + x[0])
        last = range(max(0, k + 1 - depth), k + 1)
        residuals = torch.stack([images[i] - iterates[i] for i in last], 1)
        base, differences = residuals[:, -1], residuals[:, :-1] - residuals[:, -1:]
        free = torch.linalg.lstsq(differences, -base[:, None]).solution[:, 0]
        weights = torch.cat([free, 1 - free.sum()[None]])
        mixed = sum(w * iterates[i] for w, i in zip(weights, last, strict=True))
        z = mixed + mixing * (residuals @ weights)
        solver = Anderson(depth, mixing, ridge=0.0, rtol=0.0, max_iter=k + 1)
        ours, _ = solve(Affine(a), x, solver)
        assert torch.allclose(ours[0], z, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("mixing", [1.0, 0.6])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_iterates_of_type_one_are_those_of_its_dense_system(depth, mixing):
    """S'(r - D gamma) = 0 over the last differences (Fang and Saad 2009, section 2.3)."""
    a, x = matrix(6, 0.9), random(1, 6)
    z, iterates, residuals = torch.zeros(6).double(), [], []
    for k in range(8):
        iterates.append(z)
        residuals.append(a @ z + x[0] - z)
        pairs = range(max(0, k + 1 - depth), k)
        z = z + mixing * residuals[-1]
        if pairs:
            s, d = (torch.stack([v[i + 1] - v[i] for i in pairs], 1) for v in (iterates, residuals))
            z = z - (s + mixing * d) @ torch.linalg.solve(s.T @ d, s.T @ residuals[-1])
        solver = Anderson(depth, mixing, type="I", ridge=0.0, rtol=0.0, max_iter=k + 1)
        ours, _ = solve(Affine(a), x, solver)
        assert torch.allclose(ours[0], z, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("make", [Affine, Tanh], ids=["affine", "tanh"])
@pytest.mark.parametrize("depth", [1, 3, 20])
def test_broyden_iterates_are_those_of_the_dense_method(make, depth):
    """Broyden (1965) as written: rank-one updates of a dense inverse, from the last steps."""
    a, x = matrix(6, 0.9), random(1, 6)
    operator = make(a)

    def residual(z):
        with torch.no_grad():
            return operator(z[None], x)[0] - z

    z = torch.zeros(6).double()
    r, pairs = residual(z), []
    for k in range(7):
        inverse = torch.eye(6).double()
        for s, y in pairs[-depth:]:
            inverse += torch.outer(s - inverse @ y, s @ inverse) / (s @ inverse @ y)
        step = inverse @ r
        z, last = z + step, r
        r = residual(z)
        pairs.append((step, last - r))  # y is the difference of z - G(z)
        ours, _ = solve(make(a), x, Broyden(depth, rtol=0.0, max_iter=k + 1))
        assert torch.allclose(ours[0], z, rtol=1e-8, atol=1e-10)


def test_broyden_of_one_number_is_the_secant_method():
    x = torch.tensor([[0.7]], dtype=torch.float64)
    z, residuals = [0.0], []
    for _ in range(5):
        residuals.append(math.tanh(0.5 * z[-1] + 0.7) - z[-1])
        slope = 1.0
        if len(z) > 1:
            slope = (residuals[-2] - residuals[-1]) / (z[-1] - z[-2])
        z.append(z[-1] + residuals[-1] / slope)
        ours, _ = solve(
            Tanh(torch.tensor([[0.5]]).double()), x, Broyden(rtol=0.0, max_iter=len(z) - 1)
        )
        assert ours.item() == pytest.approx(z[-1], rel=1e-9)


def test_broyden_ends_on_an_affine_map_after_twice_as_many_calls_as_unknowns():
    # Gay (1979), doi:10.1137/0716047: at most 2 n steps for n linear equations.
    a, x = matrix(5, 0.95), random(2, 5)
    z, _ = solve(Affine(a), x, Broyden(20, rtol=0.0, max_iter=11))
    assert torch.allclose(z, affine_solution(a, x), rtol=1e-9)


def test_broyden_forgets_its_history_when_the_residual_grows_tenfold():
    class Jumping(Affine):
        def forward(self, z, c):
            gz = super().forward(z, c)
            return gz + 1000.0 * c if self.n_calls >= 4 else gz

    a, x, seen, fresh = matrix(6, 0.5), random(1, 6), [], []
    g, z0 = Equilibrium(Jumping(a)).bind(x)
    solver = Broyden(rtol=0.0, max_iter=8)
    solver.solve(g, z0, on_iterate=lambda k, z, gz: seen.append(z))
    # From the call that jumped on, a fresh start on the map after the jump.
    g, _ = Equilibrium(Affine(a)).bind(1001 * x)
    solver.solve(g, seen[3], on_iterate=lambda k, z, gz: fresh.append(z))
    for t in range(4):
        assert torch.allclose(seen[3 + t], fresh[t], rtol=1e-9)


def test_anderson_forgets_its_history_when_the_residual_doubles():
    # A jump of the map at the fourth call makes all differences before it useless.
    class Jumping(Affine):
        def forward(self, z, c):
            gz = super().forward(z, c)
            return gz + 100.0 * c if self.n_calls >= 4 else gz

    a, x = matrix(6, 0.5), random(1, 6)
    operator, after = Jumping(a), Affine(a)
    seen = []
    g, z0 = Equilibrium(operator).bind(x)
    solver = Anderson(5, ridge=0.0, rtol=0.0, max_iter=8)
    solver.solve(g, z0, on_iterate=lambda k, z, gz: seen.append(z))
    # Call 4 evaluates seen[3] and doubles the residual, so seen[4] is a plain step, and from there
    # on the iterates are those of a fresh start at seen[3] on the map after the jump.
    g, _ = Equilibrium(after).bind(101 * x)
    fresh = []
    solver.solve(g, seen[3], on_iterate=lambda k, z, gz: fresh.append(z))
    for t in range(4):
        assert torch.allclose(seen[3 + t], fresh[t], rtol=1e-9)


def test_a_start_that_is_the_fixed_point_takes_one_evaluation():
    problem = PROBLEMS[0]
    with torch.no_grad():
        z, solution = Equilibrium(problem.make(), Anderson())(problem.x, problem.z_star)
    assert solution.n_eval.tolist() == [1] * 4
    assert torch.allclose(z, problem.z_star, rtol=1e-12)


def test_a_tiny_start_is_no_divergence():
    class Tiny(Affine):
        def forward(self, z, c):
            self.n_calls += 1
            return (3 * z).tanh() + c

    x = torch.tensor([[1e-9]]).double()
    z, solution = solve(Tiny(matrix(1, 0.5)), x, Picard(rtol=1e-8, max_iter=200))
    assert solution.converged.all()
    assert z.item() == pytest.approx(torch.tensor(3 * z.item()).tanh().item(), rel=1e-6)


def test_a_start_that_is_not_finite_comes_back_as_zeros():
    x = torch.stack([random(3), torch.full((3,), float("nan")).double()])
    with torch.no_grad():
        z, solution = Equilibrium(Affine(matrix(3, 0.5)), Picard())(x, x.clone())
    assert solution.status.tolist() == [Status.CONVERGED, Status.NONFINITE]
    assert z[1].tolist() == [0.0] * 3


def test_solves_in_inference_mode():
    problem = PROBLEMS[0]
    with torch.inference_mode():
        z, _ = Equilibrium(problem.make(), Anderson(**EXACT))(problem.x)
    assert torch.allclose(z, problem.z_star, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_anderson_stays_at_the_fixed_point_when_there_is_nothing_left_to_gain(dtype):
    a, x = matrix(6, 0.5).to(dtype), random(3, 6).to(dtype)
    z, _ = solve(Affine(a), x, Anderson(rtol=0.0, max_iter=200))
    expected = affine_solution(a, x)
    assert (z - expected).norm() <= 20 * torch.finfo(dtype).eps * expected.norm()

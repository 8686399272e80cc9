"""Refined derivatives and worst pairs against singular values of Jacobians that are known."""

import weakref

import pytest
import torch
from affine_task import AffineObjective
from problems import Affine, RaggedAffine, RaggedObjective, Tanh, matrix, random, systems

from lit_implicit import Equilibrium, Picard, Ragged
from lit_implicit.probes import jacobian_slopes, worst_pair_slopes
from lit_implicit.probes.derivatives import outside_inference
from lit_implicit.probes.sweeps import Sweeps

T = 6


def singular_values(a, n_iter, damping=1.0):
    """Largest singular value of J_t, t = 0..T, for z = (1 - b) z + b (A z + x) from 0."""
    eye, j = torch.eye(len(a), dtype=a.dtype), torch.zeros_like(a)
    values = []
    for _ in range(n_iter + 1):
        values.append(torch.linalg.matrix_norm(j, 2))
        j = (1 - damping) * j + damping * (a @ j + eye)
    return torch.stack(values)


def dense():
    """An affine map, whose J_t is the same for all samples, and a batch of three."""
    a = matrix(6, 0.9, seed=3)
    x = random(3, 6, seed=4)
    return a, Equilibrium(Affine(a.clone())), (x, x)


@pytest.mark.parametrize("damping", [1.0, 0.4])
def test_refined_directions_converge_to_the_largest_singular_value_from_below(damping):
    a, layer, batch = dense()
    expected = singular_values(a, T, damping)
    d = random(3, 6, seed=5)
    size, last = d.norm(dim=1), torch.zeros(())
    for refine in (0, 1, 2, 40):
        slopes = jacobian_slopes(
            layer, AffineObjective(), batch, T, [d], refine=refine, solver=Picard(damping)
        )
        slopes = slopes / size
        assert (slopes <= expected[:, None] * (1 + 1e-12)).all()
        assert (slopes >= last).all()  # more sweeps never give less
        last = slopes
    assert torch.allclose(slopes[T], expected[T].expand(3), rtol=1e-6)
    assert (slopes[1:, 0] > (a.new_tensor(0.5) * expected)[1:]).all()


def test_refinement_at_listed_t_reaches_the_singular_value_there():
    a, layer, batch = dense()
    at, expected = [1, 3], singular_values(a, T)
    d = random(3, 6, seed=5)
    slopes = jacobian_slopes(layer, AffineObjective(), batch, T, [d], refine=60, refine_at=at)
    slopes = slopes / d.norm(dim=1)
    assert torch.allclose(slopes[at], expected[at][:, None].expand(2, 3), rtol=1e-6)


def test_reverse_sweep_equals_autograd_through_all_steps():
    layer, x = Equilibrium(Tanh(matrix(5, 0.9, seed=1))), random(3, 5, seed=2)
    with outside_inference():
        sweeps = Sweeps(layer, AffineObjective(), (x, x), Picard(0.7))
        v = random(3, 5, seed=6)
        (back,) = sweeps.pull(sweeps.run([x], T), T, [v])
    leaf, z = x.clone().requires_grad_(), torch.zeros_like(x)
    for _ in range(T):
        z = 0.3 * z + 0.7 * layer.operator(z, leaf)
    (expected,) = torch.autograd.grad(z, leaf, v)
    assert torch.allclose(back, expected, rtol=1e-12)


def test_reverse_sweep_holds_one_graph_at_a_time_and_takes_one_call_a_step():
    layer, x = Equilibrium(Tanh(matrix(5, 0.9))), random(3, 5)

    class Saved:
        """What a graph keeps of a tensor, for as long as the graph lives."""

        def __init__(self, tensor):
            self.tensor = tensor

    def most_saved(n_iter, sweep):
        alive, most = weakref.WeakSet(), 0

        def pack(tensor):
            nonlocal most
            saved = Saved(tensor)
            alive.add(saved)
            most = max(most, len(alive))
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
            sweep(n_iter)
        return most

    def reverse(n_iter):
        trajectory = sweeps.run([x], n_iter)
        layer.operator.n_calls = 0
        sweeps.pull(trajectory, n_iter, [torch.ones_like(x)])
        assert layer.operator.n_calls == n_iter

    def unrolled(n_iter):
        leaf = x.clone().requires_grad_()
        z = torch.zeros_like(x)
        with torch.enable_grad():
            for _ in range(n_iter):
                z = layer.operator(z, leaf)
            z.sum().backward()

    with outside_inference():
        sweeps = Sweeps(layer, AffineObjective(), (x, x))
        assert most_saved(40, reverse) == most_saved(4, reverse)
    # The same count of what backpropagation through all steps keeps does grow.
    assert most_saved(40, unrolled) > 9 * most_saved(4, unrolled)


def test_one_forward_pass_serves_all_t():
    _, layer, batch = dense()
    layer.operator.n_calls = 0
    jacobian_slopes(layer, AffineObjective(), batch, T)
    assert layer.operator.n_calls == T
    layer.operator.n_calls = 0
    jacobian_slopes(layer, AffineObjective(), batch, T, refine=2)
    assert layer.operator.n_calls == T * (1 + 2 * 2)  # each refinement: back, and forth


PARTS = [(matrix(n, r, seed=n), random(n, seed=9 + n)) for n, r in ((3, 0.5), (6, 0.9), (2, 0.8))]


def test_refined_directions_are_those_of_each_ragged_sample():
    x = systems(*PARTS)
    layer, objective = Equilibrium(RaggedAffine()), RaggedObjective()
    slopes = jacobian_slopes(layer, objective, (x, x.b), T, refine=60)
    size = torch.tensor([3.0, 6.0, 2.0], dtype=torch.float64).sqrt()  # d is ones
    expected = torch.stack([singular_values(a, T)[T] for a, _ in PARTS])
    assert torch.allclose(slopes[T] / size, expected, rtol=1e-6)


def test_two_leaves_are_refined_together_and_only_those_that_move():
    x, objective = systems(*PARTS), RaggedObjective(with_values=True)
    layer, values = Equilibrium(RaggedAffine()), x.values

    def jacobian(i):
        """J_T of sample i in b, and in its matrix entries, by autograd."""
        a, b = PARTS[i]

        def iterate(b, a):
            z = torch.zeros_like(b)
            for _ in range(T):
                z = a @ z + b
            return z

        j_b, j_a = torch.autograd.functional.jacobian(iterate, (b, a))
        return j_b, j_a.flatten(1)

    both = torch.stack([torch.linalg.matrix_norm(torch.cat(jacobian(i), 1), 2) for i in range(3)])
    only = torch.stack([torch.linalg.matrix_norm(jacobian(i)[1], 2) for i in range(3)])
    for b, expected in ((torch.ones_like(x.b), both), (torch.zeros_like(x.b), only)):
        d = [b, torch.ones_like(values)]
        size = Ragged(x.index, 3).dot(b, b) + torch.tensor([9.0, 36.0, 4.0]).double()
        slopes = jacobian_slopes(layer, objective, (x, x.b), T, d, refine=80) / size.sqrt()
        assert torch.allclose(slopes[T], expected, rtol=1e-5)
        assert (slopes[T] <= expected * (1 + 1e-12)).all()


@pytest.mark.parametrize("radius", [0.0, 10.0])
def test_worst_pair_of_an_affine_map_is_its_largest_singular_value(radius):
    a, layer, batch = dense()
    expected = singular_values(a, T)[[1, 3, T]]
    start = [1e-3 * random(3, 6, seed=8)]
    slopes = worst_pair_slopes(
        layer, AffineObjective(), batch, (1, 3, T), 60, directions=[start], radius=radius
    )
    assert torch.allclose(slopes, expected[:, None].expand(3, 3), rtol=1e-3)
    # Differences of answers of size one over 1e-3: rounding is some 1e-13 of a quotient.
    assert (slopes <= expected[:, None] * (1 + 1e-11)).all()


def test_worst_pair_is_ragged_and_starts_from_the_steepest_of_its_starts():
    x = systems(*PARTS)
    layer, objective, batch = Equilibrium(RaggedAffine()), RaggedObjective(), (x, x.b)
    starts = [[1e-3 * random(len(x.b), seed=s)] for s in (1, 2, 3)]
    layout = Ragged(x.index, x.n)
    pairs = torch.stack(
        [jacobian_slopes(layer, objective, batch, T, d)[T] / layout.norm(d[0]) for d in starts]
    )
    settings = {"at": (T,), "directions": starts}
    first = worst_pair_slopes(layer, objective, batch, n_steps=0, **settings)
    assert torch.allclose(first[0], pairs.amax(0), rtol=1e-9)
    slopes = worst_pair_slopes(layer, objective, batch, n_steps=40, **settings)
    expected = torch.stack([singular_values(a, T)[T] for a, _ in PARTS])
    assert torch.allclose(slopes[0], expected, rtol=1e-3)


def test_worst_pair_climbs_towards_the_steep_end_as_far_as_its_radius_allows():
    """For G(z, x) = z - (x z - 1) / 2 on (0, 1], |dy_t/dx| falls with x."""
    from lit_implicit_scalar.objective import ScalarObjective
    from lit_implicit_scalar.points import make_batch
    from lit_implicit_scalar.reciprocal import ScalarReciprocal

    x = torch.tensor([0.1, 0.5], dtype=torch.float64)
    batch, objective = make_batch(x, "reciprocal_positive"), ScalarObjective()
    layer, d = Equilibrium(ScalarReciprocal()), [-1e-4 * torch.ones_like(x)]

    def y(x, t):
        return (1 - (1 - x / 2) ** t) / x

    for radius in (0.0, 10.0, 100.0):
        slopes = worst_pair_slopes(
            layer, objective, batch, (5, 20), 20, directions=[d], radius=radius
        )
        end = x - 1e-4 * radius
        for row, t in zip(slopes, (5, 20), strict=True):
            expected = (y(end - 1e-4, t) - y(end, t)) / 1e-4
            assert torch.allclose(row, expected, rtol=1e-6)
    plain = worst_pair_slopes(layer, objective, batch, (20,), 0, directions=[d])
    assert (slopes[1] > 1.01 * plain[0]).all()


def test_a_sample_that_fails_is_nan_and_leaves_the_others_alone():
    class Exploding(Affine):
        def forward(self, z, c):
            return super().forward(z, c) * torch.where(c[:, :1] > 50, float("nan"), 1.0)

    a, _, (x, _) = dense()
    x[1, 0] = 100.0
    layer = Equilibrium(Exploding(a.clone()))
    slopes = worst_pair_slopes(layer, AffineObjective(), (x, x), (T,), 60)[0]
    expected = singular_values(a, T)[T]
    assert slopes.isnan().tolist() == [False, True, False]
    assert torch.allclose(slopes[[0, 2]], expected, rtol=1e-3)
    refined = jacobian_slopes(layer, AffineObjective(), (x, x), T, refine=60)[T] / 6**0.5
    assert torch.allclose(refined[[0, 2]], expected, rtol=1e-6)


def test_batches_of_inference_mode_can_be_refined():
    a, layer, _ = dense()
    with torch.inference_mode():
        x = random(3, 6, seed=4)
        refined = jacobian_slopes(layer, AffineObjective(), (x, x), T, refine=40)[T] / 6**0.5
        worst = worst_pair_slopes(layer, AffineObjective(), (x, x), (T,), 60)[0]
    expected = singular_values(a, T)[T].expand(3)
    assert torch.allclose(refined, expected, rtol=1e-6)
    assert torch.allclose(worst, expected, rtol=1e-3)


def test_settings_out_of_range_are_named():
    from lit_implicit import Anderson

    _, layer, batch = dense()
    objective = AffineObjective()
    with pytest.raises(ValueError, match=r"refine` must be at least 0, got -1"):
        jacobian_slopes(layer, objective, batch, T, refine=-1)
    with pytest.raises(ValueError, match=r"refine_at` must lie in 1\.\.6, got \[7\]"):
        jacobian_slopes(layer, objective, batch, T, refine=1, refine_at=[7])
    with pytest.raises(ValueError, match=r"through Picard iteration alone, got Anderson"):
        jacobian_slopes(layer, objective, batch, T, solver=Anderson())
    with pytest.raises(ValueError, match=r"of at least 0, got \[5\], 2 and -1.0"):
        worst_pair_slopes(layer, objective, batch, [5], 2, radius=-1.0)

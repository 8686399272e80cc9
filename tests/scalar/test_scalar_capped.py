"""The cap holds whatever the weights are, and the iterates of a capped pass are not capped."""

import copy
import itertools

import pytest
import torch

from lit_implicit import Equilibrium, Picard
from lit_implicit.probes import jacobian_slopes
from lit_implicit_scalar.capped import CappedNetwork, clip_singular_values, max_min
from lit_implicit_scalar.capped_mlp import ScalarCappedMLP
from lit_implicit_scalar.capped_network import ScalarCappedNetwork
from lit_implicit_scalar.objective import ScalarObjective
from lit_implicit_scalar.points import draw_points, make_batch
from lit_implicit_scalar.targets import TARGETS

CAP = 3.0


def points(n=200):
    return draw_points(TARGETS["reciprocal_positive"], "test", n, spread="grid", closest=0.05)


def disturb(module, how):
    """Give a module other weights: by steps towards steeper ones, or large random ones."""
    weights = list(module.parameters())
    if how == "random":
        with torch.no_grad():
            for weight in weights:
                weight.add_(3 * torch.randn_like(weight))
    if how == "steps":
        optimizer = torch.optim.SGD(weights, lr=0.1)
        for _ in range(20):
            module.project()
            x = torch.rand(64, module.first.in_features, dtype=weights[0].dtype)
            optimizer.zero_grad()
            (-(module(x) - module(x + 0.1)).norm()).backward()
            optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(8, 8), (8, 2), (1, 8), (64, 64)])
def test_clipping_gives_the_nearest_matrix_of_norm_one(shape, dtype):
    torch.manual_seed(0)
    weight = 1.5 * torch.randn(shape, dtype=dtype) / shape[1] ** 0.5
    u, s, v = torch.linalg.svd(weight.double(), full_matrices=False)
    assert s.max() > 1
    clipped = clip_singular_values(weight)
    # It is clipped a millionth below 1.
    assert torch.allclose(clipped.double(), u * s.clamp(max=1) @ v, atol=3e-6)
    assert torch.linalg.matrix_norm(clipped.double(), ord=2) <= 1
    assert clip_singular_values(clipped) is None
    assert clip_singular_values(torch.full(shape, torch.nan)) is None


def test_max_min_permutes():
    h = torch.randn(50, 8)
    assert max_min(h).sort().values.equal(h.sort().values)
    assert (max_min(h)[:, :4] >= max_min(h)[:, 4:]).all()


@pytest.mark.parametrize("how", ["initial", "random", "steps"])
@pytest.mark.parametrize("n_inputs", [1, 2])
def test_no_pair_and_no_derivative_is_steeper_than_the_cap(n_inputs, how):
    torch.manual_seed(1)
    network = CappedNetwork(n_inputs, 1, CAP, 16, "Test")
    disturb(network, how)
    bound = network.bound()  # projects
    assert bound <= CAP
    network = network.double()
    v = 4 * torch.randn(400, n_inputs, dtype=torch.float64)
    v = v.requires_grad_()
    y = network(v)
    (slopes,) = torch.autograd.grad(y.sum(), v)
    assert slopes.norm(dim=1).max() <= bound * (1 + 1e-12)
    a, b = v.detach(), y.detach().squeeze(1)
    pairs = (b[:, None] - b).abs() / torch.cdist(a, a).fill_diagonal_(1.0)
    assert pairs.max() <= bound * (1 + 1e-9)
    if how == "steps":
        assert slopes.norm(dim=1).max() > 0.9 * CAP  # it can be used up


@pytest.mark.parametrize("make", [ScalarCappedNetwork, ScalarCappedMLP])
def test_weights_are_projected_by_the_next_answer_and_only_if_they_changed(make, monkeypatch):
    torch.manual_seed(0)
    model = make(CAP, 8)
    answer = model if make is ScalarCappedNetwork else Equilibrium(model, Picard(max_iter=3))
    with torch.no_grad():
        answer(points().float())
        for parameter in model.parameters():
            parameter.mul_(5)
        answer(points().float())
        norms = [torch.linalg.matrix_norm(w.double(), ord=2) for w in model.one_pass._weights]
        assert max(norms) <= 1
        monkeypatch.setattr("lit_implicit_scalar.capped.clip_singular_values", None)
        answer(points().float())
    model.load_state_dict({name: 5 * value for name, value in model.state_dict().items()})
    with pytest.raises(TypeError), torch.no_grad():
        answer(points().float())


def test_projection_works_in_inference_mode():
    with torch.inference_mode():
        model = copy.deepcopy(ScalarCappedMLP(CAP, 8)).double()
        for parameter in model.parameters():
            parameter.mul_(5)
        Equilibrium(model, Picard(max_iter=3))(points())
        assert model.one_pass.bound() <= CAP


@pytest.mark.parametrize("how", ["random", "steps"])
def test_first_iterate_is_capped_and_later_ones_grow_no_faster_than_they_may(how):
    """|dy_{t+1}/dx| <= cap sqrt(1 + |dy_t/dx|^2)."""
    torch.manual_seed(2)
    model = ScalarCappedMLP(CAP, 16)
    disturb(model.one_pass, how)
    batch = make_batch(points(), "reciprocal_positive")
    slopes = jacobian_slopes(Equilibrium(model), ScalarObjective(), batch, 8)
    assert not slopes[0].any()
    assert slopes[1].max() <= CAP
    for before, after in itertools.pairwise(slopes):
        assert (after <= CAP * (1 + before.square()).sqrt() * (1 + 1e-9)).all()


def test_operator_is_its_network_of_x_and_z_and_starts_as_a_contraction():
    torch.manual_seed(0)
    model = ScalarCappedMLP(CAP, 16).double()
    x, z = points(50), 5 * torch.randn(50, 1, dtype=torch.float64)
    c = model.encode(x)
    assert torch.allclose(model(z, c), model.one_pass(torch.cat([x[:, None], z], 1)))
    other = z + torch.randn_like(z)
    assert ((model(z, c) - model(other, c)).abs() <= 0.5 * (z - other).abs() * (1 + 1e-9)).all()


def test_iterates_of_a_capped_pass_are_far_steeper_than_the_cap():
    """By hand: G(z, x) = 0.99 z + x, so that y_t = (1 - 0.99^t) 100 x, under a cap of 1.5."""
    model = ScalarCappedMLP(1.5, 2).double()
    first, second, last = model.one_pass._weights
    with torch.no_grad():
        first.copy_(torch.tensor([[1.0, 0.99], [0.0, 0.0]]) / 1.5)
        second.copy_(torch.eye(2))
        last.copy_(torch.tensor([[1.0, 0.0]]))  # the positive part of x + 0.99 z, which is all
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
    batch = make_batch(points(50), "reciprocal_positive")
    slopes = jacobian_slopes(Equilibrium(model), ScalarObjective(), batch, 200)
    exact = (1 - 0.99 ** torch.arange(201, dtype=torch.float64)) * 100
    assert torch.allclose(slopes, exact[:, None].expand_as(slopes), rtol=1e-5)
    assert model.one_pass.bound() <= 1.5
    assert slopes[-1].min() > 50 * 1.5


@pytest.mark.parametrize("make", [ScalarCappedNetwork, ScalarCappedMLP])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cap": 0.0}, "cap` must be positive and finite, got 0.0"),
        ({"cap": float("inf")}, "cap` must be positive and finite, got inf"),
        ({"width": 7}, "width` must be even and at least 2, got 7"),
    ],
)
def test_settings_out_of_range_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=f"`{make.__name__}.{message}"):
        make(**settings)

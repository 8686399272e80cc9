"""What `Auto` chooses, seen by its calls of G and by the methods that it must then agree with."""

import pytest
import torch
from problems import Affine, matrix, random
from solver_rates import Rates, rates

from lit_implicit import Anderson, Auto, Equilibrium, Picard
from lit_implicit.layout import Dense
from lit_implicit.solvers import Evaluation


def run(operator, x, solver, z0=None):
    with torch.no_grad():
        return Equilibrium(operator, solver)(x, z0)[1]


def test_a_slow_solve_is_that_of_anderson():
    operator, x = Affine(matrix(12, 0.95)), random(4, 12)
    settings = {"rtol": 1e-11, "max_iter": 200}
    auto, anderson = (run(operator, x, s) for s in (Auto(8, **settings), Anderson(8, **settings)))
    assert auto.n_iter.tolist() == anderson.n_iter.tolist()
    assert torch.equal(auto.z, anderson.z)


def test_a_strong_contraction_is_left_to_plain_steps():
    # Residuals are 1, 1e-3, 1e-6, 1e-9: after the second, two more plain steps meet 1e-8.
    operator, x = Affine(1e-3 * torch.eye(6).double()), random(3, 6)
    auto, picard = (run(operator, x, s) for s in (Auto(rtol=1e-8), Picard(rtol=1e-8)))
    assert auto.n_iter.tolist() == picard.n_iter.tolist() == [4] * 3
    assert torch.equal(auto.z, picard.z)


def test_a_warm_start_is_left_to_plain_steps():
    operator, x = Affine(matrix(6, 0.3)), random(3, 6)
    warm = run(operator, x, Picard(rtol=1e-6)).z
    auto, picard = (run(operator, x, s, warm) for s in (Auto(rtol=1e-7), Picard(rtol=1e-7)))
    assert torch.equal(auto.z, picard.z)


class Deceiving(Affine):
    """A contraction of 0.9 whose second residual is a hundredth of the first."""

    def init_state(self, c, generator=None):
        return torch.zeros_like(c)

    def forward(self, z, c):
        self.n_calls += 1
        # The first state is zero, the second c; from there on it is affine with fixed point 1.
        after = 1.0 + z @ self.a.T - torch.ones_like(z) @ self.a.T
        return torch.where((z == 0).all(1, keepdim=True), c, after)


def test_plain_steps_that_do_not_keep_their_promise_are_given_up():
    operator = Deceiving(0.9 * torch.eye(3).double())
    x = torch.full((1, 3), 1.001).double()
    plain = run(operator, x, Picard(rtol=1e-9, max_iter=400))
    auto = run(operator, x, Auto(rtol=1e-9))
    assert auto.converged.all()
    assert auto.n_iter.item() <= 9 < plain.n_iter.item()
    assert torch.allclose(auto.z, torch.ones_like(auto.z), rtol=1e-8)


@pytest.mark.parametrize("rtol", [1e-4, 1e-10])
def test_each_sample_chooses_for_itself(rtol):
    x = rates([1e-4, 0.9, 1e-3, 0.5, 0.97, 1e-2, 0.0])
    together = run(Rates(), x, Auto(rtol=rtol, max_iter=300))
    for i in range(len(x["rate"])):
        alone = run(Rates(), {k: v[i : i + 1] for k, v in x.items()}, Auto(rtol=rtol, max_iter=300))
        assert alone.n_iter.item() == together.n_iter[i].item()
        assert torch.allclose(alone.z[0], together.z[i], rtol=1e-12, atol=1e-14)


class PartlyDeceiving(Rates):
    """Of some samples, the residual falls steeply once, and slowly from there on."""

    def forward(self, z, c):
        gz = super().forward(z, c)
        first = (z == 0).all(1) & (c["fate"] == 3)
        return torch.where(first[:, None], c["b"] / (1 - c["rate"][:, None]), gz)


@pytest.mark.parametrize("depth", [3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_a_broken_promise_is_mended_alone_as_in_a_batch(depth, seed):
    fates = [(i, 3) for i in range(0, 8, 2)]
    x = rates([0.9, 0.8, 0.95, 1e-3, 0.7, 0.97, 0.5, 0.0], fates)
    x["b"] = random(8, 5, seed=seed)
    solver = Auto(depth, rtol=1e-8, max_iter=300)
    together = run(PartlyDeceiving(), x, solver)
    assert together.converged.all()
    for i in range(8):
        alone = run(PartlyDeceiving(), {k: v[i : i + 1] for k, v in x.items()}, solver)
        assert alone.n_iter.item() == together.n_iter[i].item()
        assert torch.allclose(alone.z[0], together.z[i], rtol=1e-11, atol=1e-13)


def test_memory_grows_with_the_iterations():
    a, x = matrix(40, 0.99), random(2, 40)
    stepper, z = Auto(20, rtol=1e-12).stepper(Dense(2)), torch.zeros_like(x)
    sizes = []
    for _ in range(25):
        z = stepper.step(Evaluation(Dense(2), z, z @ a.T + x))
        history = stepper.memory.history
        sizes.append(0 if history is None else len(history.first))
    assert sizes[:6] == [0, 4, 4, 4, 4, 8]
    assert sizes[-1] == max(sizes) == 19

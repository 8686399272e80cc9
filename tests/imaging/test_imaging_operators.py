"""The plug-and-play operators against deepinv's, dense linear algebra and closed forms."""

import pytest
import torch
from deepinv.optim import HQS, L2, PGD, DEQConfig
from deepinv.optim.prior import PnP
from deepinv.physics import BlurFFT
from imaging.imaging_problem import batch, denoiser
from torch import nn

from lit_implicit import Equilibrium, Implicit, Picard
from lit_implicit.testing import operator_checks
from lit_implicit_imaging.baselines import ImagingPass, ImagingUnfolded
from lit_implicit_imaging.blur import blur, transfer_function
from lit_implicit_imaging.denoiser import ImagingDRUNet
from lit_implicit_imaging.hqs import ImagingHQS
from lit_implicit_imaging.pgd import ImagingPGD

GAIN = 3.5
"""Of the denoiser's weights: the iteration still converges, but slowly."""

KINDS = {ImagingPGD: (PGD, 1.0), ImagingHQS: (HQS, 4.0)}


class Identity(nn.Module):
    """No denoiser: G is the data step alone."""

    def forward(self, image, sigma):
        return image


def deepinv_model(kind, network, max_iter, **settings):
    rival, stepsize = KINDS[kind]
    return rival(data_fidelity=L2(), prior=PnP(denoiser=network), stepsize=stepsize,
                 sigma_denoiser=0.03, max_iter=max_iter, early_stop=False, **settings)  # fmt: skip


def physics(x):
    """deepinv takes one kernel for all."""
    return BlurFFT(tuple(x.observation.shape[1:]), filter=x.kernel[:1])


def one_kernel():
    x = batch().x
    x.kernel = x.kernel[:1].expand(2, -1, -1, -1)
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", operator_checks())
def test_operator_keeps_the_contract(check, kind):
    check(kind(denoiser()).double(), batch(3, dtype=torch.float64).x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [1, 2, 10, 50])
def test_iterates_are_those_of_deepinv(kind, t):
    x, operator = one_kernel(), kind(denoiser(GAIN), start="observation")
    model = deepinv_model(kind, operator.denoiser.network, t).eval()
    with torch.no_grad():
        expected = model(x.observation, physics(x), init=x.observation)
        y, solution = Equilibrium(operator, Picard(rtol=0.0, max_iter=t))(x)
    assert float(expected.norm()) > 1.0  # the denoiser does not send all to zero
    if t == 10:  # nor is the iteration at its end, so that t = 50 is another state
        assert (solution.relative_residual > 1e-3).all()
    assert torch.allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_deepinvs_equilibrium(kind):
    x, ours = one_kernel(), kind(denoiser())
    network = denoiser().network
    deq = DEQConfig(jacobian_free=False, max_iter_backward=60)
    model = deepinv_model(kind, network, 60, unfold=True, DEQ=deq,
                          trainable_params=["stepsize", "g_param"])  # fmt: skip
    weights = torch.randn(x.observation.shape, generator=torch.Generator().manual_seed(3))
    expected = model(x.observation, physics(x), init=torch.zeros_like(x.observation))
    (expected * weights).sum().backward()
    solver = Picard(rtol=1e-6, max_iter=60)
    y, _ = Equilibrium(ours, solver, Implicit(solver))(x)
    (y * weights).sum().backward()
    pairs = dict(zip(network.parameters(), ours.denoiser.parameters(), strict=True))
    for theirs, parameter in pairs.items():
        assert (parameter.grad - theirs.grad).norm() <= 1e-4 * theirs.grad.norm()
    # Ours are logarithms: d/d log s = s d/ds.
    (stepsize,), (sigma,) = model.params_algo["stepsize"], model.params_algo["g_param"]
    assert float(ours.log_stepsize.grad) == pytest.approx(
        float(stepsize.detach() * stepsize.grad), rel=1e-3
    )
    assert float(ours.log_sigma.grad) == pytest.approx(float(sigma.detach() * sigma.grad), rel=1e-3)


def matrix(x):
    """A of the first sample and channel, column by column."""
    height, width = x.observation.shape[-2:]
    pixels = torch.eye(height * width, dtype=x.observation.dtype).view(-1, 1, height, width)
    return blur(pixels, x.kernel[:1].expand(len(pixels), -1, -1, -1)).flatten(1).T


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_data_steps_are_those_of_dense_linear_algebra(size):
    x = batch(1, *size, dtype=torch.float64).x
    a, seen = matrix(x), x.observation[0, 0].flatten()
    z = torch.rand(1, 3, *size, dtype=torch.float64)
    flat = z[0, 0].flatten()
    gradient = flat - 0.7 * a.T @ (a @ flat - seen)
    beta = 1 / 0.7
    solved = torch.linalg.solve(
        a.T @ a + beta * torch.eye(len(a)).double(), a.T @ seen + beta * flat
    )
    for kind, expected in ((ImagingPGD, gradient), (ImagingHQS, solved)):
        operator = kind(Identity(), stepsize=0.7).double()
        found = operator(z, operator.encode(x))
        assert torch.allclose(found[0, 0].flatten(), expected, atol=1e-7)  # log of 0.7 in float32


def test_iterates_of_the_data_step_alone_have_their_closed_form():
    x = batch(2, 8, 10, dtype=torch.float64).x
    transfer = transfer_function(x.kernel, (8, 10))
    power, adjoint = transfer.abs().square(), torch.fft.rfft2(x.observation) * transfer.conj()
    # What a step leaves of the distance to the least-squares solution, frequency by frequency.
    left = {ImagingPGD: 1 - power, ImagingHQS: 1 / (1 + power)}
    for kind, factor in left.items():
        operator = kind(Identity(), stepsize=1.0).double()
        y, _ = Equilibrium(operator, Picard(rtol=0.0, max_iter=7))(x)
        expected = torch.fft.irfft2((1 - factor**7) * adjoint / power, s=(8, 10))
        assert torch.allclose(y, expected, atol=1e-10)


def test_starts_are_what_they_are_called():
    x = batch(2, 8, 8, dtype=torch.float64).x
    starts = {
        start: (op := ImagingPGD(Identity(), start=start)).init_state(op.encode(x))
        for start in ("zero", "observation", "adjoint", "pseudo_inverse")
    }
    assert not starts["zero"].any()
    assert torch.equal(starts["observation"], x.observation)
    a = matrix(x)
    seen = x.observation[0, 0].flatten()
    assert torch.allclose(starts["adjoint"][0, 0].flatten(), a.T @ seen)
    inverse = torch.linalg.pinv(a, rtol=1e-2)
    assert torch.allclose(starts["pseudo_inverse"][0, 0].flatten(), inverse @ seen, atol=1e-9)


@pytest.mark.parametrize("size", [(37, 50), (40, 33)])
def test_any_size_is_continued_periodically_and_cut_again(size):
    network = denoiser()
    image = torch.rand(1, 3, *size)
    sigma = torch.tensor(0.1)
    rows, columns = -size[0] % 8, -size[1] % 8
    whole = torch.cat((image, image[:, :, :rows]), 2)
    whole = torch.cat((whole, whole[..., :columns]), 3)
    expected = network.network(whole, sigma)[..., : size[0], : size[1]]
    assert torch.allclose(network(image, sigma), expected, atol=1e-6)
    network.residual = True
    assert torch.allclose(network(image, sigma), image + expected, atol=1e-6)


def test_the_papers_denoiser_has_its_number_of_weights():
    with torch.device("meta"):
        network = ImagingDRUNet((64, 128, 256, 512), 4)
    assert sum(p.numel() for p in network.parameters()) == 32_640_960


def test_baselines_are_a_pass_and_steps_of_their_own_weights():
    x = batch().x
    network = denoiser()
    told = ImagingPass(network, sigma=None)
    assert torch.equal(told(x), network(x.observation, x.noise))
    learned = ImagingPass(network, sigma=0.2)
    assert torch.allclose(learned(x), network(x.observation, torch.tensor(0.2)), atol=1e-6)
    unfolded = ImagingUnfolded("pgd", 3, network)
    assert sum(p.numel() for p in unfolded.parameters()) == 3 * (
        sum(p.numel() for p in network.parameters()) + 2
    )
    tied = ImagingPGD(network, start="observation")
    y, _ = Equilibrium(tied, Picard(rtol=0.0, max_iter=3))(x)
    assert torch.allclose(unfolded(x), y, atol=1e-6)


def test_steps_take_what_a_denoiser_returns_under_autocast():
    x = batch().x
    unfolded = ImagingUnfolded("hqs", 2, denoiser())
    expected = unfolded(x)
    z = expected.bfloat16()
    c = unfolded.steps[0].encode(x)
    assert torch.allclose(unfolded.steps[0](z, c), unfolded.steps[0](z.float(), c))
    with torch.autocast("cpu", torch.bfloat16):
        assert (unfolded(x) - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImagingHQS(stepsize=0.0), "`ImagingHQS.stepsize` must be positive, got 0.0"),
        (lambda: ImagingPGD(sigma=-1.0), "`ImagingPGD.sigma` must be positive, got -1.0"),
        (lambda: ImagingPGD(start="blurry"), "`ImagingPGD.start` must be one of zero, observation"),
        (lambda: ImagingDRUNet((1, 2)), r"channels` must be four positive numbers, .* \[1, 2\]"),
        (lambda: ImagingDRUNet(n_blocks=0), "`ImagingDRUNet.n_blocks` must be at least 1, got 0"),
        (lambda: ImagingPass(sigma=0.0), "`ImagingPass.sigma` must be positive or null, got 0.0"),
        (lambda: ImagingUnfolded("admm"), "method` must be pgd or hqs, got 'admm'"),
        (lambda: ImagingUnfolded(depth=0), "`ImagingUnfolded.depth` must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

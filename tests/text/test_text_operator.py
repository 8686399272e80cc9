"""The looped transformer as an operator: formulas, padding, starts, and its untied counterpart."""

import math

import pytest
import torch
from huginn_reference import Reference
from looped_problem import SIZES, looped, public_tensors, texts

from lit_implicit import Equilibrium, Implicit, JacobianFree, Picard, Unrolled
from lit_implicit.errors import DataError
from lit_implicit.testing import operator_checks
from lit_implicit_text.batch import TextInput
from lit_implicit_text.operator import LoopedTransformer
from lit_implicit_text.start import start_noise
from lit_implicit_text.untied import UntiedTransformer


def states(operator, x, n_iter):
    c = operator.encode(x)
    found = [operator.init_state(c)]
    for _ in range(n_iter):
        found.append(operator(found[-1], c))
    return found, c


@pytest.mark.parametrize("check", operator_checks())
@pytest.mark.parametrize("start", ["zero", "truncated_normal"])
def test_looped_transformer_keeps_the_contracts(check, start):
    check(looped(dtype=torch.float32, start=start), texts(offset=0.1, dtype=torch.float32))


@torch.no_grad()
def test_states_and_logits_are_those_of_the_formulas():
    operator, x = looped(start="truncated_normal", seed=3), texts(offset=0.1)
    reference = Reference(public_tensors(operator), heads=3, rope_base=100.0, norm_eps=1e-3)
    found, c = states(operator, x, 3)
    for row, length in enumerate(x.lengths.tolist()):
        e = reference.embedding(x.tokens[row, :length], x.offset[row, :length])
        s = found[0][row, :length]
        for z in found[1:]:
            s = reference.step(s, e)
            torch.testing.assert_close(z[row, :length], s)
        logits = operator.decode(found[-1], c)[row, :length]
        torch.testing.assert_close(logits, reference.logits(s))


def test_implicit_gradients_are_those_of_deep_unrolling():
    operator, x = looped(), texts(offset=0.1)
    with torch.no_grad():  # the state's half of the adapter: so small that G contracts
        operator.core.adapter.weight[:, : SIZES["width"]].mul_(0.1)
    draw = torch.randn(*x.tokens.shape, 40, generator=torch.Generator().manual_seed(1)).double()
    draw[~x.inside()] = 0  # logits at the padding mean nothing

    def gradients(solver, adjoint):
        x.offset.requires_grad_()
        y, solution = Equilibrium(operator, solver, adjoint)(x)
        tensors = (x.offset, *operator.parameters())
        return solution, torch.autograd.grad((y * draw).sum(), tensors)

    solution, found = gradients(Picard(rtol=1e-13, max_iter=200), Implicit())
    assert solution.converged.all()
    assert (solution.n_iter > 8).all()  # one step would not do
    _, expected = gradients(Picard(rtol=0.0, max_iter=60), Unrolled())
    for own, deep in zip(found, expected, strict=True):
        assert deep.norm() > 0
        torch.testing.assert_close(own, deep, rtol=1e-8, atol=1e-9)
    _, one = gradients(Picard(rtol=1e-13, max_iter=200), JacobianFree())
    assert (one[0] - expected[0]).norm() > 1e-3 * expected[0].norm()  # exactness is seen


@torch.no_grad()
def test_padding_influences_nothing_and_stays_zero():
    operator, x = looped(start="truncated_normal"), texts(offset=0.1)
    found, c = states(operator, x, 3)
    inside = x.inside()
    other = TextInput(
        torch.cat((x.tokens.where(inside, -7), torch.full((4, 5), 999)), 1),
        x.lengths,
        torch.cat((x.offset, torch.zeros(4, 5, 24)), 1).masked_fill(
            ~torch.cat((inside, torch.zeros(4, 5, dtype=torch.bool)), 1)[..., None], torch.nan
        ),
    )
    padded, c_padded = states(operator, other, 3)
    logits = operator.decode(found[-1], c)[inside]
    logits_padded = operator.decode(padded[-1], c_padded)[:, :9][inside]
    torch.testing.assert_close(logits_padded, logits, rtol=0, atol=1e-12)
    for z, z_padded in zip(found, padded, strict=True):
        assert not z[~inside].any()
        assert not z_padded[:, 9:].any()
        torch.testing.assert_close(z_padded[:, :9], z, rtol=0, atol=1e-12)


def test_no_gradient_reaches_the_padding():
    operator, x = looped(), texts(offset=0.1)
    x.offset.requires_grad_()
    found, c = states(operator, x, 2)
    operator.decode(found[-1], c)[x.inside()].square().sum().backward()
    sizes = x.offset.grad.norm(dim=-1)
    assert not sizes[~x.inside()].any()
    assert (sizes[x.inside()] > 0).all()


@torch.no_grad()
def test_batch_is_its_samples_one_by_one():
    operator, x = looped(start="truncated_normal"), texts(offset=0.1)
    found, c = states(operator, x, 4)
    logits = operator.decode(found[-1], c)
    for row, length in enumerate(x.lengths.tolist()):
        alone = TextInput(
            x.tokens[row : row + 1, :length], x.lengths[row : row + 1],
            x.offset[row : row + 1, :length],
        )  # fmt: skip
        zs, c_alone = states(operator, alone, 4)
        torch.testing.assert_close(zs[-1][0], found[-1][row, :length])
        torch.testing.assert_close(operator.decode(zs[-1], c_alone)[0], logits[row, :length])


def test_later_tokens_do_not_change_earlier_states():
    operator, x = looped(), texts((8,))
    changed = TextInput(x.tokens.clone(), x.lengths)
    changed.tokens[0, 5] = (changed.tokens[0, 5] + 1) % 40
    with torch.no_grad():
        (*_, z), _ = states(operator, x, 3)
        (*_, z_changed), _ = states(operator, changed, 3)
    assert torch.equal(z[:, :5], z_changed[:, :5])
    assert ((z - z_changed)[:, 5:].norm(dim=-1) > 1e-6).all()


def test_noise_is_a_function_of_seed_and_position():
    long, short = start_noise(5, 300, 24), start_noise(5, 40, 24)
    assert torch.equal(long[:40], short)
    assert not torch.equal(start_noise(6, 40, 24), short)
    starts = []
    for lengths, context in (((9, 3), 16), ((2, 9, 4), 64)):
        operator = looped(start="truncated_normal", seed=5, context=context)
        starts.append(operator.init_state(operator.encode(texts(lengths)))[:, :2])
    for rows in starts:
        for row in rows:
            torch.testing.assert_close(row, short[:2], rtol=0, atol=1e-7)  # kept in float32


def test_noise_is_normal_and_cut_at_three_standard_deviations():
    noise = start_noise(0, 1000, 200)
    std = math.sqrt(0.4)
    density = math.exp(-4.5) / math.sqrt(2 * math.pi)
    inside = math.erf(3 / math.sqrt(2))
    expected = std * math.sqrt(1 - 6 * density / inside)
    assert noise.std().item() == pytest.approx(expected, rel=0.01)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)
    assert 0.999 * 3 * std < noise.abs().max() <= 3 * std
    share = (noise < std).double().mean().item()  # 1 standard deviation
    below = (math.erf(1 / math.sqrt(2)) + inside) / (2 * inside)
    assert share == pytest.approx(below, abs=0.005)


def test_generator_draws_another_start_and_zero_stays_zero():
    operator, x = looped(start="truncated_normal"), texts()
    c = operator.encode(x)
    draws = [
        operator.init_state(c, None if seed is None else torch.Generator().manual_seed(seed))
        for seed in (None, 0, 0, 1)
    ]
    assert torch.equal(draws[1], draws[2])
    for a, b in ((0, 1), (1, 3)):
        assert (draws[a] - draws[b]).norm() > 1
    for draw in draws:
        assert not draw[~x.inside()].any()
    zero = looped()
    assert not zero.init_state(zero.encode(x), torch.Generator().manual_seed(0)).any()


def test_bfloat16_model_keeps_its_state_and_gives_accurate_logits():
    operator, x = looped(dtype=torch.float32), texts()
    half = looped(dtype=torch.bfloat16)
    with torch.no_grad():
        (*_, z), c = states(operator, x, 1)
        (*_, z_half), c_half = states(half, x, 1)
        logits, logits_half = operator.decode(z, c), half.decode(z_half, c_half)
    assert z_half.dtype == torch.bfloat16
    assert logits_half.dtype == torch.float32
    assert c_half.rotation.dtype == torch.float32
    inside = x.inside()
    # Numbers of bfloat16 are off by up to 0.4 %, here through five blocks.
    assert (logits_half - logits)[inside].norm() < 0.05 * logits[inside].norm()


@pytest.mark.parametrize(
    ("tokens", "lengths", "said"),
    [
        (torch.zeros(2, 17), [17, 3], r"17 tokens is longer than the context .* 16\. Shorten"),
        (torch.zeros(2, 5), [5, 0], "must have 1 to 5 tokens.* lengths from 0 to 5"),
        (torch.zeros(2, 5), [5, 6], "must have 1 to 5 tokens.* lengths from 5 to 6"),
        (torch.full((2, 5), 40), [5, 5], "between 0 and 39.* got 40. Give `vocab_size`"),
        (torch.full((2, 5), -1), [5, 5], "between 0 and 39.* got -1"),
        (torch.zeros(0, 5), [], r"no text: tokens of shape \(0, 5\)"),
    ],
)
def test_texts_that_cannot_be_read_are_refused(tokens, lengths, said):
    with pytest.raises(DataError, match=said):
        looped().encode(TextInput(tokens.long(), torch.tensor(lengths, dtype=torch.int64)))


def test_unknown_start_and_seed_are_refused():
    with pytest.raises(ValueError, match=r"`LoopedTransformer.start` must be one of zero, .*'one'"):
        LoopedTransformer(**SIZES, start="one")
    with pytest.raises(ValueError, match=r"`LoopedTransformer.seed` must be at least 0, got -1"):
        LoopedTransformer(**SIZES, seed=-1)


def untied_like(operator, depth):
    """An untied network whose every step has the weights of the operator."""
    network = UntiedTransformer(depth, **SIZES).double()
    network.looped.load_state_dict(operator.state_dict())
    for core in network.later:
        core.load_state_dict(operator.core.state_dict())
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 3])
def test_untied_steps_of_equal_weights_are_the_loop(depth):
    operator, x = looped(), texts(offset=0.1)
    (*_, z), c = states(operator, x, depth)
    logits = untied_like(operator, depth)(x)
    torch.testing.assert_close(logits[x.inside()], operator.decode(z, c)[x.inside()])


def test_untied_steps_have_weights_of_their_own():
    operator, network = looped(), UntiedTransformer(3, **SIZES)
    loop, core = (sum(p.numel() for p in m.parameters()) for m in (operator, operator.core))
    assert sum(p.numel() for p in network.parameters()) == loop + 2 * core
    x = texts()
    network(x)[x.inside()].square().sum().backward()
    first, *later = (step.adapter.weight.grad for step in (network.looped.core, *network.later))
    for gradient in later:
        assert gradient.any()
        assert not torch.equal(gradient, first)


def test_untied_network_needs_a_step():
    with pytest.raises(ValueError, match=r"`UntiedTransformer.depth` must be at least 1, got 0"):
        UntiedTransformer(0, **SIZES)

"""The parts of a looped transformer against plain formulas, in float64."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from lit_implicit_text.attention import Sight, TextAttention, attend
from lit_implicit_text.blocks import SandwichBlock, TextCore, init_weights
from lit_implicit_text.norms import TextNorm
from lit_implicit_text.rotary import rotate, rotations
from lit_implicit_text.sizes import TextSizes

SIZES = TextSizes(30, 24, 3, 20, 1, 2, 1, 16, 100.0, 1e-3)


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def causal(length):
    return torch.ones(length, length, dtype=torch.bool).tril()


def test_rotation_is_multiplication_by_a_complex_number():
    x, positions = randn(2, 5, 3, 8), torch.tensor([[0, 1, 2, 3, 4], [7, 3, 0, 11, 15]])
    turned = rotate(x, rotations(positions, 8, 100.0, torch.float64))
    angles = positions[..., None] * torch.tensor([100.0 ** (-2 * i / 8) for i in range(4)]).double()
    by_complex = (
        torch.view_as_complex(x.reshape(2, 5, 3, 4, 2)) * torch.exp(1j * angles)[:, :, None]
    )
    torch.testing.assert_close(turned, torch.view_as_real(by_complex).flatten(-2))


def test_rotated_scores_depend_on_the_distance_alone():
    q, k = randn(1, 1, 1, 8, seed=1), randn(1, 1, 1, 8, seed=2)

    def score(m, n):
        at = [rotations(torch.tensor([[p]]), 8, 100.0, torch.float64) for p in (m, n)]
        return (rotate(q, at[0]) * rotate(k, at[1])).sum()

    torch.testing.assert_close(score(9, 4), score(105, 100))
    assert abs(score(9, 4) - score(9, 5)) > 1e-3


def test_half_precision_is_rotated_by_angles_of_single_precision():
    # In bfloat16, position 4001 is 4000: an angle off by a whole radian.
    x = randn(1, 1, 1, 8).bfloat16()
    at = rotations(torch.tensor([[4001]]), 8, 50000.0, torch.float32)
    turned = rotate(x, at)
    exact = rotate(x.double(), rotations(torch.tensor([[4001]]), 8, 50000.0, torch.float64))
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.double(), exact, atol=0.02, rtol=0.01)  # bfloat16: 2^-8


def test_norm_has_root_mean_square_one_and_rounds_half_precision_before_its_weight():
    norm = TextNorm(64, 1e-3).double()
    x = randn(5, 64)
    torch.testing.assert_close(norm(x), x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt())
    half = TextNorm(64, 1e-3).bfloat16()
    with torch.no_grad():
        half.weight.copy_(randn(64))
    wide = x.bfloat16().float()
    expected = (wide / (wide.square().mean(-1, keepdim=True) + 1e-3).sqrt()).bfloat16()
    assert torch.equal(half(x.bfloat16()), expected * half.weight)


def test_attention_is_what_loops_over_heads_and_positions_give():
    q, k, v = (randn(2, 3, 6, 4, seed=seed) for seed in range(3))
    expected = torch.zeros_like(q)
    for sample in range(2):
        for head in range(3):
            for at in range(6):
                weights = torch.stack(
                    [(q[sample, head, at] @ k[sample, head, j] / 2).exp() for j in range(at + 1)]
                )
                values = v[sample, head, : at + 1]
                expected[sample, head, at] = (weights / weights.sum()) @ values
    torch.testing.assert_close(attend(q, k, v, causal(6)), expected)
    with sdpa_kernel(SDPBackend.MATH):
        torchs = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attend(q, k, v, causal(6)), torchs)


def test_attention_has_forward_and_second_derivatives():
    q, k, v = (randn(1, 2, 4, 4, seed=seed).requires_grad_() for seed in range(3))
    assert torch.autograd.gradcheck(
        lambda *qkv: attend(*qkv, causal(4)), (q, k, v), check_forward_ad=True
    )
    assert torch.autograd.gradgradcheck(lambda *qkv: attend(*qkv, causal(4)), (q, k, v))


@pytest.mark.gpu
def test_fused_attention_agrees_and_gives_way_where_derivatives_are_asked():
    q, k, v = (randn(2, 3, 6, 8, seed=seed, dtype=torch.float32).cuda() for seed in range(3))
    mask = causal(6).cuda()
    fused = attend(q, k, v, mask)
    plain = attend(q.requires_grad_(), k, v, mask)
    torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-5)
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(q.detach(), torch.ones_like(q))
        assert forward_ad.unpack_dual(attend(dual, k, v, mask)).tangent is not None


def test_biases_reach_queries_and_keys_and_not_values():
    attention = TextAttention(SIZES).double()
    x, at = randn(1, 5, 24), rotations(torch.arange(5)[None], 8, 100.0, torch.float64)
    sight = Sight(at, causal(5))
    before = attention(x, sight)
    with torch.no_grad():
        attention.qk_bias.copy_(randn(2, 1, 3, 8))
    # The first position sees itself alone, whatever its score: only values reach it.
    torch.testing.assert_close(attention(x, sight)[:, 0], before[:, 0])
    assert (attention(x, sight)[:, 1:] - before[:, 1:]).norm() > 1e-2


def test_block_is_a_sandwich_of_its_parts():
    block = SandwichBlock(SIZES).double()
    with torch.no_grad():
        for number, norm in enumerate((block.norm_1, block.norm_2, block.norm_3, block.norm_4)):
            norm.weight.copy_(1 + 0.2 * randn(24, seed=number))
    x = randn(2, 5, 24)
    sight = Sight(rotations(torch.arange(5).expand(2, 5), 8, 100.0, torch.float64), causal(5))
    middle = block.norm_2(block.attn(block.norm_1(x), sight) + x)
    gate, value = (block.norm_3(middle) @ block.mlp.fc.weight.T).chunk(2, -1)
    mapped = (gate * torch.sigmoid(gate) * value) @ block.mlp.proj.weight.T
    torch.testing.assert_close(block(x, sight), block.norm_4(mapped + middle))


def test_core_joins_state_first_and_embedding_second():
    core = TextCore(SIZES).double()
    z, e = randn(2, 5, 24), randn(2, 5, 24, seed=1)
    sight = Sight(rotations(torch.arange(5).expand(2, 5), 8, 100.0, torch.float64), causal(5))
    x = core.adapter(torch.cat((z, e), -1))
    for block in core.blocks:
        x = block(x, sight)
    torch.testing.assert_close(core(z, core.inject(e), sight), x)


def test_initial_weights_have_the_published_standard_deviations():
    sizes = TextSizes(30, 120, 3, 240, 1, 2, 1, 16, 100.0, 1e-3)
    torch.manual_seed(0)
    core = TextCore(sizes)
    init_weights(core, 120, depth=50)
    inner, outer = (2 / 600) ** 0.5, (2 / 600) ** 0.5 / 10
    cut = 0.98658  # standard deviation of a standard normal number cut at 3
    for name, tensor in core.named_parameters():
        if tensor.ndim != 2:
            continue
        std = outer if name.endswith(".proj.weight") else inner
        assert tensor.std().item() == pytest.approx(cut * std, rel=0.03), name
        assert tensor.abs().max() <= 3 * std
    assert not core.blocks[0].attn.qk_bias.any()
    assert (core.blocks[0].norm_1.weight == 1).all()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("core", 0, "`LoopedTransformer.core` must be at least 1, got 0."),
        ("prelude", -1, "`LoopedTransformer.prelude` must be at least 0, got -1."),
        ("rope_base", 0.0, "`LoopedTransformer.rope_base` must be positive, got 0.0."),
        ("heads", 8, "must be a multiple of 2 x `heads`.* got width 24 and 8 heads"),
    ],
)
def test_sizes_out_of_range_are_refused(field, value, said):
    from dataclasses import replace

    with pytest.raises(ValueError, match=said):
        replace(SIZES, **{field: value}).check("LoopedTransformer")

import pytest
import torch

from lit_implicit import Dense, Ragged
from lit_implicit.layout import select_samples

INDEX = torch.tensor([0, 0, 0, 1, 2, 2])
RAGGED = Ragged(INDEX, 3)
DENSE = Dense(3)
CASES = [
    pytest.param(DENSE, torch.arange(24.0).reshape(3, 2, 4) - 7, id="dense"),
    pytest.param(DENSE, torch.linspace(-3, 4, 3 * 200).reshape(3, 200), id="long"),
    pytest.param(RAGGED, torch.arange(12.0).reshape(6, 2) - 5, id="ragged"),
    pytest.param(RAGGED, torch.arange(6.0) - 2, id="ragged-scalar"),
]


def samples(layout, z):
    """The state of each sample, flattened: the definition that the layouts are held against."""
    if isinstance(layout, Dense):
        return [z[i].flatten() for i in range(layout.n)]
    return [z[layout.index == i].flatten() for i in range(layout.n)]


@pytest.mark.parametrize(("layout", "z"), CASES)
def test_norm_and_dot_are_per_sample(layout, z):
    other = z.cos()
    for i, (a, b) in enumerate(zip(samples(layout, z), samples(layout, other), strict=True)):
        assert torch.allclose(layout.norm(z)[i], a.norm())
        assert torch.allclose(layout.dot(z, other)[i], a @ b)


@pytest.mark.parametrize(("layout", "z"), CASES)
def test_dot_and_mix_take_a_history(layout, z):
    history = torch.stack([z, z.sin(), z.cos()])
    dots = layout.dot(history, z)
    assert dots.shape == (3, 3)
    assert torch.allclose(dots[1], layout.dot(z.sin(), z))
    weights = torch.tensor([[1.0, 0, 2], [0, 1, 1], [0, 0, 3]])
    mixed = samples(layout, layout.mix(weights.T, history, torch.zeros_like(z)))
    added = samples(layout, layout.mix(weights.T, history, other := z.cos(), -1))
    parts = [samples(layout, part) for part in history]
    for i in range(3):
        expected = sum(weights[k, i] * parts[k][i] for k in range(3))
        assert torch.allclose(mixed[i], expected)
        assert torch.allclose(added[i], samples(layout, other)[i] - expected, atol=1e-6)


@pytest.mark.parametrize(("layout", "z"), CASES)
def test_where_select_and_put_touch_only_the_named_samples(layout, z):
    keep = torch.tensor([True, False, True])
    picked = samples(layout, layout.where(keep, z, -z))
    assert torch.equal(picked[1], -samples(layout, z)[1])
    assert torch.equal(picked[2], samples(layout, z)[2])
    part, sub = layout.select(z, keep), layout.sub(keep)
    assert sub.n == 2
    assert torch.equal(samples(sub, part)[1], samples(layout, z)[2])
    back = samples(layout, layout.put(torch.zeros_like(z), keep, part))
    assert torch.equal(back[0], samples(layout, z)[0])
    assert not back[1].any()


def test_half_precision_norm_does_not_overflow():
    # 300^2 * 4 is beyond float16's 65504.
    assert DENSE.norm(torch.full((3, 4), 300.0, dtype=torch.float16)).tolist() == [600.0] * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("layout", "z"), CASES)
def test_autocast_does_not_reach_sums(layout, z, dtype):
    z = 300 * z  # whose squares are beyond float16
    with torch.autocast("cpu", dtype):
        norm = layout.norm(z)
    assert norm.dtype == torch.float32
    assert torch.equal(norm, layout.norm(z))


def test_an_empty_batch_has_no_norms():
    assert Dense(0).norm(torch.zeros(0, 3)).shape == (0,)
    assert Dense(0).dot(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)


def test_ragged_sample_without_nodes_has_norm_zero():
    assert Ragged(torch.tensor([0, 0]), 2).norm(torch.ones(2)).tolist() == pytest.approx(
        [2**0.5, 0.0]
    )


def test_select_samples_walks_nested_contexts_and_refuses_the_rest():
    keep = torch.tensor([False, True])
    c = {"a": torch.tensor([1, 2]), "b": (torch.tensor([[3.0], [4.0]]), None)}
    picked = select_samples(c, keep)
    assert picked["a"].tolist() == [2]
    assert picked["b"][0].tolist() == [[4.0]]
    with pytest.raises(TypeError, match="buffer of the operator"):
        select_samples({"scale": 3.0}, keep)
    with pytest.raises(TypeError, match=r"tensors of 2 samples only, got one of shape \(3,\)"):
        select_samples((torch.zeros(3),), keep)

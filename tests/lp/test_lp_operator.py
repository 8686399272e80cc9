"""The networks against the paper's formulas, written out with dense matrices and loops."""

import pytest
import torch

from lit_implicit.layout import Ragged
from lit_implicit_lp.network import LPGraphNetwork
from lit_implicit_lp.objective import LPObjective
from lit_implicit_lp.operator import LPGraphOperator

WIDTHS = {4: (722, 580), 8: (2350, 2088), 16: (8390, 7888), 32: (31606, 30624)}


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


def randomised(module, seed=0):
    """Biases start at zero: make them count."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for p in module.parameters():
        p.data += 0.2 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return module


def dense_programs(batch):
    """The programs one by one, A as a dense matrix filled entry by entry."""
    for graph in batch.to_data_list():
        a = torch.zeros(len(graph.b), len(graph.c), dtype=torch.float64)
        for row, column, value in zip(*graph.edge_index, graph.coefficients, strict=True):
            a[row, column] = value
        yield a, graph


def linear(layer, v):
    out = layer.weight @ v
    return out if layer.bias is None else out + layer.bias


def mlp(layers, v):
    return linear(layers[2], linear(layers[0], v).clamp(min=0))


def half_convolution(layer, a, source, receiver):
    """relu(Out([sum_j a_ij Source(s_j), Receiver(r_i)])), node by node."""
    out = []
    for i, node in enumerate(receiver):
        message = sum(a[i, j] * mlp(layer.source, s) for j, s in enumerate(source))
        out.append(mlp(layer.out, torch.cat([message, mlp(layer.receiver, node)])).clamp(min=0))
    return torch.stack(out)


def embed(net, graph):
    variables = [
        linear(net.embed_variables[0], torch.stack([c / 0.01, low / 10, up / 10])).clamp(min=0)
        for c, low, up in zip(graph.c, graph.lower, graph.upper, strict=True)
    ]
    constraints = [
        linear(net.embed_constraints[0], torch.stack([b, kind.double()])).clamp(min=0)
        for b, kind in zip(graph.b, graph.is_equality, strict=True)
    ]
    return torch.stack(variables), torch.stack(constraints)


def sweeps(net, a, variables, constraints):
    for k in range(2):
        constraints = half_convolution(net.to_constraints[k], a, variables, constraints)
        variables = half_convolution(net.to_variables[k], a.T, constraints, variables)
    return variables


@pytest.mark.parametrize("width", WIDTHS)
def test_parameter_counts_are_the_papers(width):
    implicit, explicit = WIDTHS[width]
    assert n_parameters(LPGraphOperator(width)) == implicit
    assert n_parameters(LPGraphNetwork(width)) == explicit


@torch.no_grad()
def test_operator_equals_the_formulas(lp_batch):
    operator = randomised(LPGraphOperator(3))
    x = LPObjective().inputs(lp_batch)
    c = operator.encode(x)
    z = torch.randn(len(lp_batch.c), 1, dtype=torch.float64, generator=torch.Generator())
    gz, y = operator(z, c), operator.decode(z, c)
    for number, (a, graph) in enumerate(dense_programs(lp_batch)):
        mine = lp_batch.batch == number
        variables, constraints = embed(operator, graph)
        v = sweeps(operator, a, torch.cat([variables, z[mine]], 1), constraints)
        expected = torch.stack([linear(operator.to_state, node) for node in v])
        # Sums of some ten terms of order one, twice in another order.
        assert torch.allclose(gz[mine], expected, rtol=1e-12, atol=1e-12)
        readout = [mlp(operator.readout, n) for n in torch.cat([variables, z[mine]], 1)]
        assert torch.allclose(y[mine], 10 * torch.cat(readout), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_network_equals_the_formulas(lp_batch):
    network = randomised(LPGraphNetwork(3))
    y = network(LPObjective().inputs(lp_batch))
    for number, (a, graph) in enumerate(dense_programs(lp_batch)):
        v = sweeps(network, a, *embed(network, graph))
        expected = torch.cat([10 * mlp(network.readout, node) for node in v])
        assert torch.allclose(y[lp_batch.batch == number], expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_unit_scales_are_the_papers_setting(lp_batch):
    scaled, plain = LPGraphOperator(3), LPGraphOperator(3, cost_scale=1.0, bound_scale=1.0)
    plain.load_state_dict(scaled.state_dict())
    plain, scaled = plain.double(), scaled.double()  # before the scaling, which float32 rounds
    x = LPObjective().inputs(lp_batch)
    # Scaling the first layer's columns and the last layer's row by hand gives the same network.
    scale = torch.tensor([1 / 0.01, 1 / 10, 1 / 10])
    plain.embed_variables[0].weight.mul_(scale)
    plain.readout[2].weight.mul_(10)
    c, d = scaled.encode(x), plain.encode(x)
    z = scaled.init_state(c)
    assert torch.equal(z, torch.zeros(len(lp_batch.c), 1, dtype=torch.float64))
    assert torch.allclose(scaled.decode(scaled(z, c), c), plain.decode(plain(z, d), d), rtol=1e-5)


@torch.no_grad()
def test_program_alone_is_program_in_a_batch(lp_data, lp_batch):
    operator, network = randomised(LPGraphOperator(8)), randomised(LPGraphNetwork(8))
    objective = LPObjective()

    def answers(batch, n_iter=4):
        x = objective.inputs(batch)
        c = operator.encode(x)
        z = operator.init_state(c)
        for _ in range(n_iter):
            z = operator(z, c)
        return torch.stack([z[:, 0], operator.decode(z, c), network(x)])

    together = answers(lp_batch)
    for number in range(5):
        alone = answers(lp_data._graphs["test"].batch([number]))
        mine = together[:, lp_batch.batch == number]
        scale = mine.abs().amax(1, keepdim=True)
        assert ((alone - mine).abs() <= 1e-12 * scale).all()


@pytest.mark.parametrize("keep", [[0, 1, 1, 0, 1], [0, 0, 0, 1, 0], [1] * 5])
def test_selected_programs_go_on_as_if_alone(lp_data, lp_batch, keep):
    operator = randomised(LPGraphOperator(4))
    keep = torch.tensor(keep).bool()
    c = operator.encode(LPObjective().inputs(lp_batch))
    z = torch.randn(len(lp_batch.c), 1, dtype=torch.float64, generator=torch.Generator())
    layout = operator.layout(z, c)
    assert isinstance(layout, Ragged)
    assert layout.n == 5
    kept, part = operator.select(c, keep), layout.select(z, keep)
    indices = keep.nonzero()[:, 0].tolist()
    alone = operator.encode(LPObjective().inputs(lp_data._graphs["test"].batch(indices)))
    assert kept.n == alone.n == len(indices)
    assert torch.equal(kept.batch, alone.batch)
    assert torch.equal(kept.constraint_batch, alone.constraint_batch)
    assert torch.equal(layout.sub(keep).index, operator.layout(part, kept).index)
    assert torch.allclose(operator(part, kept), operator(part, alone), rtol=1e-12, atol=1e-14)
    assert torch.allclose(operator(part, kept), layout.select(operator(z, c), keep), rtol=1e-12)
    # The gradient of the rest does not reach what was left out.
    loss = operator.decode(operator(part, kept), kept).sum()
    gradients = torch.autograd.grad(loss, [c.variables, c.constraints])
    assert (gradients[0][~keep[c.batch]] == 0).all()
    assert (gradients[0][keep[c.batch]] != 0).any()
    # A program may be left out twice.
    if len(indices) > 1:
        again = torch.arange(len(indices)) > 0
        twice = operator.select(kept, again)
        expected = operator.layout(part, kept).select(operator(part, kept), again)
        part = operator.layout(part, kept).select(part, again)
        assert torch.allclose(operator(part, twice), expected, rtol=1e-12)


def test_derivatives_reach_all_features(lp_batch):
    from dataclasses import replace

    operator = randomised(LPGraphOperator(4))
    x = LPObjective().inputs(lp_batch)
    leaves = {n: getattr(x, n).clone() for n in ("c", "lower", "upper", "b", "coefficients")}

    def answer(*features):
        c = operator.encode(replace(x, **dict(zip(leaves, features, strict=True))))
        return operator.decode(operator(operator(operator.init_state(c), c), c), c)

    point = tuple(leaves.values())
    generator = torch.Generator().manual_seed(0)
    direction = tuple(
        torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.abs().mean() for p in point
    )
    _, forward = torch.func.jvp(answer, point, direction)
    step = 1e-6
    moved = [
        answer(*(p + sign * step * d for p, d in zip(point, direction, strict=True)))
        for sign in (1, -1)
    ]
    difference = (moved[0] - moved[1]) / (2 * step)
    # Central differences: exact but for kinks of relu, which few variables meet.
    agrees = (difference - forward).abs() <= 1e-5 * forward.abs().max()
    assert agrees.double().mean() > 0.98
    _, pull = torch.func.vjp(answer, *point)
    weights = torch.randn(len(x.c), generator=generator, dtype=torch.float64)
    reverse = sum((g * d).sum() for g, d in zip(pull(weights), direction, strict=True))
    assert torch.allclose(reverse, weights @ forward, rtol=1e-10)


def test_initial_weights_are_orthogonal_and_biases_zero():
    for module in (LPGraphOperator(8), LPGraphNetwork(8)):
        for name, p in module.named_parameters():
            if p.ndim == 1:
                assert (p == 0).all(), name
            else:
                small = p @ p.T if p.shape[0] <= p.shape[1] else p.T @ p
                assert torch.allclose(small, torch.eye(len(small)), atol=1e-5), name


@pytest.mark.parametrize("cls", [LPGraphOperator, LPGraphNetwork])
def test_bad_argument_is_named(cls):
    with pytest.raises(ValueError, match=rf"`{cls.__name__}\.width` must be at least 1, got 0"):
        cls(width=0)
    with pytest.raises(ValueError, match=r"cost_scale` must be positive and finite, got 0\.0"):
        cls(cost_scale=0.0)


def test_network_in_single_precision_takes_features_in_double(lp_batch):
    x = LPObjective().inputs(lp_batch)
    operator = LPGraphOperator(4)
    c = operator.encode(x)
    assert operator.decode(operator(operator.init_state(c), c), c).dtype == torch.float32
    assert LPGraphNetwork(4)(x).dtype == torch.float32

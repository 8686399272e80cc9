"""Products with a sparse matrix against dense ones, in value and in all derivatives."""

import pytest
import torch

from lit_implicit_lp.sparse import SparseMatrix

N_ROWS, N_COLUMNS = 4, 6


@pytest.fixture
def coordinates(generator):
    # In no order, with an empty row and an empty column.
    places = torch.tensor([17, 3, 8, 13, 1, 22, 7, 12, 15]) % (3 * N_COLUMNS)
    values = torch.randn(9, dtype=torch.float64, generator=generator)
    return places // N_COLUMNS, places % N_COLUMNS, values


def dense(rows, columns, values):
    return torch.zeros(N_ROWS, N_COLUMNS, dtype=values.dtype).index_put(
        (rows, columns), values, accumulate=True
    )


def normal(*shape, generator):
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def test_products_equal_dense_ones(coordinates, generator):
    matrix = SparseMatrix.from_coordinates(*coordinates, N_ROWS, N_COLUMNS)
    full = dense(*coordinates)
    x, y = normal(N_COLUMNS, 3, generator=generator), normal(N_ROWS, 3, generator=generator)
    assert torch.allclose(matrix @ x, full @ x, rtol=1e-14)
    assert torch.allclose(matrix.mT @ y, full.T @ y, rtol=1e-14)
    assert torch.equal(matrix.mT.mT @ x, matrix @ x)


@pytest.mark.parametrize("transposed", [False, True])
def test_derivatives_of_first_and_second_order(coordinates, generator, transposed):
    rows, columns, values = coordinates

    def product(x, values):
        matrix = SparseMatrix.from_coordinates(rows, columns, values, N_ROWS, N_COLUMNS)
        return (matrix.mT if transposed else matrix) @ x

    x = normal(N_ROWS if transposed else N_COLUMNS, 2, generator=generator).requires_grad_()
    values = values.requires_grad_()
    assert torch.autograd.gradcheck(product, (x, values), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(product, (x, values))


def test_jacobians_by_vectorised_maps(coordinates, generator):
    rows, columns, values = coordinates
    x = normal(N_COLUMNS, 2, generator=generator)

    def product(x, values):
        return SparseMatrix.from_coordinates(rows, columns, values, N_ROWS, N_COLUMNS) @ x

    expected = torch.einsum("ij,kl->ikjl", dense(*coordinates), torch.eye(2, dtype=x.dtype))
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        assert torch.allclose(jacobian(product)(x, values), expected, rtol=1e-13)
    batch = normal(5, 9, generator=generator)
    mapped = torch.func.vmap(product, in_dims=(None, 0))(x, batch)
    for number in range(5):
        assert torch.allclose(mapped[number], product(x, batch[number]), rtol=1e-13)


def test_kept_blocks_equal_a_matrix_of_them_alone(generator):
    rows, columns = torch.tensor([0, 1, 1, 2, 3, 3]), torch.tensor([1, 0, 1, 3, 2, 4])
    values = normal(6, generator=generator)
    matrix = SparseMatrix.from_coordinates(rows, columns, values, 4, 5)
    kept = matrix.keep(torch.tensor([0, 0, 1, 1]).bool(), torch.tensor([0, 0, 1, 1, 1]).bool())
    alone = SparseMatrix.from_coordinates(rows[3:] - 2, columns[3:] - 2, values[3:], 2, 3)
    eye2, eye3 = torch.eye(2, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    assert torch.equal(kept @ eye3, alone @ eye3)
    assert torch.equal(kept.mT @ eye2, alone.mT @ eye2)


def test_half_precision_features_are_multiplied_in_single(coordinates, generator):
    rows, columns, values = coordinates
    matrix = SparseMatrix.from_coordinates(rows, columns, values.float(), N_ROWS, N_COLUMNS)
    x = normal(N_COLUMNS, 3, generator=generator).bfloat16().requires_grad_()
    product = matrix @ x
    assert product.dtype == torch.bfloat16
    expected = dense(rows, columns, values.float()) @ x.float()
    assert torch.equal(product, expected.bfloat16())
    product.sum().backward()
    assert x.grad.dtype == torch.bfloat16


def test_autocast_does_not_reach_the_sparse_kernel(coordinates, generator):
    rows, columns, values = coordinates
    matrix = SparseMatrix.from_coordinates(rows, columns, values.float(), N_ROWS, N_COLUMNS)
    x = normal(N_COLUMNS, 3, generator=generator).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = matrix @ x
    assert product.dtype == torch.float32
    assert torch.equal(product, matrix @ x)

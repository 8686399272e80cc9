"""Batches of programs: PyG's own result, at a fraction of its time."""

import pytest
import torch
from torch_geometric.data import Batch

from lit_implicit_lp.graph import LPGraph
from lit_implicit_lp.objective import LPObjective


@pytest.fixture
def graphs(lp_data):
    return lp_data._graphs["test"]


def assert_same(ours, theirs):
    """Equal attributes, and equal bookkeeping to take the batch apart again."""
    assert set(ours.keys()) == set(theirs.keys())
    for name in theirs.keys():  # noqa: SIM118
        assert torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name])), name
    for name, slices in theirs._slice_dict.items():
        assert torch.equal(ours._slice_dict[name], slices), name
    for name, increments in theirs._inc_dict.items():
        assert torch.equal(ours._inc_dict[name], increments), name
    assert ours.num_graphs == theirs.num_graphs
    assert ours.num_nodes == theirs.num_nodes


def test_graph_holds_the_cached_program(lp_data, graphs):
    programs = lp_data._cache("test").load(10)
    program, graph = programs.program(3), graphs[3]
    assert isinstance(graph, LPGraph)
    assert graph.num_nodes == program.n_variables
    for name in ("c", "lower", "upper", "b", "is_equality", "coefficients"):
        assert torch.equal(graph[name], torch.from_numpy(getattr(program, name)))
    assert graph.edge_index[0].tolist() == program.rows.tolist()
    assert graph.edge_index[1].tolist() == program.columns.tolist()
    assert (graph.constraint_batch == 0).all()
    # The label solves the program, and the perturbed label is the label plus the shift.
    assert program.violation(graph.target.numpy()) < 1e-8
    assert program.c @ graph.target.numpy() == pytest.approx(graph.objective.item())
    assert graphs[-1].index == graphs[9].index


def test_batch_is_what_pyg_would_make(graphs):
    indices = [7, 0, 3, 3]
    ours = graphs.batch(indices)
    theirs = Batch.from_data_list([graphs[i] for i in indices])
    assert isinstance(ours, LPGraph)
    assert_same(ours, theirs)
    assert ours.num_graphs == 4


@pytest.mark.parametrize("keep", [(0, 2, 3), (1,), (), (0, 1, 2, 3)])
def test_selected_programs_are_the_batch_of_these(graphs, keep):
    indices = [7, 0, 3, 5]
    mask = torch.tensor([i in keep for i in range(4)])
    batch = graphs.batch(indices)
    selected = LPObjective().select(batch, mask)
    assert_same(selected, graphs.batch([indices[i] for i in keep]))
    for part, i in zip(selected.to_data_list(), keep, strict=True):
        assert torch.equal(part.edge_index, graphs[indices[i]].edge_index)
    assert_same(batch, graphs.batch(indices))  # the whole batch is as it was


def test_programs_are_selected_from_a_perturbed_batch(graphs):
    """It has fields of another precision, and has lost those of the perturbations."""
    objective, mask = LPObjective(), torch.tensor([True, False, True])
    moved = objective.perturb(graphs.batch([4, 1, 2]), "b").batch
    expected = objective.perturb(graphs.batch([4, 2]), "b").batch
    selected = objective.select(moved, mask)
    assert set(selected.keys()) == set(expected.keys())
    for name in expected.keys():  # noqa: SIM118
        assert torch.equal(torch.as_tensor(selected[name]), torch.as_tensor(expected[name])), name


def test_batch_comes_apart_into_its_programs(graphs):
    parts = graphs.batch([4, 9]).to_data_list()
    for part, i in zip(parts, (4, 9), strict=True):
        for name in graphs[i].keys():  # noqa: SIM118
            assert torch.equal(torch.as_tensor(part[name]), torch.as_tensor(graphs[i][name])), name


def test_batch_counts_variables_as_nodes(graphs):
    batch = graphs.batch([0, 1, 2])
    assert batch.num_nodes == len(batch.batch) == len(batch.c)
    assert len(batch.constraint_batch) == len(batch.b)
    # An edge stays within its program.
    rows, columns = batch.edge_index
    assert torch.equal(batch.constraint_batch[rows], batch.batch[columns])
    assert batch.to(torch.device("cpu")).num_graphs == 3

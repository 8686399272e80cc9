"""Batches of programs: PyG's own result, at a fraction of its time."""

import pytest
import torch
from torch_geometric.data import Batch

from lit_implicit_lp.graph import LPGraph


@pytest.fixture
def graphs(lp_data):
    return lp_data._graphs["test"]


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
    assert set(ours.keys()) == set(theirs.keys())
    for name in theirs.keys():  # noqa: SIM118
        assert torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name])), name
    for name, slices in theirs._slice_dict.items():
        assert torch.equal(ours._slice_dict[name], slices), name
    for name, increments in theirs._inc_dict.items():
        assert torch.equal(ours._inc_dict[name], increments), name
    assert ours.num_graphs == theirs.num_graphs == 4


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

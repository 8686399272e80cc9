"""Two ranks with different iteration counts take the steps of one process, in float64 to 1e-9."""

from functools import cache

import pytest
import torch
from affine_task import AffineObjective
from two_ranks import SOLVER, Rates, dealt, fit, on_ranks, samples

from lit_implicit import Equilibrium, Implicit, Picard

N_STEPS, BATCH = 5, 4
DDP = {"strategy": "ddp", "devices": 2}
FAILING = (9, 11)  # of step 2, all that rank 1 has
START = Rates().a.detach()
COARSE = Picard(rtol=1e-2, max_iter=50)  # what bfloat16 can reach


def steps(layer, batches):
    """Take steps of Adam with the mean loss over the samples; return the iterations of each."""
    objective = AffineObjective()
    optimizer, counts = torch.optim.Adam(layer.parameters(), lr=1e-2), []
    for batch, n_samples in batches:
        optimizer.zero_grad()
        y, solution = layer(batch[0])
        (objective.loss(y, batch).sum() / n_samples).backward()
        optimizer.step()
        counts.append(int(solution.n_iter.max()))
    return counts


def plain(rank, n_ranks):
    """The layer in torch's DDP, without `find_unused_parameters`."""
    layer = torch.nn.parallel.DistributedDataParallel(Equilibrium(Rates(), SOLVER, Implicit()))
    n = BATCH // n_ranks
    data = dealt(samples(N_STEPS * BATCH), n, rank, n_ranks)
    counts = steps(layer, ((batch, n) for batch in data))
    return layer.module.operator.a.detach().clone(), counts, {}


def work(rank, n_ranks, folder):
    torch.distributed.init_process_group("gloo")
    whole, broken = samples(N_STEPS * BATCH), samples(N_STEPS * BATCH, FAILING)
    half, quarter = BATCH // n_ranks, BATCH // n_ranks // 2
    return {
        "layer": plain(rank, n_ranks),
        "module": fit(dealt(whole, half, rank, n_ranks), **DDP),
        "accumulated": fit(
            dealt(whole, quarter, rank, n_ranks), **DDP, accumulate_grad_batches=2
        ),
        "failed": fit(dealt(broken, half, rank, n_ranks), **DDP),
        "bf16": fit(dealt(whole, half, rank, n_ranks), COARSE, **DDP, precision="bf16-mixed"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return on_ranks(work, tmp_path_factory.mktemp("ranks"))


@cache
def one_process(failing=()):
    layer = Equilibrium(Rates(), SOLVER, Implicit())
    batches = []
    for x, y in dealt(samples(N_STEPS * BATCH, failing), BATCH):
        sound = ~x.isnan().any(1)
        batches.append(((x[sound], y[sound]), len(x)))  # failed samples: a loss of zero
    steps(layer, batches)
    return layer.operator.a.detach()


def check(a, expected):
    error = (a - expected).norm() / (expected - START).norm()
    assert error < 1e-9, error
    assert (expected - START).norm() > 0.05  # they went somewhere


@pytest.mark.slow
@pytest.mark.parametrize("case", ["layer", "module", "accumulated"])
def test_two_processes_are_one(ranks, case):
    (a, counts, _), (other, other_counts, _) = (rank[case] for rank in ranks)
    assert torch.equal(a, other)
    assert min(counts) > 1.5 * max(other_counts)  # rank 0 has the slow samples
    check(a, one_process())


@pytest.mark.slow
def test_a_rank_whose_samples_all_fail_gives_its_share_of_zeros_and_none_waits(ranks):
    (a, _, logged), (other, _, _) = (rank["failed"] for rank in ranks)
    assert torch.equal(a, other)
    assert logged["train/n_failed"] == len(FAILING)
    expected = one_process(FAILING)
    check(a, expected)
    assert (expected - one_process()).norm() > 1e-3 * (expected - START).norm()  # the step differs


@pytest.mark.slow
def test_ranks_agree_in_mixed_precision_and_parameters_keep_theirs(ranks):
    (a, _, _), (other, _, _) = (rank["bf16"] for rank in ranks)
    assert torch.equal(a, other)
    assert a.dtype == torch.float64
    # bfloat16 has 8 bits.
    assert (a - one_process()).norm() < 0.1 * (a - START).norm()

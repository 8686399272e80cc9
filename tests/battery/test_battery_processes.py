"""Two processes with different iteration counts take the step of one, to 1e-6."""

import os

import pytest
import torch
from battery_cases import GAIN, batch, parts_of

from lit_implicit import Anderson, Equilibrium, Implicit

SETTINGS = {"rtol": 1e-12, "max_iter": 300}


def loss_of(layer, parts):
    z, solution = layer(batch("ragged", parts)[1])
    return (z**2).sum(), solution


def work(rank, folder):
    """Rank 0 holds the slow systems, rank 1 the fast ones."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    slow, fast = parts_of("ragged")[::2], parts_of("ragged")[1::2]
    operator, _, _ = batch("ragged", slow)
    # No `find_unused_parameters`, though the number of calls differs from rank to rank.
    layer = torch.nn.parallel.DistributedDataParallel(
        Equilibrium(operator, Anderson(**SETTINGS), Implicit())
    )
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    counts = []
    for _ in range(3):
        optimizer.zero_grad()
        loss, solution = loss_of(layer, slow if rank == 0 else fast)
        loss.backward()
        optimizer.step()
        counts.append(solution.n_iter.max().item())
    torch.save((operator.gain.detach(), counts), os.path.join(folder, f"rank{rank}.pt"))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    (gain, counts), (other, other_counts) = (
        torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert torch.equal(gain, other)
    assert all(a != b for a, b in zip(counts, other_counts, strict=True))

    operator, _, _ = batch("ragged", parts_of("ragged"))
    layer = Equilibrium(operator, Anderson(**SETTINGS), Implicit())
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        (loss_of(layer, parts_of("ragged"))[0] / 2).backward()  # DDP takes the mean over ranks
        optimizer.step()
    assert abs(operator.gain.item() - gain.item()) < 1e-6 * abs(gain.item() - GAIN)

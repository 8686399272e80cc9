"""Processes as torchrun starts them, and a problem on which one rank iterates longer than another.

Importable as `two_ranks`; processes of a test import it again.
"""

import os
import socket

import torch
from affine_task import AffineObjective
from lightning.pytorch import Callback, Trainer
from problems import matrix, random
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from lit_implicit import AbstractOperator, Implicit, ImplicitLightningModule, Picard

DIM = 4
SOLVER = Picard(rtol=1e-13, max_iter=2000)  # acceleration would even the counts out
QUIET = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
    "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start(rank, work, folder, port, n_ranks):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n_ranks),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    torch.set_num_threads(1)
    torch.save(work(rank, n_ranks, folder), f"{folder}/rank{rank}.pt")


def on_ranks(work, folder, n_ranks=2):
    """Run `work(rank, n_ranks, folder)` in processes of their own; return what each returned."""
    torch.multiprocessing.spawn(_start, (work, str(folder), free_port(), n_ranks), nprocs=n_ranks)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(n_ranks)]


class Rates(AbstractOperator):
    """G(z, x) = rate tanh(A z) + b for x = (rate, b): the rate rules how long a sample takes."""

    def __init__(self, buffered=False):
        super().__init__()
        self.a = nn.Parameter(matrix(DIM, 1.0))
        if buffered:  # something that DDP broadcasts
            self.register_buffer("shift", torch.zeros(DIM, dtype=torch.float64))

    def init_state(self, c, generator=None):
        return torch.zeros_like(c[:, 1:])

    def forward(self, z, c):
        return c[:, :1] * torch.tanh(z @ self.a.T) + c[:, 1:] + getattr(self, "shift", 0)


def samples(n, failing=()):
    """Pairs (x, y); the even ones are slow, the odd ones fast, and G of the failing ones is NaN."""
    x, y = random(n, 1 + DIM, seed=3) / 3, random(n, DIM, seed=4)
    x[:, 0] = torch.where(torch.arange(n) % 2 == 0, 0.97, 0.1)
    x[list(failing), 1:] = torch.nan
    return TensorDataset(x, y)


def dealt(data, batch_size, rank=0, n_ranks=1):
    """The batches of a rank: samples rank, rank + n_ranks, ..., in order."""
    sampler = DistributedSampler(data, n_ranks, rank, shuffle=False)
    return DataLoader(data, batch_size=batch_size, sampler=sampler)


def make_module(operator=None, lr=1e-2, solver=SOLVER):
    operator = operator or Rates()
    module = ImplicitLightningModule(operator, AffineObjective(), solver, Implicit())
    module.configure_optimizers = lambda: torch.optim.Adam(module.parameters(), lr=lr)
    return module


class Counts(Callback):
    """Note the iterations of each training step."""

    def __init__(self):
        self.n_iter = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.n_iter.append(int(outputs["solution"].n_iter.max()))


def fit(loader, solver=SOLVER, **settings):
    """Train one epoch; return the parameter, the iterations of each step and what was logged."""
    module, counts = make_module(solver=solver), Counts()
    trainer = Trainer(**QUIET, max_epochs=1, callbacks=[counts], **settings)
    trainer.fit(module, loader)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return module.operator.a.detach().clone(), counts.n_iter, logged

"""Measure how training scales with processes: samples per second and efficiency (weak scaling).

    python benchmarks/ddp.py --processes 1 2 [--output ddp.json]

Each process trains the scalar task's network on the same number of batches of the same size, in
Lightning with DDP: over NCCL on GPUs where there are as many, else over gloo on the CPU with one
thread each. All solves take the whole budget, so that the work does not depend on the weights. The
first epoch is a warm-up; of the others, median and range are shown. Efficiency: the rate per
process over that of the first row. Run it on a machine that does nothing else: the load average
before and after stands beside the numbers.
"""

import argparse
import logging
import os
import socket
import statistics
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_implicit import Implicit, ImplicitLightningModule, Picard
from lit_implicit.reporting.report import environment, write_json
from lit_implicit_scalar.data import ScalarDataModule
from lit_implicit_scalar.mlp import ScalarMLP
from lit_implicit_scalar.objective import ScalarObjective


@dataclass(frozen=True)
class Settings:
    """What each process trains.

    Args:
        batch_size: Samples of a batch, per process.
        n_steps: Steps of an epoch.
        n_epochs: Epochs that are measured, after one that is not.
        width: Units of the network's layer.
        max_iter: Iterations of each solve.
        device: `gpu` or `cpu`.
    """

    batch_size: int = 256
    n_steps: int = 10
    n_epochs: int = 7
    width: int = 256
    max_iter: int = 20
    device: str = "cpu"


class EpochTimes(Callback):
    """Note the seconds of each epoch of training, from a barrier to a barrier."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = 0.0

    def _now(self, trainer: Trainer) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        trainer.strategy.barrier()
        return time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = self._now(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds.append(self._now(trainer) - self._since)


def train(rank: int, n_processes: int, port: int, settings: Settings, path: str) -> None:
    """Train as one of the processes; the first writes its seconds to `path`."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
    values = (rank, rank, n_processes, port)
    os.environ |= {name: str(value) for name, value in zip(names, values, strict=True)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "benchmark"}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    solver = Picard(rtol=0.0, max_iter=settings.max_iter)
    adjoint = Implicit(Picard(rtol=0.0, max_iter=settings.max_iter))
    operator = ScalarMLP(dim=64, width=settings.width)
    module = ImplicitLightningModule(operator, ScalarObjective(), solver, adjoint)
    n_train = settings.batch_size * settings.n_steps * n_processes
    data = ScalarDataModule(n_train=n_train, batch_size=settings.batch_size)
    times = EpochTimes()
    trainer = Trainer(
        accelerator=settings.device, devices=n_processes, strategy="ddp", callbacks=[times],
        max_epochs=1 + settings.n_epochs, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, data)
    if rank == 0:
        torch.save(times.seconds[1:], path)


def measure(n_processes: int, settings: Settings) -> list[float]:
    """Return the samples per second of each epoch, over all processes."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port, path = probe.getsockname()[1], str(Path(folder) / "seconds.pt")
        probe.close()
        torch.multiprocessing.spawn(
            train, (n_processes, port, settings, path), nprocs=n_processes
        )  # fmt: skip
        seconds: list[float] = torch.load(path)
    n_samples = settings.batch_size * settings.n_steps * n_processes
    return [n_samples / s for s in seconds]


def rows(measured: dict[int, list[float]]) -> list[dict[str, float]]:
    """Return a row per number of processes: median, range and efficiency."""
    first = next(iter(measured))
    per_process = statistics.median(measured[first]) / first
    return [
        {
            "n_processes": n,
            "samples_per_s": statistics.median(rates),
            "samples_per_s_min": min(rates),
            "samples_per_s_max": max(rates),
            "efficiency": statistics.median(rates) / n / per_process,
        }
        for n, rates in measured.items()
    ]


def show(table_rows: list[dict[str, float]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    print(title)
    table = Table()
    for name in ("processes", "samples/s", "least", "most", "efficiency"):
        table.add_column(name, justify="right")
    for n, median, least, most, efficiency in (row.values() for row in table_rows):
        numbers = (f"{value:.0f}" for value in (n, median, least, most))
        table.add_row(*numbers, f"{efficiency:.0%}")
    Console(highlight=False).print(table)


def main(args: list[str] | None = None) -> list[dict[str, float]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    for name in ("batch_size", "n_steps", "n_epochs", "width", "max_iter"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings, name))
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    given = vars(parser.parse_args(args))
    processes, output = given.pop("processes"), given.pop("output")
    n_gpus = torch.cuda.device_count()
    device = "gpu" if n_gpus >= max(processes) else "cpu"
    settings = Settings(**given, device=device)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    load = [os.getloadavg()[0]]
    measured = {n: measure(n, settings) for n in processes}
    load.append(os.getloadavg()[0])
    found = rows(measured)
    where = environment(torch.device("cuda" if device == "gpu" else "cpu"))
    show(found, f"{where['device']}; load average {load[0]:.1f} before, {load[1]:.1f} after")
    if output is not None:
        content = {"settings": asdict(settings), "load_average": load, "rows": found, **where}
        write_json({**content, "samples_per_s": measured}, output)
    return found


if __name__ == "__main__":
    main()

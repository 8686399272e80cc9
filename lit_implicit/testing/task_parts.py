"""Checks of a task's entry, its description and its data."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lit_implicit import registry
from lit_implicit.testing.check import BrokenError, NotApplicableError
from lit_implicit.testing.task_case import SPLITS, TaskCase
from lit_implicit.testing.trees import first_change, snapshot

_HEAVY = ("torch", "lightning", "numpy", "matplotlib")
_LIGHT = """
import sys
from importlib import import_module
import_module(sys.argv[1])
print(*[name for name in sys.argv[2:] if name in sys.modules])
"""


def entry_point(case: TaskCase) -> str:
    """The task is registered, once, and its entry point leads to a `TaskSpec`."""
    if not isinstance(case.task, str):
        raise NotApplicableError("A spec was given, not the name of a task.")
    spec = case.spec
    (entry,) = (entry for entry in registry.listing() if entry.name == case.task)
    if not spec.summary.strip() or "\n" in spec.summary:
        raise BrokenError(
            f"`TaskSpec.summary` must be one line, got {spec.summary!r}: `lit-implicit tasks` "
            "prints it."
        )
    return f"{entry.value}, from {entry.package}"


def import_light(case: TaskCase) -> None:
    """The module that holds the spec imports nothing heavy.

    It is loaded for every listing, before torch is.
    """
    if not isinstance(case.task, str):
        raise NotApplicableError("A spec was given, not the name of a task.")
    (entry,) = (entry for entry in registry.listing() if entry.name == case.task)
    module = entry.value.partition(":")[0]
    path = os.pathsep.join(part for part in sys.path if part)
    done = subprocess.run(
        [sys.executable, "-c", _LIGHT, module, *_HEAVY],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    if done.returncode:
        raise BrokenError(f"`{module}` cannot be imported alone: {done.stderr.strip()[-300:]}")
    if heavy := done.stdout.split():
        raise BrokenError(
            f"`{module}` imports {', '.join(heavy)}. Keep the spec in a module that imports "
            "`lit_implicit.TaskSpec` alone, the package's `__init__.py` say, and import no class "
            "there."
        )


def classes(case: TaskCase) -> str:
    """Every class path of the spec can be imported, and is of the right kind."""
    return ", ".join(found.__name__ for found in case.classes.values())


def data(case: TaskCase) -> str:
    """The data module gives batches for train, val and test, the latter two always the same.

    Curves over epochs, and runs side by side, are compared on the same samples.
    """
    counts = []
    for split in SPLITS:
        batch = _first(case.data, split)
        counts.append(f"{split} {case.objective.n_samples(batch)}")
        if split != "train" and first_change(snapshot(batch), _first(case.data, split)):
            raise BrokenError(
                f"`{split}_dataloader` gives other batches the second time. Do not shuffle it, and "
                "let noise be a function of (seed, index)."
            )
    return f"samples of the first batch: {', '.join(counts)}"


def shuffling(case: TaskCase) -> None:
    """Training batches are a function of seed and epoch, not of the global random numbers.

    Then a resumed run goes on where it stopped, and another solver or operator sees the same order.
    """
    seen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        fresh = case.make_data()
        torch.manual_seed(seed)  # whatever making it has drawn
        loader = fresh.train_dataloader()
        for sampler in (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
            set_epoch: Callable[[int], Any] | None = getattr(sampler, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(0)
        seen.append(next(iter(loader)))
    if first_change(snapshot(seen[0]), seen[1]) is not None:
        raise BrokenError(
            "The first training batch changes with torch's global seed. Replace `shuffle=True` by "
            "a sampler that is a function of (seed, epoch), as torch's `DistributedSampler(data, "
            "num_replicas=world_size, rank=rank, shuffle=True, seed=seed)`, and draw crops and "
            "noise by (seed, epoch, index)."
        )


def baseline(case: TaskCase, name: str) -> None:
    """An explicit network answers the inputs, in the form that the loss takes."""
    network = case.make("baselines", name).eval()
    with torch.no_grad():
        y = network(case.objective.inputs(case.batch))
        loss = case.objective.loss(y, case.batch)
    n = case.objective.n_samples(case.batch)
    if not isinstance(loss, Tensor) or loss.shape != (n,) or not loss.isfinite().all():
        raise BrokenError(
            f"The loss of {type(network).__name__}'s answer must be {n} finite numbers. Give the "
            "answer the form of the operator's `decode`."
        )


def _first(module: Any, split: str) -> Any:
    try:
        loader = getattr(module, f"{split}_dataloader")()
        return next(iter(loader))
    except StopIteration:
        raise BrokenError(
            f"`{split}_dataloader` gives no batch. Is `batch_size` larger than the data, with "
            "`drop_last`?"
        ) from None
    except Exception as err:
        name = type(module).__name__
        raise BrokenError(
            f"`{name}.{split}_dataloader` fails: {type(err).__name__}: {err}"
        ) from err

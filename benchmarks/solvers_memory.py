"""The most bytes that a run holds at once."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from solvers_counting import storage_of, tensors_in


class LiveBytes(TorchDispatchMode):
    """Follow the bytes of all tensors made since it began; `peak` is their largest sum.

    Scratch space within a kernel is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        old = {storage_of(t) for t in tensors_in((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for t in tensors_in(result):
            key = storage_of(t)
            if key not in old and key not in self._known:
                storage = t.untyped_storage()
                self._known.add(key)
                self.live += storage.nbytes()
                # A storage has one object in Python for as long as anything holds it.
                weakref.finalize(storage, self._freed, key, storage.nbytes()).atexit = False
        self.peak = max(self.peak, self.live)
        return result

    def _freed(self, key: int, n_bytes: int) -> None:
        self._known.discard(key)
        self.live -= n_bytes


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int:
    """Return the most bytes that a run holds at once beyond what there was before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with LiveBytes() as live:
        run()
    return live.peak

"""The most bytes that a run holds at once."""

from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from solvers_counting import storage_of, tensors_in


class LiveBytes(TorchDispatchMode):
    """Follow the bytes of all tensors made since it began; `peak` is their largest sum.

    Scratch space within a kernel is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.live = 0
        self._known: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        old = {storage_of(t) for t in tensors_in((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for key in [key for key, (ref, _) in self._known.items() if ref.expired()]:
            self.live -= self._known.pop(key)[1]
        for t in tensors_in(result):
            if storage_of(t) not in old | self._known.keys():
                storage = t.untyped_storage()
                self._known[storage_of(t)] = (StorageWeakRef(storage), storage.nbytes())
                self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        return result


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

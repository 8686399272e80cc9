"""What an answer costs: floating-point operations by formula, seconds by the clock."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_implicit.equilibrium import Equilibrium
from lit_implicit.probes.flop_formulas import flop_formulas


def flops_of(function: Callable[..., Any], *args: Any) -> int:
    """Count the floating-point operations of one call.

    A multiplication and an addition are two: a linear layer of n rows has 2 n (inputs) (outputs),
    and n (outputs) for its bias. A transform of length N has 5 N log2 N, a real one half of it; a
    product with a sparse matrix two for each nonzero and column; a sum over an index one for each
    summand; functions and sums of elements one for each element, normalization four, or five with
    weights. Copies, indexing, comparisons, and arithmetic of integers are no operation. A complex
    product counts as four real ones. What has no formula counts nothing: custom kernels, and fused
    layers such as `nn.LSTM`.
    (Counts in print often leave out everything but products.)

    It suits any function: an operator, or an explicit network that is compared with one. The call
    is slow, as each of its operations is looked at.

    Args:
        function: What is called, without gradients.
        args: Its arguments.

    Example:
        >>> flops_of(torch.nn.Linear(3, 4, bias=False), torch.ones(5, 3))
        120
        >>> flops_of(module.network, objective.inputs(batch)) / objective.n_samples(batch)
    """
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    counter = FlopCounterMode(display=False, custom_mapping=flop_formulas())
    # Inference mode would hide what composite functions are made of.
    with torch.inference_mode(False), torch.no_grad(), counter:
        function(*args)
    return int(counter.get_total_flops())


class IterationCost(NamedTuple):
    """Operations of the parts of an answer, for a whole batch.

    Args:
        encode: Once per input.
        step: One application of G.
        decode: Once per answer.
    """

    encode: int
    step: int
    decode: int

    def after(self, t: int) -> int:
        """Return the operations behind y_t: encode, t applications of G, decode."""
        return self.encode + t * self.step + self.decode


def iteration_cost(equilibrium: Equilibrium, x: Any) -> IterationCost:
    """Count the operations of an implicit model on an input.

    The arithmetic of a solver between two applications of G is not counted.

    Args:
        equilibrium: The model.
        x: The input, of any number of samples.
    """
    operator = equilibrium.operator
    with torch.no_grad():
        g, z0 = equilibrium.bind(x, seed=0)
    return IterationCost(
        flops_of(operator.encode, x), flops_of(g, z0), flops_of(operator.decode, z0, g.c)
    )


class Stopwatch:
    """Measure sections of work by name; on a GPU by events, without waiting for the device.

    Args:
        device: Where the work is done.

    Example:
        >>> watch = Stopwatch(x.device)
        >>> with watch("encode"):
        ...     operator.encode(x)
        >>> watch.seconds("encode")
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: dict[str, list[tuple[Any, Any]]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what runs in the context, in addition to what ran under this name before."""
        start = self._now()
        yield
        self._marks.setdefault(name, []).append((start, self._now()))

    def seconds(self, name: str) -> Tensor:
        """Return the seconds of each section of this name, in float64 on the CPU."""
        marks = self._marks.get(name, [])
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            times = [start.elapsed_time(end) / 1000 for start, end in marks]
        else:
            times = [end - start for start, end in marks]
        return torch.tensor(times, dtype=torch.float64)

    def _now(self) -> Any:
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self.device))
            return event
        if self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

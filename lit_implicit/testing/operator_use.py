"""Checks that an operator bears what is done with it: casts, checkpoints, processes, solves."""

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lit_implicit.adjoints import Implicit
from lit_implicit.equilibrium import Equilibrium
from lit_implicit.layout import widest_dtype
from lit_implicit.operator import AbstractOperator
from lit_implicit.solvers import AbstractSolver, Anderson, Neumann, Picard, Solution
from lit_implicit.testing.check import BrokenError, NotApplicableError
from lit_implicit.testing.operator_case import OperatorCase
from lit_implicit.testing.trees import floats_in, gap

_FEW = 10


def double_precision(case: OperatorCase) -> None:
    """After `.double()`, G and decode compute in float64.

    Lipschitz curves are measured so: ratios of small differences drown in float32 rounding.
    """
    bound = case.bind(double=True)
    wide = widest_dtype(bound.z0.device)
    gz = bound.g(bound.z0)
    with torch.no_grad():
        outputs = {"G": gz, **{f"y{p}": t for p, t in
                               floats_in(bound.operator.decode(gz, bound.c)).items()}}  # fmt: skip
    for name, value in {"z0": bound.z0, **outputs}.items():
        if value.dtype != wide:
            raise BrokenError(
                f"After `.double()`, {name} is still {value.dtype}. Make tensors by `new_zeros` or "
                "`zeros_like`, or with the dtype of a parameter, and name no dtype."
            )


def autocast(case: OperatorCase) -> None:
    """Under bfloat16 autocast a solve and its gradient run, and the state keeps its dtype.

    This is what `trainer.precision: bf16-mixed` does.
    """
    bound = case.bind(training=True)
    kind = bound.z0.device.type
    layer = Equilibrium(bound.operator, Picard(max_iter=2), Implicit(Neumann(2)))
    try:
        with torch.enable_grad(), torch.autocast(kind, torch.bfloat16):
            y, solution = layer(bound.x)
            total = _total(y)
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
    except RuntimeError as err:
        reason = " ".join(str(err).split())
        raise BrokenError(
            f"Under bfloat16 autocast a solve or its gradient fails: {reason} Cast to one dtype "
            "where tensors meet in place (`index_add`, `scatter`, `baddbmm`), and run what has no "
            "half precision under `torch.autocast(device, enabled=False)`."
        ) from err
    if solution.z.dtype in (torch.bfloat16, torch.float16):
        raise BrokenError(f"Under bfloat16 autocast the state became {solution.z.dtype}.")


def state_dict(case: OperatorCase) -> None:
    """The weights can be saved and loaded, and hold all that the answer depends on.

    Any tensor that is neither a parameter nor a buffer is not saved, and stays behind when the
    model moves to another device.
    """
    if stray := sorted(_stray_tensors(case.operator)):
        raise BrokenError(
            f"{', '.join(stray)}: a tensor that is neither a parameter nor a buffer, so it is not "
            "saved and not moved with the model. Use `self.register_buffer(name, tensor)`, with "
            "`persistent=False` if it can be made again."
        )
    bound = case.bind()
    file = io.BytesIO()
    torch.save(bound.operator.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(bound.operator)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                tensor.zero_()
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        again = other(bound.z, other.encode(bound.x))
    if (error := gap(again, bound.g(bound.z))) > 0:
        raise BrokenError(
            f"After its weights were saved and loaded, G is off by {error:.1e}. Keep nothing that "
            "is computed from weights outside of `encode`, `forward` and `decode`, and let "
            "`load_state_dict` restore all of `state_dict`."
        )


def pickling(case: OperatorCase) -> None:
    """The operator can be pickled, as training in spawned processes asks.

    A class that is defined within a function, and a lambda kept as an attribute, cannot be.
    """
    if any(parametrize.is_parametrized(module) for module in case.operator.modules()):
        raise NotApplicableError(
            "torch pickles no module with parametrizations: start processes by `torchrun`, not by "
            "spawning them."
        )
    try:
        pickle.loads(pickle.dumps(case.operator))
    except Exception as err:
        raise BrokenError(
            f"`pickle` fails ({type(err).__name__}: {err}). Define classes and functions at the "
            "top of a module, and keep no lambda as an attribute."
        ) from err


def solve(case: OperatorCase) -> str:
    """A few iterations of Picard and of Anderson run, with gradients and in inference mode.

    Whether they converge is not judged: the note tells. An audit of a trained model is the place.
    """
    notes = []
    solvers: tuple[AbstractSolver, ...] = (Picard(max_iter=_FEW), Anderson(max_iter=_FEW))
    for solver in solvers:
        bound = case.bind(training=True)
        with torch.enable_grad():
            y, solution = Equilibrium(bound.operator, solver, Implicit(Neumann(2)))(bound.x)
            total = _total(y)
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
        with torch.inference_mode():  # as Lightning validates and tests
            Equilibrium(bound.operator.eval(), solver)(bound.x)
        notes.append(f"{type(solver).__name__} {_outcome(solution)}")
    return f"after {_FEW} iterations: {'; '.join(notes)}"


def _outcome(solution: Solution) -> str:
    n = len(solution.status)
    failed = int(solution.failed.sum())
    middle = float(solution.relative_residual.median())
    text = f"{int(solution.converged.sum())} of {n} converged, relative residual {middle:.1e}"
    return f"{text}, {failed} failed" if failed else text


def _total(y: Any) -> Tensor:
    total = sum(t.float().sum() for t in floats_in(y).values())
    return total if isinstance(total, Tensor) else torch.zeros(())


def _stray_tensors(operator: AbstractOperator) -> Iterator[str]:
    """Yield the attributes, of all modules, that hold a tensor which torch does not know of."""
    for path, module in operator.named_modules():
        for name, value in vars(module).items():
            if name in nn.Module().__dict__:
                continue
            values = value if isinstance(value, (list, tuple)) else [value]
            if isinstance(value, dict):
                values = list(value.values())
            if any(isinstance(v, Tensor) for v in values):
                yield f"{path}.{name}" if path else name

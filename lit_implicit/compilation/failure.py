"""What is said where G cannot be compiled, or not for what was asked of it."""

import torch
from torch import Tensor

from lit_implicit.errors import ConfigError


def is_version_limit(err: Exception) -> bool:
    """Tell whether code was compiled, and a call asks for one version too many."""
    return "Limit" in type(err).__name__  # FailOnRecompileLimitHit, and its older names


def compile_error(name: str, err: Exception) -> ConfigError:
    """Return the error of an operator that works, but has no compiled code.

    Args:
        name: The operator's class.
        err: What the compiler raised.
    """
    return ConfigError(f"`compile` failed on `{name}.forward`: {_reason(err)}")


def limit_line(name: str, n_graphs: int) -> str:
    """Return what is told once where calls go on without compiled code."""
    return (
        f"G of {name} was compiled {n_graphs} times; other calls run without. Counters and shapes "
        "that change with each call ask for a version each: keep them out of `forward` "
        "(TORCH_LOGS=recompiles names them)."
    )


def refuse_graph(gradient: Tensor) -> None:
    """Refuse second derivatives, with the remedy: the compiler's backward pass has none."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "A compiled G has first derivatives only: its backward pass was asked to build a graph "
            "(`create_graph=True`). Set `compile: {tracked: false}`, or use the adjoint "
            "`Implicit(order=2)`: both differentiate the operator as it is."
        )


def _reason(err: Exception) -> str:
    """Return one line from the page that the compiler writes: what, where, and what to do."""
    inner = getattr(err, "inner_exception", None) or err
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    what = lines[0].rstrip(".") if lines else type(inner).__name__
    places = [line for line in str(err).splitlines() if line.lstrip().startswith("File ")]
    where = f" ({places[-1].strip()})" if places else ""
    if "compiler" in what.lower():
        return f"{what}. Install a C++ compiler (g++), or leave `compile` out."
    if isinstance(err, torch._dynamo.exc.BackendCompilerFailed):
        return f"{what}{where}. Try `compile: {{backend: aot_eager}}`, or leave `compile` out."
    return (
        f"{what}{where}. Write it in tensor operations, allow pieces by "
        "`compile: {fullgraph: false}`, or leave `compile` out."
    )

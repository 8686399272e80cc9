"""Where NaN comes from: words about inputs, weights and solves, and what to do about each."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lit_implicit.adjoints import Unrolled
from lit_implicit.module import AbstractLightningModule, ImplicitLightningModule


def blame(
    module: LightningModule,
    n_failed: int,
    n_diverged: int,
    n_samples: int,
    inputs: str | None,
    iteration: int | None,
) -> str:
    """Say how many solves failed, how, and what helps.

    Args:
        module: The model.
        n_failed: Samples that failed.
        n_diverged: Those of them that diverged; the others are not finite.
        n_samples: Samples in all.
        inputs: What `bad_inputs` found; empty means nothing, None that it did not look.
        iteration: The iteration at which the first one failed, if known.
    """
    name = type(getattr(module, "operator", module)).__name__
    kinds = {"DIVERGED": n_diverged, "NONFINITE": n_failed - n_diverged}
    how = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    # `Unrolled` looks at the end only.
    late = isinstance(module, ImplicitLightningModule) and isinstance(
        module.train_equilibrium.adjoint, Unrolled
    )
    when = "" if iteration is None or late else f", the first at iteration {iteration}"
    text = (
        f"the solve of {n_failed} of {n_samples} samples by `{name}` failed ({how}{when}): they "
        "give no loss and no gradient."
    )
    if inputs:
        return f"{text} Their input is not finite: {inputs}. Leave such records out of the data."
    if n_diverged:
        return (
            f"{text} G expands: initialise it smaller, bound it by `spectral_norm` or by the "
            "regularizer `JacobianNorm`, damp the solver, or lower the learning rate."
        )
    made = "" if inputs is None else " The input is finite, so G made it."
    return (
        f"{text}{made} Keep logarithms, roots and quotients in G away from their poles, initialise "
        "it smaller, or lower the learning rate."
    )


def bad_inputs(module: LightningModule, batch: Any) -> str:
    """Name the tensors of a batch's input that hold NaN or infinity; empty if none does."""
    if not isinstance(module, AbstractLightningModule):
        return ""
    found = []
    for name, tensor in _named(module.objective.inputs(batch), "x"):
        if tensor.is_floating_point() and (n := int((~tensor.isfinite()).sum())):
            found.append(f"`{name}` holds {n} of {tensor.numel()} numbers that are NaN or infinite")
    return ", ".join(found)


def bad_parameter(module: torch.nn.Module) -> str:
    """Name the first parameter that is not finite; empty if none is. Waits for the device once."""
    named = list(module.named_parameters())
    # A sum of absolute values overflows only where the weights are of no use either.
    sums = [p.detach().abs().sum(dtype=torch.float32) for _, p in named if p.numel()]
    if not sums or bool(torch.stack([s.to(sums[0].device) for s in sums]).isfinite().all()):
        return ""
    return next((name for name, p in named if not bool(p.detach().isfinite().all())), "")


def _named(tree: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an input with the names by which its author knows them."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _named(value, f"{name}[{key!r}]")
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        for key in tree._fields:
            yield from _named(getattr(tree, key), f"{name}.{key}")
    elif isinstance(tree, (tuple, list)):
        for number, value in enumerate(tree):
            yield from _named(value, f"{name}[{number}]")
    elif is_dataclass(tree):
        for field in fields(tree):
            yield from _named(getattr(tree, field.name), f"{name}.{field.name}")

"""Forces from elsewhere: what is refused, and what is taken out of them."""

from collections.abc import Callable

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lit_implicit.errors import DataError
from lit_implicit_flow.equation import project

_ROUNDING = 1e-6
"""Share of a force that is taken out without a word: what single precision leaves."""


def check_fields(fields: Tensor, where: str) -> None:
    """Refuse fields that are not square, too small, or not finite.

    Args:
        fields: Shape `(..., N, N)`.
        where: What they are, for the message.

    Raises:
        DataError: If they are.
    """
    rows, columns = fields.shape[-2:]
    if rows != columns or rows < 4:
        raise DataError(
            f"{where} has fields of {rows} x {columns} points. The periodic square needs as many "
            "along x as along y, and at least 4; cut or resample them."
        )
    if n := int((~fields.isfinite()).sum()):
        raise DataError(
            f"{where} has {n} values that are not finite, of {fields.numel()}. Leave the file out, "
            "or repair it."
        )


def in_parts(function: Callable[..., Tensor], *fields: Tensor, size: int = 256) -> Tensor:
    """Apply a function of samples to some at a time.

    The spectra of thousands of fields would take several times their memory.

    Args:
        function: From fields to a tensor, sample by sample.
        fields: Shape `(n, ...)`.
        size: How many samples at a time.
    """
    parts = zip(*(torch.split(field, size) for field in fields), strict=True)
    return torch.cat([function(*part) for part in parts])


def sound_forces(force: Tensor, where: str) -> Tensor:
    """Return the divergence-free parts of mean zero of forces, and say how much was taken out.

    Args:
        force: Forces, shape `(n, 2, N, N)`.
        where: What they are, for the message.

    Raises:
        DataError: If a force is not square, not finite, or has no curl at all.
    """
    check_fields(force, where)
    sound = in_parts(project, force)
    size = torch.linalg.vector_norm(force.flatten(1), dim=1)
    left = torch.linalg.vector_norm(sound.flatten(1), dim=1)
    if bool((none := left <= _ROUNDING * size).any()):
        raise DataError(
            f"{where} has a force without a curl (number {int(none.nonzero()[0])}): a mean or a "
            "gradient moves no steady flow, and the answer would be rest. Leave it out."
        )
    share = torch.linalg.vector_norm((force - sound).flatten(1), dim=1) / size
    if float(share.max()) > _ROUNDING:
        rank_zero_info(
            f"{where}: mean and divergent part of the forces, up to {float(share.max()):.2g} of "
            "their 2-norm, are taken out; the pressure balances the one, and under the other no "
            "flow is steady."
        )
    return sound

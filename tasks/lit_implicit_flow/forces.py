"""Forces from elsewhere: what is refused, and what is taken out of them."""

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


def sound_forces(force: Tensor, where: str) -> Tensor:
    """Return the divergence-free parts of mean zero of forces, and say how much was taken out.

    Args:
        force: Forces, shape `(n, 2, N, N)`.
        where: What they are, for the message.

    Raises:
        DataError: If a force is not square, not finite, or has no curl at all.
    """
    check_fields(force, where)
    # In parts: the spectra of thousands of forces would take several times their memory.
    sound = torch.cat([project(part) for part in torch.split(force, 256)])
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

"""What the loop costs: floating-point operations of its products, by formula."""

from torch import Tensor

from lit_implicit.layout import widest_dtype
from lit_implicit_text.sizes import TextSizes


def core_flops(sizes: TextSizes, n_iter: Tensor, positions: Tensor, pairs: Tensor) -> Tensor:
    """Return the operations of the core's products, a multiplication and an addition being two.

    Norms, rotations and softmax are left out, as is what `inject` does once per position.

    Args:
        sizes: All sizes of the network.
        n_iter: Iterations, shape `(n,)`.
        positions: Positions that were iterated, shape `(n,)`.
        pairs: Pairs of a position and a key that it sees, shape `(n,)`.

    Returns:
        Shape `(n,)`, in the widest dtype of the device.
    """
    width, intermediate = sizes.width, sizes.intermediate
    block = 2 * width * (3 * width + width + 2 * intermediate + intermediate)
    per_position = 2 * width**2 + sizes.core * block
    per_pair = sizes.core * 4 * width
    return n_iter.to(widest_dtype(n_iter.device)) * (per_position * positions + per_pair * pairs)

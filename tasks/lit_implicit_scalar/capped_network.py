"""The explicit baseline under a Lipschitz cap: one pass, whose slope nothing can lift above it."""

from torch import Tensor, nn

from lit_implicit_scalar.capped import CappedNetwork


class ScalarCappedNetwork(nn.Module):
    """y = N(x), where N is Lipschitz with the constant `cap`: so is x -> y, whatever is learned.

    Args:
        cap: Largest slope of N.
        width: Units of each of the two hidden layers, even.

    Raises:
        ValueError: If the cap is not positive and finite, or the width is odd or below 2.
    """

    def __init__(self, cap: float = 10.0, width: int = 64) -> None:
        super().__init__()
        self.one_pass = CappedNetwork(1, 1, cap, width, type(self).__name__)

    def forward(self, x: Tensor) -> Tensor:
        """Answer to points, shape `(n,)` as theirs."""
        self.one_pass.project()
        y: Tensor = self.one_pass(x.to(self.one_pass.last.weight.dtype)[:, None])
        return y.squeeze(-1)

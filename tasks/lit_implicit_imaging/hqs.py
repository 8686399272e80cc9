"""Half-quadratic splitting with a learned denoiser in place of the proximal step."""

from torch import Tensor, nn

from lit_implicit_imaging.operator import AbstractImagingOperator, ImagingStart


class ImagingHQS(AbstractImagingOperator):
    """G(z, x) = H((A^T A + beta I)^-1 (A^T x + beta z), sigma), beta = 1 / `stepsize`.

    The data step solves its least-squares problem exactly, at the cost of a gradient step.

    Args:
        denoiser: The denoiser H; None means `ImagingDRUNet()`.
        stepsize: 1 / beta to begin with.
        sigma: Noise level that the denoiser is told, to begin with.
        start: Initial iterate: zero, the observation x, A^T x, or the pseudo-inverse of A at x
            (which amplifies noise up to a hundredfold).

    Raises:
        ValueError: If a number is not positive, or the start is unknown.

    References:
        arXiv:2510.03638, image deblurring, HQS-style operator.
    """

    def __init__(
        self,
        denoiser: nn.Module | None = None,
        stepsize: float = 4.0,
        sigma: float = 0.03,
        start: ImagingStart = "zero",
    ) -> None:
        super().__init__(denoiser, stepsize, sigma, start)

    def data_step(self, power: Tensor, adjoint: Tensor) -> tuple[Tensor, Tensor]:
        beta = (-self.log_stepsize).exp()
        return beta / (power + beta), adjoint / (power + beta)

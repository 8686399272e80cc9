"""Proximal gradient descent with a learned denoiser in place of the proximal step."""

from torch import Tensor

from lit_implicit_imaging.operator import AbstractImagingOperator


class ImagingPGD(AbstractImagingOperator):
    """G(z, x) = H(z - gamma A^T (A z - x), sigma), gamma being `stepsize`.

    References:
        arXiv:2510.03638, image deblurring, PGD-style operator.
    """

    def data_step(self, power: Tensor, adjoint: Tensor) -> tuple[Tensor, Tensor]:
        gamma = self.log_stepsize.exp()
        return 1 - gamma * power, gamma * adjoint

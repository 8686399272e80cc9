"""The Jacobian dG/dz at a state, as products with it and with its transpose."""

import torch
from torch import Tensor

from lit_implicit.layout import AbstractLayout, Real
from lit_implicit.operator import AbstractMap


class StateJacobian:
    """J = dG/dz at `z`, a block per sample: it is never formed, only multiplied with.

    One evaluation of G serves all products. J v is the derivative in u of J^T u, so that G needs no
    forward-mode derivative, only a second one in reverse mode.

    Args:
        g: The map z -> G(z, x), with its layout.
        z: Where to differentiate.

    Raises:
        RuntimeError: By torch, if G uses a function that can be differentiated only once.
    """

    def __init__(self, g: AbstractMap, z: Real) -> None:
        self.layout: AbstractLayout = g.layout
        # Evaluation may run in inference mode, whose tensors can carry no derivative.
        with torch.inference_mode(False), torch.enable_grad():
            self._z = z.detach().clone().requires_grad_()
            self._gz = g(self._z)
            self._u = torch.zeros_like(self._z).requires_grad_()
            self._product: Tensor = torch.zeros_like(self._z)
            if self._gz.requires_grad:  # else G does not depend on z
                (self._product,) = torch.autograd.grad(
                    self._gz, self._z, self._u, create_graph=True, materialize_grads=True
                )

    @property
    def z(self) -> Real:
        """The state, without a graph."""
        return self._z.detach()

    @property
    def gz(self) -> Real:
        """G there, without a graph."""
        return self._gz.detach()

    def times(self, v: Real) -> Real:
        """Return J v."""
        return _grad(self._product, self._u, v)

    def transposed_times(self, u: Real) -> Real:
        """Return J^T u."""
        return _grad(self._gz, self._z, u)


def _grad(output: Tensor, leaf: Tensor, v: Tensor) -> Tensor:
    if not output.requires_grad:
        return torch.zeros_like(v)
    with torch.inference_mode(False), torch.enable_grad():
        (product,) = torch.autograd.grad(
            output, leaf, v.clone(), retain_graph=True, materialize_grads=True
        )
    return product

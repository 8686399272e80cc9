"""A structured operator: Newton-like steps on the equation itself, with few learned numbers."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from lit_implicit.operator import AbstractOperator
from lit_implicit_flow.advection import AdvectionMatrix
from lit_implicit_flow.batch import FlowInput
from lit_implicit_flow.equation import curl
from lit_implicit_flow.shells import ShellTable
from lit_implicit_flow.spectral import Spectral
from lit_implicit_flow.waves import amplitudes, half_disk, spectrum_of


@dataclass(frozen=True, eq=False)
class OseenContext:
    """What G sees of its input, in units in which the vorticity's scale is 1.

    Args:
        curl_f: Curl of the forces over vorticity_scale^2, shape `(n, N, N)`.
        nu: Viscosities over vorticity_scale, shape `(n,)`.
    """

    curl_f: Tensor
    nu: Tensor


class FlowOseen(AbstractOperator):
    """G(w, f) = w + P(w) r with r = curl f + nu Lap w - u . grad w, what is left in the equation.

    The state is the vorticity. A flow that solves the equation is a fixed point whatever the
    weights. On wave vectors up to `waves`, P r is a step of the iteratively regularised
    Gauss-Newton method: the change q that makes sum W |r - J q|^2 + d sum |w + q|^2 / S least, J
    the Oseen operator with all of its derivative (-nu Lap q + u . grad q + v . grad w, curl v = q),
    a dense matrix. Shorter waves see of J the viscosity, inverted exactly in Fourier space and
    damped where advection exceeds it:

        q = (l r - p w) / (l^2 + (1 + b^2) (u k)^2 + p),    l = nu k^2,    p = d / (S W),

    u the root mean square of the speed. The 1 damps waves that are carried along: where the speed
    is v, they are multiplied by about 1 - l (l + i v k) / (l^2 + (u k)^2), which is smaller than 1
    as long as v^2 <= 2 u^2. Faster places may need what is learned. Learned are the spectrum S(k)
    in which flows are looked for, the weights W(k) of the equation's parts, the damping b(k), each
    in a table over integer |k|, and d as a function of the residual's size. They depend on
    wavenumbers, and not on points: G runs at any resolution. It commutes with shifts, reflections
    and quarter turns.

    Far from a flow d is large, and the state is drawn back to rest: random starts of the flow's
    size are forgotten. Near one d falls faster than the residual, and long waves take Newton's
    steps. If d is too large, the pull and the residual balance at states that are no flows: at
    viscosity 0.05, untrained, none of 8 does so with `damping` 0.1, and 3 with 1. Trust no state
    whose equation residual is not small.

    Why squares and not Newton's method: most forces hold more than one flow steady at small
    viscosity. One that S leaves out, say as it has shorter waves than the flows of the data, is a
    fixed point that the iteration does not reach.

    Args:
        waves: Largest wavenumber that is solved for directly; the cost grows with its sixth power.
        n_shells: Wavenumbers of the tables; beyond the last they are constant.
        damping: d at rest to begin with, relative to the mean diagonal of the squares; it falls
            with a power of the residual, the square to begin with.

    Raises:
        ValueError: If a number is out of range.

    References:
        Oseen's linearization: Temam (1977), Navier-Stokes Equations, II.3; after Bakushinskii
        (1992), Comput. Math. Math. Phys. 32(9), 1353-1359, where d is a given sequence.
    """

    def __init__(self, waves: int = 6, n_shells: int = 16, damping: float = 0.1) -> None:
        super().__init__()
        for name, value in {"waves": waves, "n_shells": n_shells}.items():
            if value < 1:
                raise ValueError(f"`FlowOseen.{name}` must be at least 1, got {value}.")
        if not 0 < damping < float("inf"):
            raise ValueError(f"`FlowOseen.damping` must be positive, got {damping}.")
        self.waves = waves
        self.spectrum = ShellTable(n_shells)
        self.weight = ShellTable(n_shells)
        self.drag = ShellTable(n_shells, 0.5)
        self.log_damping = nn.Parameter(torch.tensor(damping).log())
        self.log_power = nn.Parameter(torch.tensor(0.0))

    def encode(self, x: FlowInput) -> OseenContext:
        """Take the curl of the forces, in units of the vorticity's scale."""
        scale = x.vorticity_scale
        return OseenContext(
            curl(x.physical_force()) / scale.square()[:, None, None], x.viscosity / scale
        )

    def init_state(self, c: OseenContext, generator: torch.Generator | None = None) -> Tensor:
        """Return a fluid at rest, shape `(n, 1, N, N)`; nothing is drawn."""
        return torch.zeros_like(c.curl_f[:, None])

    def forward(self, z: Tensor, c: OseenContext) -> Tensor:
        """Take a step."""
        with torch.autocast(z.device.type, enabled=False):  # products here are of a solver's
            return self._step(z.to(c.curl_f.dtype)[:, 0], c)[:, None]

    def _step(self, field: Tensor, c: OseenContext) -> Tensor:
        s = Spectral.of(field)
        w, given = s.transform(field), s.transform(c.curl_f)
        u = s.fine(s.velocity(w))
        viscosity = c.nu[:, None, None] * s.square
        r = given - viscosity * w - s.advection(u, u)
        speed2 = u.square().sum(dim=-3).mean(dim=(-2, -1))
        damping = self._damping(r, given, 1 + (s.ky > 0))
        long, mean = self._long(w, r, c.nu, damping)
        spectrum, weight, drag = (
            table(s.square) for table in (self.spectrum, self.weight, self.drag)
        )
        pull = (damping * mean)[:, None, None] / (spectrum * weight)
        carried = (1 + drag.square()) * speed2[:, None, None] * s.square
        least = viscosity.square() + carried + pull
        short = s.kept * (s.square > self.waves**2)
        # Where `short` is 0, so may be `least`.
        q = short * (viscosity * r - pull * w) / torch.where(short > 0, least, 1.0)
        columns = _waves(self.waves, s.n, field.dtype, field.device).columns
        return s.field(w + q + spectrum_of(long, columns, s.n))

    def _damping(self, r: Tensor, given: Tensor, times: Tensor) -> Tensor:
        """Return d, shape `(n,)`: damping times a power of the relative residual, above the first.

        Spectra of real fields hold half of their waves: each counts as often as `times` says.
        """
        tiny = torch.finfo(r.real.dtype).eps ** 2
        left, size = ((times * part.abs() ** 2).sum(dim=(-2, -1)) for part in (r, given))
        # The bound keeps single precision from overflow, of starts far away and without a force.
        ratio = (left / (size + tiny) + tiny).clamp_max(1e6)
        # A first power would leave the state drawn back as far as it is off.
        damping: Tensor = self.log_damping.exp() * ratio ** ((1 + self.log_power.exp()) / 2)
        return damping

    def _long(self, w: Tensor, r: Tensor, nu: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for long waves.

        Returns:
            Amplitudes times N^2, shape `(n, columns)`; and the mean diagonal of the squares, which
            is the unit of d, shape `(n,)`.
        """
        waves = _waves(self.waves, w.shape[-2], nu.dtype, nu.device)
        matrix = torch.addcmul(waves.advection(w), nu[:, None, None], waves.laplacian)
        weight, scale = (
            table(k.square().sum(dim=1)).to(nu.dtype).repeat(2)
            for table, k in ((self.weight, waves.rows), (self.spectrum, waves.columns))
        )
        scale = scale.sqrt()
        left, here = (
            torch.cat([part.real, part.imag], dim=1)[..., None]
            for part in (amplitudes(r, waves.rows), amplitudes(w, waves.columns))
        )
        # S stays outside: what it multiplies is then a quarter of J.
        transposed = (weight[:, None] * matrix).mT
        squares = scale[:, None] * (transposed @ matrix) * scale
        mean = squares.diagonal(dim1=1, dim2=2).mean(dim=1)
        pull = (damping * mean)[:, None, None]
        squares = squares + pull * waves.identity
        wanted = scale[:, None] * (transposed @ left) - pull * here / scale[:, None]
        # Not `solve`, which asks the device whether it failed.
        found = torch.linalg.solve_ex(squares, wanted).result[..., 0] * scale
        real, imag = found.chunk(2, dim=1)
        return torch.complex(real, imag), mean


@dataclass(frozen=True, eq=False)
class _Waves:
    """Long waves, the waves of their products, and between the two -Lap and advection."""

    columns: Tensor
    rows: Tensor
    laplacian: Tensor
    identity: Tensor
    advection: AdvectionMatrix


@lru_cache(maxsize=16)
def _waves(limit: int, n: int, dtype: torch.dtype, device: torch.device) -> _Waves:
    with torch.inference_mode(False):  # kept for later calls, which may record gradients
        columns, rows = half_disk(limit, n).to(device), half_disk(2 * limit, n).to(device)
        same = (rows[:, None] == columns[None]).all(dim=-1).to(dtype)
        square = rows.square().sum(dim=1, keepdim=True)
        identity = torch.eye(2 * len(columns), dtype=dtype, device=device)
        laplacian = torch.kron(identity[:2, :2].contiguous(), square * same)
        return _Waves(
            columns, rows, laplacian, identity, AdvectionMatrix.of(rows, columns, n, dtype)
        )

"""The paper's networks, written once more in plain torch from its description alone."""

import pytest
import torch
import torch.nn.functional as F
from flow.flow_problem import batch, off

from lit_implicit import Equilibrium, Picard
from lit_implicit_flow.baselines import FlowFNOPass, FlowFNOPlus
from lit_implicit_flow.fno import FlowFNO

WIDTH, MODES, PADDING, SIDE = 5, 4, 3, 14
NETWORKS = {"implicit": FlowFNO, "explicit": FlowFNOPass, "plus": FlowFNOPlus}


class Paper:
    """Each formula as the FNO's authors wrote it, on weights found by their names."""

    def __init__(self, weights):
        self.weights = {name: value.detach() for name, value in weights.items()}

    def linear(self, name, z):
        return F.conv2d(z, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def spectral(self, name, z):
        """Two blocks of wavenumbers, those of small positive and small negative kx."""
        (weight,) = (v for k, v in self.weights.items() if k.startswith(f"{name}.weight"))
        weight, m = weight.to(torch.complex128), MODES
        given = torch.fft.rfft2(z)
        out = torch.zeros_like(given)
        out[:, :, :m, :m] = torch.einsum("bixy,ioxy->boxy", given[:, :, :m, :m], weight[:, :, m:])
        out[:, :, -m:, :m] = torch.einsum("bixy,ioxy->boxy", given[:, :, -m:, :m], weight[:, :, :m])
        return torch.fft.irfft2(out, s=z.shape[-2:])

    def layer(self, name, z, injection, norm, act):
        mlp = norm(self.spectral(f"{name}.spectral", z))
        mlp = self.linear(f"{name}.mlp.2", F.gelu(self.linear(f"{name}.mlp.0", mlp)))
        return act(norm(mlp) + norm(self.linear(f"{name}.skip", z)) + injection)

    def encode(self, force):
        n, _, side, _ = force.shape
        x = torch.linspace(0, 1, side + 1, dtype=force.dtype)[:-1]
        places = torch.stack([x[:, None].expand(side, side), x[None].expand(side, side)])
        lifted = self.linear("frame.lift", torch.cat([force, places.expand(n, -1, -1, -1)], 1))
        return F.pad(lifted, [0, PADDING, 0, PADDING])

    def decode(self, z):
        z = self.layer("frame.last", z, 0, F.instance_norm, lambda a: a)[..., :SIDE, :SIDE]
        return self.linear("frame.head.2", F.gelu(self.linear("frame.head.0", z)))

    def answer(self, kind, force, n_iter):
        c = self.encode(force)
        if kind == "explicit":  # the layers once, without injection and normalisation
            z = c
            for i in range(3):
                z = self.layer(f"layers.{i}", z, 0, lambda a: a, F.gelu)
        elif kind == "plus":  # blocks of three with injection, from zero, without normalisation
            z = 0 * c
            for i in range(3):
                z = self.layer(f"layers.{i}", z, c, lambda a: a, F.gelu)
        else:
            z = 0 * c
            for _ in range(n_iter):
                z = F.instance_norm(z)
                for i in range(3):
                    z = self.layer(f"layers.{i}", z, c, F.instance_norm, F.gelu)
        return self.decode(z)


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_compute_what_the_paper_says(kind):
    torch.manual_seed(0)
    network = NETWORKS[kind](width=WIDTH, modes=MODES, padding=PADDING).double()
    x = batch(3, SIDE, dtype=torch.float64).x
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("bias"):
                weight.normal_()  # what matters must show
        wanted = Paper(network.state_dict()).answer(kind, x.force, n_iter=4)
        if kind == "implicit":
            y, _ = Equilibrium(network, Picard(rtol=0.0, max_iter=4))(x)
        else:
            y = network(x)
    assert off(y, wanted) < 1e-10  # rounding, which normalisation makes larger
    assert off(y[:1], wanted[1:2]) > 1e-3

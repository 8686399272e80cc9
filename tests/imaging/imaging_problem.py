"""Small observations to restore, and denoisers that make G contract."""

import torch

from lit_implicit_imaging.batch import ImagingBatch, ImagingInput
from lit_implicit_imaging.blur import blur
from lit_implicit_imaging.denoiser import ImagingDRUNet


def kernels(n=2, size=5, dtype=torch.float32):
    """Kernels without any symmetry, one a sample."""
    drawn = torch.rand(n, 1, size, size - 2, generator=torch.Generator().manual_seed(1))
    return (drawn / drawn.sum(dim=(-2, -1), keepdim=True)).to(dtype)


def batch(n=2, height=32, width=32, noise=0.03, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(n, 3, height, width, generator=generator).to(dtype)
    kernel = kernels(n, dtype=dtype)
    drawn = torch.randn(truth.shape, generator=generator).to(dtype)
    observation = blur(truth, kernel) + noise * drawn
    x = ImagingInput(observation, kernel, torch.full((n,), noise, dtype=dtype))
    return ImagingBatch(x, truth, torch.arange(n), tuple(f"{i}.png" for i in range(n)))


def denoiser(gain=3.0, **settings):
    """A DRUNet with larger weights than untrained ones: G contracts, but not to nothing."""
    torch.manual_seed(0)
    network = ImagingDRUNet(**{"channels": (4, 4, 8, 8), **settings})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(gain)
    return network.eval()

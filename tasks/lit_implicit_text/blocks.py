"""The blocks of a looped transformer, in stacks, and the core with its injection: G itself."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_implicit_text.attention import Memory, Sight, TextAttention
from lit_implicit_text.norms import TextNorm
from lit_implicit_text.sizes import TextSizes


class TextMLP(nn.Module):
    """Gated MLP: proj(SiLU(u) * v) with [u, v] = fc(x), without biases.

    Args:
        sizes: Width and intermediate width.

    References:
        arXiv:2502.05171, section 3.2.
    """

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.fc = nn.Linear(sizes.width, 2 * sizes.intermediate, bias=False)
        self.proj = nn.Linear(sizes.intermediate, sizes.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map each position, shape `(..., width)`."""
        gate, value = self.fc(x).chunk(2, -1)
        mapped: Tensor = self.proj(F.silu(gate) * value)
        return mapped


class SandwichBlock(nn.Module):
    """Attention and MLP, each between two norms; the sums are normalized too.

    Its parameters are named as in the public checkpoint.

    Args:
        sizes: Width, heads, intermediate width and `norm_eps`.

    References:
        arXiv:2502.05171, section 3.2.
    """

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.norm_1 = TextNorm(sizes.width, sizes.norm_eps)
        self.attn = TextAttention(sizes)
        self.norm_2 = TextNorm(sizes.width, sizes.norm_eps)
        self.norm_3 = TextNorm(sizes.width, sizes.norm_eps)
        self.mlp = TextMLP(sizes)
        self.norm_4 = TextNorm(sizes.width, sizes.norm_eps)

    def forward(self, x: Tensor, sight: Sight, memory: Memory | None = None) -> Tensor:
        """Apply the block, shape `(n, length, width)`; see `TextAttention.forward`."""
        x = self.norm_2(self.attn(self.norm_1(x), sight, memory) + x)
        mapped: Tensor = self.norm_4(self.mlp(self.norm_3(x)) + x)
        return mapped


def stack(sizes: TextSizes, n_blocks: int) -> nn.ModuleList:
    """Return a number of blocks, to be applied one after the other."""
    return nn.ModuleList(SandwichBlock(sizes) for _ in range(n_blocks))


def apply_stack(
    blocks: Iterable[nn.Module], x: Tensor, sight: Sight, memory: Sequence[Memory] | None = None
) -> Tensor:
    """Apply blocks one after the other, each with its memory, shape `(n, length, width)`."""
    for layer, block in enumerate(blocks):
        x = block(x, sight, None if memory is None else memory[layer])
    return x


class TextCore(nn.Module):
    """One step of the loop: blocks after an adapter, which joins state and embedding linearly.

    The adapter's matrix acts on [z, e]. Its half for the embedding e does not change from step to
    step: `inject` applies it, once for all of them.

    Args:
        sizes: All sizes of the network.

    References:
        arXiv:2502.05171, sections 3.1 and 3.2.
    """

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.adapter = nn.Linear(2 * sizes.width, sizes.width, bias=False)
        self.blocks = stack(sizes, sizes.core)

    def inject(self, embedding: Tensor) -> Tensor:
        """Return what the embedding adds to each step, shape `(n, length, width)`."""
        width = self.adapter.out_features
        return F.linear(embedding, self.adapter.weight[:, width:])

    def forward(
        self, z: Tensor, injection: Tensor, sight: Sight, memory: Sequence[Memory] | None = None
    ) -> Tensor:
        """Return the next state, shape `(n, length, width)`.

        Args:
            z: The state, shape `(n, length, width)`.
            injection: What `inject` returned.
            sight: Where the positions stand and what they see.
            memory: Keys and values of earlier positions, one of each block; None means that `z`
                holds all positions.
        """
        width = self.adapter.out_features
        joined = F.linear(z, self.adapter.weight[:, :width]) + injection
        return apply_stack(self.blocks, joined, sight, memory)


def init_weights(module: nn.Module, width: int, depth: int) -> None:
    """Initialize all matrices below a module ("takase"), truncated at three standard deviations.

    The standard deviation is sqrt(2 / (5 width)), and for matrices that write to the residual
    stream that divided by sqrt(2 depth). Norm weights stay 1, biases 0.

    Args:
        module: A network of the parts of this file, with embeddings.
        width: Its width.
        depth: Blocks that a position passes on average, iterations counted.

    References:
        arXiv:2502.05171, section 3.2; Takase et al. (2023), arXiv:2312.16903.
    """
    inner = (2 / (5 * width)) ** 0.5
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            std = inner / (2 * depth) ** 0.5 if name.endswith(".proj") else inner
            with torch.no_grad():
                nn.init.trunc_normal_(part.weight, std=std, a=-3 * std, b=3 * std)

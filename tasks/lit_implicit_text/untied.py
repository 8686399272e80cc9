"""The explicit network to compare with: as deep as the loop, each step with weights of its own."""

from torch import Tensor, nn

from lit_implicit_text.batch import TextInput
from lit_implicit_text.blocks import TextCore, init_weights
from lit_implicit_text.looped import only_inside
from lit_implicit_text.operator import LoopedTransformer


class UntiedTransformer(nn.Module):
    """A fixed number of steps of a looped transformer that share no weights.

    With `depth` 1 it is one iteration of a `LoopedTransformer` from zero.

    Args:
        depth: Number of steps; the number of weights grows with it.
        vocab_size: Number of tokens, that of the data's tokenizer.
        width: Numbers per position, a multiple of twice `heads`.
        heads: Heads of each attention.
        intermediate: Width within the gated MLPs; None means three times `width`.
        prelude: Blocks before the steps.
        core: Blocks of each step.
        coda: Blocks after the steps.
        context: Most positions of a text, the answer included.
        rope_base: Base of the rotary angles.
        norm_eps: What the norms add to the mean square.

    Raises:
        ValueError: If a size or `depth` is out of range.
    """

    def __init__(
        self,
        depth: int = 8,
        vocab_size: int = 512,
        width: int = 128,
        heads: int = 4,
        intermediate: int | None = None,
        prelude: int = 1,
        core: int = 2,
        coda: int = 1,
        context: int = 256,
        rope_base: float = 50000.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"`UntiedTransformer.depth` must be at least 1, got {depth}.")
        self.looped = LoopedTransformer(
            vocab_size, width, heads, intermediate, prelude, core, coda, context, rope_base,
            norm_eps, mean_iter=depth,
        )  # fmt: skip
        self.later = nn.ModuleList(TextCore(self.looped.sizes) for _ in range(depth - 1))
        init_weights(self.later, width, prelude + coda + core * depth)

    def forward(self, x: TextInput) -> Tensor:
        """Return logits of the token after each position, shape `(n, length, vocab_size)`."""
        embedding, sight, inside = self.looped.embed(x)
        z = embedding.new_zeros(embedding.shape)
        for core in (self.looped.core, *self.later):
            z = only_inside(core(z, core.inject(embedding), sight), inside)
        return self.looped.logits(self.looped.read(z, sight))

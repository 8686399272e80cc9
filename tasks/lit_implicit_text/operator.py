"""The looped transformer of any size, to be trained."""

from lit_implicit_text.looped import AbstractLoopedTransformer, TextStart
from lit_implicit_text.sizes import TextSizes


class LoopedTransformer(AbstractLoopedTransformer):
    """G(z, x) = core(adapter([z, prelude(x)])), a transformer whose middle is iterated.

    Blocks, norms and the tied head are those of Huginn; the sizes are free.

    Args:
        vocab_size: Number of tokens, that of the data's tokenizer.
        width: Numbers per position, a multiple of twice `heads`.
        heads: Heads of each attention.
        intermediate: Width within the gated MLPs; None means three times `width`.
        prelude: Blocks before the loop.
        core: Blocks that are iterated.
        coda: Blocks after the loop.
        context: Most positions of a text, the answer included.
        rope_base: Base of the rotary angles.
        norm_eps: What the norms add to the mean square.
        start: Initial iterate: zero, or truncated normal noise.
        seed: Seed of the noise, which is a function of it and of the position alone.
        mean_iter: Iterations that training takes on average; the matrices that write to the
            residual stream start the smaller the more there are.

    Raises:
        ValueError: If a size or the seed is out of range, or the start is unknown.

    References:
        Geiping et al. (2025), arXiv:2502.05171, sections 3.1 and 3.2.
    """

    def __init__(
        self,
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
        start: TextStart = "zero",
        seed: int = 0,
        mean_iter: int = 32,
    ) -> None:
        sizes = TextSizes(
            vocab_size, width, heads, 3 * width if intermediate is None else intermediate,
            prelude, core, coda, context, rope_base, norm_eps,
        )  # fmt: skip
        super().__init__(sizes, start, seed, mean_iter)

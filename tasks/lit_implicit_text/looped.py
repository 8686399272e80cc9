"""What looped transformers share, wherever their weights come from: the operator and its pieces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_implicit.operator import AbstractOperator
from lit_implicit_text.attention import Memory, Sight
from lit_implicit_text.batch import TextInput
from lit_implicit_text.blocks import TextCore, apply_stack, init_weights, stack
from lit_implicit_text.norms import TextNorm
from lit_implicit_text.rotary import rotations
from lit_implicit_text.sizes import TextSizes
from lit_implicit_text.start import start_noise

TextStart = Literal["zero", "truncated_normal"]


@dataclass(frozen=True, eq=False)
class TextContext:
    """What G sees of a text: all that no iteration changes.

    Args:
        injection: What the text adds to each step, shape `(n, length, width)`.
        rotation: Cosines and sines of the positions, shape `(n, length, 2, head_dim)`.
        inside: Positions that hold a token, shape `(n, length)`, boolean.
    """

    injection: Tensor
    rotation: Tensor
    inside: Tensor


class AbstractLoopedTransformer(AbstractOperator):
    """A transformer whose middle is iterated: G(z, x) = core(adapter([z, prelude(x)])).

    `encode` embeds the tokens and applies the prelude, `decode` applies the coda and the head,
    whose matrix is that of the embeddings. The state has a row for each position; rows of the
    padding are zero. A position sees itself and earlier ones only, so padding on the right
    influences nothing.

    Args:
        sizes: All sizes of the network.
        start: Initial iterate: zero, or truncated normal noise.
        seed: Seed of the noise, which is a function of it and of the position alone. A generator
            that is given to `init_state` draws another seed.
        mean_iter: Iterations that training takes on average; the matrices that write to the
            residual stream start the smaller the more there are.

    Raises:
        ValueError: If a size or the seed is out of range, or the start is unknown.

    References:
        Geiping et al. (2025), arXiv:2502.05171, sections 3.1 and 3.2.
    """

    causal: Tensor
    noise: Tensor | None

    def __init__(
        self, sizes: TextSizes, start: TextStart = "zero", seed: int = 0, mean_iter: int = 32
    ) -> None:
        super().__init__()
        name = type(self).__name__
        sizes.check(name)
        if start not in get_args(TextStart):
            raise ValueError(
                f"`{name}.start` must be one of {', '.join(get_args(TextStart))}, got {start!r}."
            )
        for key, value, least in (("seed", seed, 0), ("mean_iter", mean_iter, 1)):
            if value < least:
                raise ValueError(f"`{name}.{key}` must be at least {least}, got {value}.")
        self.sizes, self.start, self.seed = sizes, start, seed
        # Not drawn yet: to draw normal numbers on `meta`, torch imports all of its compiler.
        rows = torch.empty(sizes.vocab_size, sizes.width)
        self.wte = nn.Embedding.from_pretrained(rows, freeze=False)  # type: ignore[no-untyped-call]
        self.prelude = stack(sizes, sizes.prelude)
        self.core = TextCore(sizes)
        self.coda = stack(sizes, sizes.coda)
        self.ln_f = TextNorm(sizes.width, sizes.norm_eps)
        if not rows.is_meta:
            init_weights(self, sizes.width, sizes.prelude + sizes.coda + sizes.core * mean_iter)
        self._make_tables()

    def _make_tables(self) -> None:
        """Make what can be computed from the settings: no checkpoint need hold it."""
        context, device = self.sizes.context, self.wte.weight.device
        if device.type == "meta":  # the weights are yet to come, the tables are not
            device = torch.device("cpu")
        causal = torch.ones(context, context, dtype=torch.bool, device=device).tril()
        noise = None
        if self.start == "truncated_normal":
            noise = start_noise(self.seed, context, self.sizes.width).float().to(device)
        self.register_buffer("causal", causal, persistent=False)
        self.register_buffer("noise", noise, persistent=False)

    def encode(self, x: TextInput) -> TextContext:
        """Embed the tokens and apply the prelude.

        Raises:
            DataError: If the text is longer than the context, empty, or holds an unknown token.
        """
        embedding, sight, inside = self.embed(x)
        return TextContext(self.core.inject(embedding), sight.rotation, inside)

    def init_state(self, c: TextContext, generator: torch.Generator | None = None) -> Tensor:
        """Return the start, shape `(n, length, width)`: the same for every batch and length."""
        length = c.injection.shape[1]
        if self.start == "zero" or generator is None:
            z0 = self.start_at(torch.arange(length, device=c.inside.device), c.injection)
        else:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
            z0 = start_noise(seed, length, self.sizes.width).to(c.injection)
        return only_inside(z0.expand_as(c.injection), c.inside)

    def forward(self, z: Tensor, c: TextContext) -> Tensor:
        """Apply G once: shape `(n, length, width)`."""
        return only_inside(self.core(z, c.injection, self.sight(c.rotation)), c.inside)

    def decode(self, z: Tensor, c: TextContext) -> Tensor:
        """Return logits of the token after each position, shape `(n, length, vocab_size)`.

        In at least float32; those at the padding mean nothing.
        """
        return self.logits(self.read(z, self.sight(c.rotation)))

    def embed(
        self, x: TextInput, memory: Sequence[Memory] | None = None
    ) -> tuple[Tensor, Sight, Tensor]:
        """Return the prelude's output, what positions see, and which of them hold a token.

        Args:
            x: The texts.
            memory: Keeps the keys and values of each block of the prelude; None means nothing.

        Raises:
            DataError: As `encode` does.
        """
        inside = x.inside()
        x.check(type(self).__name__, self.sizes.vocab_size, self.sizes.context)
        tokens = x.tokens.masked_fill(~inside, 0)
        scaled = self.scaled(tokens)
        if x.offset is not None:
            scaled = scaled + x.offset.to(scaled)
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        sight = self.sight(self.rotations(positions.expand_as(tokens)))
        scaled = only_inside(scaled, inside)
        return apply_stack(self.prelude, scaled, sight, memory), sight, inside

    def start_at(self, positions: Tensor, like: Tensor) -> Tensor:
        """Return the start at positions, shape `(*positions, width)`, in the dtype of `like`."""
        if self.noise is None:
            return like.new_zeros(*positions.shape, self.sizes.width)
        return self.noise[positions].to(like)

    def sight(self, rotation: Tensor) -> Sight:
        """Return what positions see that start at the first: themselves and earlier ones."""
        length = rotation.shape[1]
        return Sight(rotation, self.causal[:length, :length])

    def rotations(self, positions: Tensor) -> Tensor:
        """Return cosines and sines of positions, shape `(*positions, 2, head_dim)`."""
        dtype = torch.promote_types(self.wte.weight.dtype, torch.float32)
        return rotations(positions, self.sizes.head_dim, self.sizes.rope_base, dtype)

    def scaled(self, tokens: Tensor) -> Tensor:
        """Return embeddings times sqrt(width), shape `(*tokens, width)`."""
        embedded: Tensor = self.wte(tokens)
        return embedded.mul(self.sizes.width**0.5)

    def read(self, z: Tensor, sight: Sight, memory: Sequence[Memory] | None = None) -> Tensor:
        """Apply the coda, with the same norm before and after, shape `(n, length, width)`."""
        hidden: Tensor = self.ln_f(apply_stack(self.coda, self.ln_f(z), sight, memory))
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply the head, shape `(..., width)` to `(..., vocab_size)`, in at least float32."""
        found = F.linear(hidden, self.wte.weight)
        return found.to(torch.promote_types(found.dtype, torch.float32))


def only_inside(values: Tensor, inside: Tensor) -> Tensor:
    """Return values, shape `(n, length, width)`, with zeros at the padding."""
    return values.masked_fill(~inside[..., None], 0.0)

"""A batch of token sequences of different lengths: what a network sees of a text."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_implicit.errors import DataError
from lit_implicit.layout import select_samples


@dataclass(eq=False)  # not frozen: Lightning moves batches by setting their fields
class TextInput:
    """Token sequences, padded on the right to one length: x.

    A position at or past its sample's length influences nothing.

    Args:
        tokens: Ids of the tokens, shape `(n, length)`, int64; those of the padding may be any.
        lengths: Number of tokens of each sample, shape `(n,)`, int64, from 1 to `length`.
        offset: Added to the scaled embeddings, shape `(n, length, width)`; None means nothing. By
            it derivatives are taken in embeddings, tokens themselves having none.
    """

    tokens: Tensor
    lengths: Tensor
    offset: Tensor | None = None

    def inside(self) -> Tensor:
        """Tell the positions that hold a token from the padding, shape `(n, length)`, boolean."""
        positions = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return positions < self.lengths[:, None]

    def check(self, owner: str, vocab_size: int, context: int) -> None:
        """Refuse texts that a network cannot read. It looks at values: once per solve.

        Args:
            owner: Name of the network, for the message.
            vocab_size: Number of tokens that it knows.
            context: Most positions of a text.

        Raises:
            DataError: If a text is too long, empty, or holds an unknown token.
        """
        n, length = self.tokens.shape
        if not n or not length:
            raise DataError(f"`{owner}` was given no text: tokens of shape {(n, length)}.")
        if length > context:
            raise DataError(
                f"A text of {length} tokens is longer than the context of `{owner}`, {context}. "
                "Shorten it, or train with a larger `context`."
            )
        known = self.tokens.masked_fill(~self.inside(), 0)
        shortest, longest, low, high = torch.stack(
            (self.lengths.min(), self.lengths.max(), known.min(), known.max())
        ).tolist()
        if shortest < 1 or longest > length:
            raise DataError(
                f"Texts must have 1 to {length} tokens, the length of their batch, got lengths "
                f"from {shortest} to {longest}. Leave out empty ones."
            )
        if low < 0 or high >= vocab_size:
            raise DataError(
                f"Tokens must be between 0 and {vocab_size - 1}, the last one that `{owner}` "
                f"knows, got {low if low < 0 else high}. Give `vocab_size` the tokenizer's size."
            )

    def select(self, keep: Tensor) -> "TextInput":
        """Return the samples in `keep` (`(n,)`, boolean)."""
        kept: TextInput = select_samples(self, keep)
        return kept

"""A batch of token sequences of different lengths: what a network sees of a text."""

from dataclasses import dataclass

import torch
from torch import Tensor

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

    def select(self, keep: Tensor) -> "TextInput":
        """Return the samples in `keep` (`(n,)`, boolean)."""
        kept: TextInput = select_samples(self, keep)
        return kept

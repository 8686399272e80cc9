"""How good logits are at the tokens of an answer, and how far texts are from one another."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_implicit_text.encoding import TextBatch


def cross_entropy(y: Tensor, batch: TextBatch) -> Tensor:
    """Return the mean cross-entropy of each sample over its counted tokens, in nats, shape `(n,)`.

    A sample with none, a single token, has zero.

    Args:
        y: Logits, shape `(n, length, vocab_size)`.
        batch: The samples.
    """
    # Of the counted positions alone: half of the others are prompts, which nobody asks about.
    losses = F.cross_entropy(y[batch.counted], batch.target[batch.counted], reduction="none")
    return _mean_of(losses, batch)


def token_accuracy(y: Tensor, batch: TextBatch) -> Tensor:
    """Return the share of each sample's counted tokens that are the likeliest, shape `(n,)`."""
    return _mean_of(_hits(y, batch).to(y.dtype), batch)


def exact_match(y: Tensor, batch: TextBatch) -> Tensor:
    """Return 1 for each sample all of whose counted tokens are the likeliest, else 0: `(n,)`.

    NaN where no answer is known.

    At a fixed t it is whether greedy generation gives this very answer: as long as it agrees with
    the answer it has seen what the logits are taken for, and each position's state is the same.
    """
    known = torch.tensor([s.answer is not None for s in batch.samples], device=y.device)
    return (token_accuracy(y, batch) == 1).to(y.dtype).where(known, torch.nan)


def word_distance(a: str, b: str) -> int:
    """Return the Levenshtein distance of two texts in words, as whitespace separates them.

    The least number of words to insert, delete or replace that make one text of the other.
    """
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(a.split(), b.split())


def _hits(y: Tensor, batch: TextBatch) -> Tensor:
    return y[batch.counted].argmax(-1) == batch.target[batch.counted]


def _mean_of(values: Tensor, batch: TextBatch) -> Tensor:
    """Return the mean of each sample's values, which follow one another, shape `(n,)`."""
    counts = batch.counted.sum(1)
    sample = torch.repeat_interleave(
        torch.arange(len(counts), device=values.device), counts, output_size=len(values)
    )
    return values.new_zeros(len(counts)).index_add(0, sample, values) / counts.clamp(min=1)

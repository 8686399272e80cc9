"""Texts that grow token by token, and the plain way: read anew from the first token each time."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from lit_implicit_text.batch import TextInput
from lit_implicit_text.cost import core_flops
from lit_implicit_text.looped import AbstractLoopedTransformer


class Guess(NamedTuple):
    """What is said of the next token of each text.

    Args:
        logits: Shape `(m, vocab_size)`.
        n_iter: Iterations that it took, shape `(m,)`, int64.
        flops: Operations of the core, shape `(m,)`, float64.
    """

    logits: Tensor
    n_iter: Tensor
    flops: Tensor


class AbstractTexts(ABC):
    """Texts of different lengths that grow by a token at a time."""

    @abstractmethod
    def read(self) -> Guess:
        """Read the prompts, and guess the token after each."""

    @abstractmethod
    def grow(self, tokens: Tensor) -> Guess:
        """Append a token to each text (`(m,)`), and guess the next."""

    @abstractmethod
    def reorder(self, rows: Tensor) -> None:
        """Let row i be what row `rows[i]` was (`(m,)`, as `without_gaps` gives), drop the rest."""


class WholeTexts(AbstractTexts):
    """Texts that are read from the first to the last token each time, by the operator itself.

    Args:
        operator: The operator.
        x: The prompts.
        n_iter: Iterations.
        capacity: Most tokens of a text.
    """

    def __init__(
        self, operator: AbstractLoopedTransformer, x: TextInput, n_iter: int, capacity: int
    ) -> None:
        self.operator, self.n_iter, self.lengths = operator, n_iter, x.lengths
        self.tokens = _padded(x.tokens, capacity)
        self.offset = None if x.offset is None else _padded(x.offset, capacity)

    def read(self) -> Guess:
        operator, lengths = self.operator, self.lengths
        end = int(lengths.max())
        offset = None if self.offset is None else self.offset[:, :end]
        c = operator.encode(TextInput(self.tokens[:, :end], lengths, offset))
        z = operator.init_state(c)
        for _ in range(self.n_iter):
            z = operator(z, c)
        rows = torch.arange(len(lengths), device=lengths.device)
        logits = operator.decode(z, c)[rows, lengths - 1]
        n_iter = torch.full_like(lengths, self.n_iter)
        pairs = lengths * (lengths + 1) // 2
        return Guess(logits, n_iter, core_flops(operator.sizes, n_iter, lengths, pairs))

    def grow(self, tokens: Tensor) -> Guess:
        self.tokens[torch.arange(len(tokens), device=tokens.device), self.lengths] = tokens
        if self.offset is not None:
            self.offset[torch.arange(len(tokens), device=tokens.device), self.lengths] = 0.0
        self.lengths = self.lengths + 1
        return self.read()

    def reorder(self, rows: Tensor) -> None:
        self.tokens, self.lengths = self.tokens[rows], self.lengths[rows]
        self.offset = None if self.offset is None else self.offset[rows]


def _padded(values: Tensor, length: int) -> Tensor:
    """Return a copy of values, shape `(n, k, ...)`, with room for `length` positions."""
    padded = values.new_zeros(len(values), length, *values.shape[2:])
    kept = min(values.shape[1], length)
    padded[:, :kept] = values[:, :kept]
    return padded

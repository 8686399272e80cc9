"""Samples as tokens, and tokens as batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lit_implicit.errors import DataError
from lit_implicit_text.batch import TextInput
from lit_implicit_text.samples import TextSample, check_characters
from lit_implicit_text.vocabulary import AbstractTokenizer


@dataclass(frozen=True)
class Encoded:
    """A sample as tokens.

    Args:
        sample: The sample.
        tokens: Those of the prompt and, where it is known, of the answer with its end.
        n_prompt: Number of the prompt's.
        first: The first token that is learned: the answer's; where none is known, the second.
    """

    sample: TextSample
    tokens: Sequence[int]
    n_prompt: int
    first: int


def encode_sample(sample: TextSample, tokenizer: AbstractTokenizer, context: int) -> Encoded:
    """Return a sample as tokens.

    Raises:
        DataError: If a prompt is empty or fills the context, or there are more tokens than that.
    """
    tokens = _prompt_tokens(sample.prompt, sample.origin, tokenizer, context)
    if sample.contrast is not None:
        _prompt_tokens(sample.contrast, sample.origin, tokenizer, context)
    n_prompt = len(tokens)
    if sample.answer is None:
        return Encoded(sample, tokens, n_prompt, 1)
    tokens = tokens + tokenizer.answer(sample.answer)
    if len(tokens) > context:
        raise DataError(
            f"Prompt and answer of {sample.origin} have {len(tokens)} tokens together, more than "
            f"`data.context` {context}. Shorten them, or raise it, and the model's, too."
        )
    return Encoded(sample, tokens, n_prompt, n_prompt)


def _prompt_tokens(
    prompt: str, origin: str, tokenizer: AbstractTokenizer, context: int
) -> list[int]:
    if not prompt.strip():
        raise DataError(f"The prompt of {origin} is empty. Ask something.")
    check_characters(prompt, f"The prompt of {origin}")
    tokens = tokenizer.prompt(prompt)
    if len(tokens) >= context:  # there must be room for an answer
        raise DataError(
            f"The prompt of {origin} has {len(tokens)} tokens, and `data.context` is {context}: "
            f"{prompt[:40]!r}. Shorten it, or raise the context, and the model's, too."
        )
    return tokens


@dataclass(eq=False)
class TextBatch:
    """Samples as tokens, with what follows each.

    Args:
        x: What a network sees, token by token: all of a sample but its last token.
        target: The token that follows each of `x`, shape `(n, length)`, int64.
        counted: Where that token is to be learned, shape `(n, length)`, boolean: in the answer, or
            all where none is known.
        index: Number of each sample in its split, shape `(n,)`.
        prompt: The prompts alone, with all that stands before an answer.
        samples: The samples as texts.
        tokenizer: What made tokens of them.
        context: Most tokens of a prompt with its answer; None means as many as the model takes.
    """

    x: TextInput
    target: Tensor
    counted: Tensor
    index: Tensor
    prompt: TextInput
    samples: tuple[TextSample, ...]
    tokenizer: AbstractTokenizer
    context: int | None = None

    def to(self, device: Any) -> "TextBatch":
        """Return the batch on a device; Lightning calls it."""
        return replace(
            self,
            x=on_device(self.x, device),
            target=self.target.to(device),
            counted=self.counted.to(device),
            index=self.index.to(device),
            prompt=on_device(self.prompt, device),
        )

    def select(self, keep: Tensor) -> "TextBatch":
        """Return the samples in `keep` (`(n,)`, boolean)."""
        return replace(
            self,
            x=self.x.select(keep),
            target=self.target[keep],
            counted=self.counted[keep],
            index=self.index[keep],
            prompt=self.prompt.select(keep),
            samples=tuple(s for s, kept in zip(self.samples, keep.tolist(), strict=True) if kept),
        )


def make_batch(
    samples: Sequence[Encoded],
    index: Sequence[int],
    tokenizer: AbstractTokenizer,
    context: int | None = None,
) -> TextBatch:
    """Return samples as a batch.

    Args:
        samples: The samples, at least one.
        index: Their numbers.
        tokenizer: What encoded them.
        context: Most tokens of a prompt with its answer; None means as many as the model takes.
    """
    x = as_input([sample.tokens[: max(1, len(sample.tokens) - 1)] for sample in samples])
    following = as_input([sample.tokens[1:] or [0] for sample in samples])
    positions = torch.arange(x.tokens.shape[1])
    first = torch.tensor([sample.first - 1 for sample in samples])
    last = torch.tensor([len(sample.tokens) - 1 for sample in samples])
    return TextBatch(
        x=x,
        target=following.tokens,
        counted=(positions >= first[:, None]) & (positions < last[:, None]),
        index=torch.tensor(index),
        prompt=as_input([sample.tokens[: sample.n_prompt] for sample in samples]),
        samples=tuple(sample.sample for sample in samples),
        tokenizer=tokenizer,
        context=context,
    )


def as_input(sequences: Sequence[Sequence[int]]) -> TextInput:
    """Return sequences of tokens as an input, padded with zeros."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    tokens = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.int64)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    return TextInput(tokens, lengths)


def on_device(x: TextInput, device: Any) -> TextInput:
    """Return an input on a device."""
    offset = None if x.offset is None else x.offset.to(device)
    return TextInput(x.tokens.to(device), x.lengths.to(device), offset)

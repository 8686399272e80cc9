"""Greedy answers of looped transformers, in batches of prompts of different lengths."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_implicit.errors import DataError
from lit_implicit.layout import widest_dtype
from lit_implicit_text.batch import TextInput
from lit_implicit_text.growing import AbstractTexts, WholeTexts
from lit_implicit_text.key_values import without_gaps
from lit_implicit_text.looped import AbstractLoopedTransformer
from lit_implicit_text.remembered import RememberedTexts


@dataclass(frozen=True, eq=False)
class Generated:
    """Answers, and what they cost.

    Args:
        tokens: The answers without the prompts, shape `(n, m)`, int64; 0 past their lengths.
        lengths: Tokens of each answer, without the one that stopped it, shape `(n,)`, int64.
        n_iter: Mean iterations per token, the one that stopped it among them, shape `(n,)`. The
            prompt is read with the first token.
        flops: Operations of the core's products for the whole answer, shape `(n,)`, in the widest
            dtype of the device.
    """

    tokens: Tensor
    lengths: Tensor
    n_iter: Tensor
    flops: Tensor


@torch.no_grad()
def generate(
    operator: AbstractLoopedTransformer,
    x: TextInput,
    n_iter: int,
    max_new_tokens: int,
    stop_tokens: Sequence[int],
    rtol: float | None = None,
    cache: bool = True,
    context: int | None = None,
) -> Generated:
    """Answer prompts by the likeliest token, one after the other.

    An answer ends at a stop token, at `max_new_tokens`, or where prompt and answer fill the
    context; its sample then leaves the batch. It depends neither on the batch's size nor on its
    order, and with a fixed number of iterations not on `cache`, but for rounding.

    With `rtol`, a sample leaves the loop, for the token in question, once its relative residual is
    at most that, and no further step counts in what it cost. On a GPU a few more are computed, as
    the loop does not look after each step. Its later steps' keys and values are then
    those of its last step.

    Args:
        operator: The looped transformer.
        x: The prompts.
        n_iter: Iterations per token, at least 1; the most with `rtol`.
        max_new_tokens: Most tokens of an answer, at least 1.
        stop_tokens: Tokens that end an answer.
        rtol: Relative residual |z_t - z_(t-1)| / |z_t| of a sample's present positions at which it
            leaves the loop; None means never.
        cache: Whether to keep keys and values: of each token and block, and in the core of each
            step, `2 * n_iter * core * width` numbers a token.
        context: Most tokens of a prompt with its answer; None means the operator's context, which
            it does not exceed either way.

    Raises:
        DataError: If a prompt is empty, fills the context, or holds an unknown token.
        ValueError: If a number is out of range, or `rtol` is given without `cache`.
    """
    context = min(operator.sizes.context, context or operator.sizes.context)
    _check(context, x, n_iter, max_new_tokens, rtol, cache)
    room = context - x.lengths
    limit = room.clamp(max=max_new_tokens)
    longest = int((x.lengths + limit).max())
    texts: AbstractTexts
    if cache:
        texts = RememberedTexts(operator, x, n_iter, longest, rtol)
    else:
        texts = WholeTexts(operator, x, n_iter, longest)
    return _grow(texts, limit, stop_tokens)


def _grow(texts: AbstractTexts, limit: Tensor, stop_tokens: Sequence[int]) -> Generated:
    """Grow texts until all are at their end.

    Args:
        texts: The texts.
        limit: Most tokens that each may grow by, shape `(n,)`.
        stop_tokens: Tokens that end an answer.
    """
    n, most = len(limit), int(limit.max())
    stop = torch.tensor(list(stop_tokens), dtype=torch.int64, device=limit.device)
    tokens = limit.new_zeros(n, most)
    lengths = torch.zeros_like(limit)
    total, flops = limit.new_zeros((2, n), dtype=widest_dtype(limit.device))
    guesses = torch.zeros_like(limit)
    sample = torch.arange(n, device=limit.device)  # of each text that still grows
    guess = texts.read()
    for count in range(1, most + 1):
        token = guess.logits.argmax(-1)
        total[sample] += guess.n_iter
        flops[sample] += guess.flops
        guesses[sample] += 1
        goes_on = ~torch.isin(token, stop)
        tokens[sample[goes_on], count - 1] = token[goes_on]
        lengths[sample] += goes_on
        rows = without_gaps(goes_on & (count < limit[sample]))
        if not len(rows):
            break
        if len(rows) < len(sample):
            texts.reorder(rows)
            sample, token = sample[rows], token[rows]
        guess = texts.grow(token)
    return Generated(tokens[:, : int(lengths.max())], lengths, total / guesses, flops)


def _check(
    context: int,
    x: TextInput,
    n_iter: int,
    max_new_tokens: int,
    rtol: float | None,
    cache: bool,
) -> None:
    for name, value in (("n_iter", n_iter), ("max_new_tokens", max_new_tokens)):
        if value < 1:
            raise ValueError(f"`generate`: `{name}` must be at least 1, got {value}.")
    if rtol is not None and not rtol >= 0:
        raise ValueError(f"`generate`: `rtol` must be at least 0, or None, got {rtol}.")
    if rtol is not None and not cache:
        raise ValueError(
            "`generate`: `rtol` needs `cache=True`, as samples leave the loop for one token at a "
            "time. Leave out `rtol`, or keep the cache."
        )
    if not len(x.lengths):
        raise DataError("`generate` was given no prompt. Give it at least one.")
    shortest, longest = x.lengths.min().item(), x.lengths.max().item()
    if shortest < 1:
        raise DataError("A prompt is empty: give each at least one token.")
    if longest >= context:
        raise DataError(
            f"A prompt of {longest} tokens leaves no room for an answer in the context of "
            f"{context}. Shorten it, or train with a larger `context`."
        )

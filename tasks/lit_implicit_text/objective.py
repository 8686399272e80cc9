"""What is asked of a language model: the tokens of an answer, and different answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection

from lit_implicit.objective import AbstractObjective, Mode, Perturbed, RolloutScore
from lit_implicit.solvers import AbstractSolver, Picard
from lit_implicit_text.answers import (
    answer_rows,
    exactly_right,
    generate_answers,
    levenshtein_ratio,
)
from lit_implicit_text.batch import TextInput
from lit_implicit_text.measures import cross_entropy, exact_match, token_accuracy
from lit_implicit_text.output import read_answers, write_answers

if TYPE_CHECKING:
    from lit_implicit.equilibrium import Equilibrium
    from lit_implicit.solvers import Solution


class TextObjective(AbstractObjective):
    """Predict the tokens of answers.

    Loss and error are the mean cross-entropy over the tokens of an answer (of plain text, over
    all), in nats per token. Derivatives and perturbations act on the scaled embeddings.

    Args:
        width: Numbers per position of the embeddings, the model's `width`; None means that nothing
            is perturbed, and no Lipschitz curve drawn.
        step: Size of a perturbation of a sample's embeddings, the 2-norm over all its tokens. A
            token's embedding has a size near 0.6 sqrt(width) before training.
        max_new_tokens: Most tokens of a generated answer; all of the built-in corpus fit, as bytes,
            too.

    Raises:
        ValueError: If a number is out of range.

    References:
        arXiv:2510.03638, looped language models.
    """

    def __init__(
        self, width: int | None = None, step: float = 0.01, max_new_tokens: int = 80
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("max_new_tokens", max_new_tokens)):
            if value is not None and value < 1:
                raise ValueError(f"`TextObjective.{name}` must be at least 1, got {value}.")
        if not step > 0:
            raise ValueError(f"`TextObjective.step` must be positive, got {step}.")
        self.width, self.step, self.max_new_tokens = width, step, max_new_tokens
        self._told = False

    def inputs(self, batch: Any) -> TextInput:
        """Return prompt and answer up to its last token; a position sees those before it alone."""
        x: TextInput = batch.x
        return x

    def n_samples(self, batch: Any) -> int:
        """Return the number of samples."""
        return len(batch.index)

    def select(self, batch: Any, keep: Tensor) -> Any:
        """Return the samples in `keep`."""
        return batch.select(keep)

    def target(self, batch: Any) -> Tensor:
        """Return the token after each position, shape `(n, length)`, int64."""
        target: Tensor = batch.target
        return target

    def loss(self, y: Any, batch: Any) -> Tensor:
        """Return the mean cross-entropy of each sample's answer (nats per token)."""
        return cross_entropy(y, batch)

    def error(self, y: Any, batch: Any) -> Tensor:
        """Return the same as `loss`."""
        return cross_entropy(y, batch)

    @property
    def scores(self) -> Mapping[str, Callable[[Any, Any], Tensor]]:
        """Whether tokens, and whole answers, are those that greedy generation would give."""
        return {"token_accuracy": token_accuracy, "exact_match": exact_match}

    def metrics(self) -> MetricCollection:
        """Return the means of the scores over samples."""
        return MetricCollection(
            {"token_accuracy": TextMean(token_accuracy), "exact_match": TextMean(exact_match)}
        )

    def distance(self, y: Any, y2: Any, batch: Any) -> Tensor:
        """Return the 2-norm of the difference of two answers' logits at the counted tokens.

        Tokens themselves, as `target` gives them, are compared as vectors of zeros and a one.
        """
        if not y.is_floating_point():
            differing: Tensor = ((y != y2) & batch.counted).sum(1)
            return (2.0 * differing).sqrt()
        difference = (y - y2).masked_fill(~batch.counted[..., None], 0.0)
        norm: Tensor = torch.linalg.vector_norm(difference, dim=(1, 2))
        return norm

    @property
    def modes(self) -> Mapping[str, Mode]:
        """A drawn direction of the embeddings, where their width is known."""
        return {} if self.width is None else {"embedding": Mode(aggregate="max")}

    def perturb(self, batch: Any, mode: str, generator: torch.Generator | None = None) -> Perturbed:
        """Move the embeddings of a sample's tokens in a drawn direction; the answer stays.

        Raises:
            KeyError: If the mode is not one of `modes`.
        """
        if mode not in self.modes:
            raise KeyError(
                f"{type(self).__name__} has no mode {mode!r}; known: {list(self.modes)}."
            )
        (offset,) = self.leaves(batch.x)
        seed = int(torch.randint(2**62, (), generator=generator))
        drawn = torch.zeros_like(offset)
        numbered = zip(drawn, batch.index.tolist(), batch.x.lengths.tolist(), strict=True)
        for row, index, length in numbered:  # sample by sample: whatever its batch mates are
            noise = np.random.default_rng((seed, index)).standard_normal((length, row.shape[1]))
            row[:length] = torch.from_numpy(noise).to(offset)
        moved = drawn * (self.step / torch.linalg.vector_norm(drawn, dim=(1, 2), keepdim=True))
        size = torch.linalg.vector_norm(moved, dim=(1, 2))
        x = replace(batch.x, offset=offset + moved)
        return Perturbed(replace(batch, x=x), size, torch.ones_like(size, dtype=torch.bool))

    def leaves(self, x: Any) -> tuple[Tensor, ...]:
        """Return what is added to the embeddings, shape `(n, length, width)`: zero, if nothing is.

        Raises:
            TypeError: If it is nothing and the width is not known.
        """
        if x.offset is not None:
            return (x.offset,)
        if self.width is None:
            raise TypeError(
                "Tokens have no derivatives, and the width of their embeddings is not known: set "
                "`model.objective.width` to the model's."
            )
        return (torch.zeros(*x.tokens.shape, self.width, device=x.tokens.device),)

    def with_leaves(self, x: Any, leaves: Sequence[Tensor]) -> Any:
        """Return the input with something else added to its embeddings."""
        (offset,) = leaves
        return replace(x, offset=offset)

    def rollout(self, equilibrium: "Equilibrium", batch: Any, n_iter: int | None = None) -> Any:
        """Generate the answers to the prompts and their contrasts, greedily: `TextAnswers`.

        Each token is found by plain iteration: of the solver budget and relative tolerance count.
        """
        solver = equilibrium.solver
        if n_iter is None and not self._told and solver != Picard(**_limits(solver)):
            self._told = True
            rank_zero_info(f"Text is generated by plain iteration, within the limits of {solver}.")
        return generate_answers(equilibrium, batch, n_iter, self.max_new_tokens)

    @property
    def rollout_scores(self) -> Mapping[str, RolloutScore]:
        """Whether an answer is the known one, and how far apart those to two prompts are."""
        return {
            "exact_match": RolloutScore(exactly_right),
            "levenshtein_ratio": RolloutScore(levenshtein_ratio, geometric=True),
        }

    def rollout_rows(self, answers: Mapping[int, Any], batch: Any) -> Sequence[Mapping[str, Any]]:
        """Return the answers to two prompts and their contrasts, a row for each t."""
        return answer_rows(answers, batch)

    def write(self, y: Any, solution: "Solution | None", batch: Any, folder: Path) -> None:
        """Write prompts and answers, a line of JSON each."""
        write_answers(y, solution, batch, folder)

    def summary(self, folder: Path) -> Sequence[Mapping[str, Any]]:
        """Return a row for each answer; of many, one row about all of them."""
        return read_answers(folder)


def _limits(solver: AbstractSolver) -> dict[str, Any]:
    return {"rtol": solver.rtol, "max_iter": solver.max_iter}


class TextMean(MeanMetric):
    """The mean of a measure over samples, NaN left out.

    Args:
        measure: A function of the logits and the batch, with a value per sample.
    """

    def __init__(self, measure: Callable[[Any, Any], Tensor]) -> None:
        super().__init__(nan_strategy="ignore")
        self.measure = measure

    def update(self, preds: Tensor, batch: Any) -> None:  # type: ignore[override]
        """Measure the answers to a batch."""
        super().update(self.measure(preds, batch))

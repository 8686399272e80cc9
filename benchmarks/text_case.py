"""A trained looped transformer, questions in batches, and what its answers to them are worth."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from lit_implicit import Equilibrium, load
from lit_implicit.checkpoint_io import read_checkpoint
from lit_implicit.errors import DataError
from lit_implicit.loading import CONFIG_KEY
from lit_implicit.probes import iterates
from lit_implicit_text.answers import TextAnswer, TextAnswers, exactly_right
from lit_implicit_text.corpus import ways
from lit_implicit_text.data import TextDataModule
from lit_implicit_text.encoding import TextBatch
from lit_implicit_text.find_tokenizer import tokenizer_in
from lit_implicit_text.generation import Generated, generate
from lit_implicit_text.looped import AbstractLoopedTransformer
from lit_implicit_text.measures import exact_match


@dataclass(frozen=True)
class Setting:
    """How long each token is iterated.

    Args:
        n_iter: Iterations; the most with `rtol`.
        rtol: Relative residual at which a text leaves the loop of a token; None means never.
    """

    n_iter: int
    rtol: float | None = None

    def __str__(self) -> str:
        return f"t = {self.n_iter}" if self.rtol is None else f"rtol {self.rtol:g}"


@dataclass(eq=False)
class Case:
    """A model and the questions of a split.

    Args:
        operator: The looped transformer.
        batches: The questions; each has a known answer.
        numbers: Number of each question in its split, batch by batch.
        max_new_tokens: Most tokens of an answer.
        is_corpus: Whether the questions are those of the built-in corpus.
        split: Name of the split.
    """

    operator: AbstractLoopedTransformer
    batches: Sequence[TextBatch]
    numbers: Sequence[int]
    max_new_tokens: int
    is_corpus: bool
    split: str

    def answer(self, batch: TextBatch, setting: Setting) -> Generated:
        """Answer the questions of a batch, greedily."""
        return generate(
            self.operator, batch.prompt, setting.n_iter, self.max_new_tokens,
            batch.tokenizer.stop_tokens, rtol=setting.rtol, context=batch.context,
        )  # fmt: skip

    @torch.no_grad()
    def exact_by_t(self, most: int) -> list[float]:
        """Return the exact match of greedy answers at t = 1, 2, ..., `most`, all in one pass.

        At a fixed t it is known from the likeliest tokens along the known answer.
        """
        total, equilibrium = torch.zeros(most, dtype=torch.float64), Equilibrium(self.operator)
        for batch in self.batches:
            for t, at in enumerate(iterates(equilibrium, batch.x, most)):
                if t:
                    total[t - 1] += exact_match(at.y, batch).sum()
        return (total / len(self.numbers)).tolist()

    def exact_and_flops(self, setting: Setting) -> tuple[float, float]:
        """Return the exact match of greedy answers, and the core's operations for all of them."""
        made = [self.answer(batch, setting) for batch in self.batches]
        right = [is_right(own, batch) for own, batch in zip(made, self.batches, strict=True)]
        return float(torch.cat(right).mean()), sum(float(own.flops.sum()) for own in made)

    def links(self) -> list[int | None]:
        """Return the links of the chain of each question; None where none of the cast is named."""
        all_ways = ways(self.split)
        return [all_ways[number % len(all_ways)][1] for number in self.numbers]


def read_cases(checkpoint: Path, batch_size: int, most: int | None) -> dict[str, Case]:
    """Return the questions of validation and of test from the texts of a checkpoint's run.

    They are `most` of a split, however many the run took, and those of the test split also where
    the run was tested on pairs, which have no known answers.

    Args:
        checkpoint: Of a looped transformer.
        batch_size: Questions in a batch.
        most: Most questions of a split; None means all.

    Raises:
        CheckpointError: If it cannot be read, or is none of text.
        DataError: If its model does not iterate.
    """
    tokenizer_in(checkpoint)  # refuses those of other tasks
    content, module = read_checkpoint(checkpoint), load(checkpoint)
    operator = getattr(module, "operator", None)
    if not isinstance(operator, AbstractLoopedTransformer):
        raise DataError(
            f"The model in {str(checkpoint)!r} does not iterate. Give one of a looped transformer."
        )
    settings = yaml.safe_load(content[CONFIG_KEY])["data"]
    settings = settings.get("init_args", settings)
    chosen = {name: settings[name] for name in ("root", "context", "seed") if name in settings}
    data = TextDataModule(**chosen, n_val=most, n_test=most, eval_batch_size=batch_size)
    data.load_state_dict(content["TextDataModule"])
    cases = {}
    for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        cases[split] = Case(
            operator, list(loader), loader.dataset.numbers,
            module.objective.max_new_tokens, data.root is None, split,
        )  # fmt: skip
    return cases


def is_right(made: Generated, batch: TextBatch) -> Tensor:
    """Return 1 for each answer that is the known one, word by word, else 0."""
    rows = zip(made.tokens.tolist(), made.lengths.tolist(), strict=True)
    own = tuple(TextAnswer(batch.tokenizer.decode(row[:n]), 0.0, 0.0) for row, n in rows)
    return exactly_right(TextAnswers(own, (None,) * len(own)), batch)


def answers_in_turns(
    case: Case, settings: Sequence[Setting]
) -> Iterator[tuple[Setting, dict[str, Any]]]:
    """Answer each batch with all settings in turn; yield answers and seconds of each."""
    for number, batch in enumerate(case.batches):
        for setting in settings:
            if not number:
                case.answer(batch, setting)  # a warm-up
            wall, process = time.perf_counter(), time.process_time()
            made = case.answer(batch, setting)
            taken = {"wall_s": time.perf_counter() - wall,
                     "process_s": time.process_time() - process}  # fmt: skip
            per_answer = {name: value / len(batch.samples) for name, value in taken.items()}
            yield setting, {**per_answer, "right": is_right(made, batch), "made": made}

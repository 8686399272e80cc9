"""Answers as files: a line of JSON each."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lit_implicit.files import replace_whole
from lit_implicit_text.answers import TextAnswers, exactly_right
from lit_implicit_text.encoding import TextBatch

if TYPE_CHECKING:
    from lit_implicit.solvers import Solution

_MOST_ROWS = 40  # of the table that ends `predict`


def write_answers(
    y: TextAnswers | Tensor, solution: "Solution | None", batch: TextBatch, folder: Path
) -> None:
    """Write the answers to a batch to `answers_NUMBER.jsonl`.

    Args:
        y: Generated answers; or logits, of a network that does not generate: then the likeliest
            token at each place of the known text is the answer.
        solution: What the solver says of logits; None where there is nothing to say.
        batch: The prompts.
        folder: Where the file goes; made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = _generated(y, batch) if isinstance(y, TextAnswers) else _likeliest(y, solution, batch)
    with replace_whole(folder / f"answers_{int(batch.index[0]):06d}.jsonl") as file:
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def read_answers(folder: Path) -> Sequence[Mapping[str, Any]]:
    """Return the rows of all files below a folder, in order; of many, one row about all of them."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("answers_*.jsonl"), key=lambda path: path.name):
        rows += [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    if len(rows) <= _MOST_ROWS:
        return rows
    summary: dict[str, Any] = {"prompts": len(rows)}
    for name in ("iterations", "core_flops", "relative_residual", "exact_match"):
        known = [float(row[name]) for row in rows if row.get(name) is not None]
        if known:
            summary[f"{name}, mean"] = sum(known) / len(known)
    return [summary]


def _generated(y: TextAnswers, batch: TextBatch) -> list[dict[str, Any]]:
    rows = []
    right = exactly_right(y, batch).tolist()
    answered = zip(batch.samples, y.own, y.contrast, right, strict=True)
    for sample, own, other, match in answered:
        row: dict[str, Any] = {
            "prompt": sample.prompt,
            "answer": own.text,
            "iterations": round(own.n_iter, 3),
            "core_flops": own.flops,
        }
        if sample.answer is not None:
            row |= {"expected": sample.answer, "exact_match": bool(match)}
        elif other is not None:  # a pair of a file: both are asked
            row |= {
                "contrast": sample.contrast,
                "contrast_answer": other.text,
                "contrast_iterations": round(other.n_iter, 3),
            }
        rows.append(row)
    return rows


def _likeliest(y: Tensor, solution: "Solution | None", batch: TextBatch) -> list[dict[str, Any]]:
    rows = []
    for i, sample in enumerate(batch.samples):
        tokens = y[i].argmax(-1)[batch.counted[i]].tolist()
        row: dict[str, Any] = {
            "prompt": sample.prompt,
            "likeliest": batch.tokenizer.decode(tokens),
            "expected": sample.answer,
        }
        if solution is not None:
            row["iterations"] = int(solution.n_iter[i])
            row["relative_residual"] = float(solution.relative_residual[i])
        rows.append(row)
    return rows

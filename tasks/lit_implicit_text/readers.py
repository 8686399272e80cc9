"""Files of texts, questions and pairs of prompts; what is wrong with one is told in one line."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from lit_implicit.errors import DataError
from lit_implicit_text.samples import TextSample, check_characters

PAIR_COLUMNS = ("input 1", "input 2")
_KNOWN_COLUMNS = {"index", *PAIR_COLUMNS}


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        DataError: If it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise DataError(
            f"{str(path)!r} is not UTF-8: byte 0x{err.object[err.start]:02x} at position "
            f"{err.start}. Save it as UTF-8."
        ) from err
    except OSError as err:
        raise DataError(f"{str(path)!r} cannot be read: {err.strerror}.") from err


def read_questions(path: Path) -> list[TextSample]:
    """Return the samples of a JSONL file: `{"prompt": ..., "answer": ...}` in each line.

    Empty lines are passed over.

    Raises:
        DataError: If a line is no such object, or a prompt or answer is empty.
    """
    found = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        origin = f"line {number} of {str(path)!r}"
        try:
            content = json.loads(line)
        except json.JSONDecodeError as err:
            raise DataError(
                f"{_start(origin)} is no JSON: {err.msg} at column {err.colno}. Write one object "
                'a line, as {"prompt": "...", "answer": "..."}.'
            ) from err
        except RecursionError as err:
            raise DataError(f"{_start(origin)} is nested too deeply to be a question.") from err
        found.append(_question(content, origin))
    if not found:
        raise DataError(f"{str(path)!r} holds no line with a prompt and its answer.")
    return found


def _question(content: Any, origin: str) -> TextSample:
    names = {"prompt", "answer"}
    if not isinstance(content, dict) or set(content) != names:
        given = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f"{_start(origin)} must be an object with the keys prompt and answer, got {given}."
        )
    for name in sorted(names):
        if not isinstance(content[name], str):
            raise DataError(
                f"{_start(origin)}: {name} must be a text, got {type(content[name]).__name__}."
            )
        if not content[name].strip():
            raise DataError(f"{_start(origin)} has an empty {name}.")
        check_characters(content[name], f"{_start(origin)}: {name}")
    return TextSample(content["prompt"], content["answer"], origin=origin)


def read_pairs(path: Path) -> list[TextSample]:
    """Return a sample for each pair of prompts in a CSV file, the second being the contrast.

    Raises:
        DataError: If a column is missing or unknown, or a prompt is empty.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as err:
        raise DataError(f"Line {reader.line_num} of {str(path)!r} is no CSV: {err}.") from err
    header = rows[0][1] if rows else []
    unknown = [name for name in header if name not in _KNOWN_COLUMNS]
    missing = [name for name in PAIR_COLUMNS if name not in header]
    if unknown or missing:
        what = f"an unknown column {unknown[0]!r}" if unknown else f"no column {missing[0]!r}"
        raise DataError(
            f"{str(path)!r} has {what}. Its columns must be 'input 1' and 'input 2', the prompts "
            f"of a pair, and may have 'index' beside them; it has {header}."
        )
    if len(set(header)) < len(header):
        raise DataError(f"{str(path)!r} has a column twice: {header}. Name each once.")
    found = []
    for line, row in rows[1:]:
        if not row:
            continue
        origin = f"line {line} of {str(path)!r}"
        if len(row) != len(header):
            raise DataError(
                f"{_start(origin)} has {len(row)} entries for {len(header)} columns. Put prompts "
                "with commas into quotes."
            )
        prompts = [row[header.index(name)] for name in PAIR_COLUMNS]
        for name, prompt in zip(PAIR_COLUMNS, prompts, strict=True):
            if not prompt.strip():
                raise DataError(f"{_start(origin)} has an empty prompt in column {name!r}.")
        found.append(TextSample(prompts[0], contrast=prompts[1], origin=origin))
    if not found:
        raise DataError(f"{str(path)!r} holds no pair of prompts.")
    return found


def _start(origin: str) -> str:
    return origin[0].upper() + origin[1:]

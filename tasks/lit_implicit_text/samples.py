"""A sample of text before it is tokens: a prompt, the answer if it is known, and a contrast."""

from typing import NamedTuple

from lit_implicit.errors import DataError


class TextSample(NamedTuple):
    """A prompt and what is known of it.

    Args:
        prompt: What is asked.
        answer: What should come; None where nobody knows.
        contrast: A prompt that differs in few words but means something else; None without one.
        origin: Where the sample is from, for messages: `line 7 of 'questions.jsonl'`.
    """

    prompt: str
    answer: str | None = None
    contrast: str | None = None
    origin: str = "the corpus"


def check_characters(text: str, what: str) -> None:
    """Refuse a text with half of a surrogate pair, which has no bytes: no tokenizer takes it.

    Args:
        text: The text.
        what: Whose it is, to begin a message with.

    Raises:
        DataError: If there is one.
    """
    halves = [c for c in text if "\ud800" <= c <= "\udfff"]
    if halves:
        raise DataError(
            f"{what} holds half of a surrogate pair, {halves[0]!a} alone: no character. Write "
            "the character itself, in UTF-8, or both halves."
        )

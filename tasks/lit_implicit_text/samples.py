"""A sample of text before it is tokens: a prompt, the answer if it is known, and a contrast."""

from typing import NamedTuple


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

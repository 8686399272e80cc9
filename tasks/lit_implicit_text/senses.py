"""Words of several senses, each with its domain and one sentence about it.

Both the word and the domain are needed for an answer: no domain has two senses of a word, no two
senses share a sentence. Words and sentences are this project's own.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Domain:
    """Where a word is used.

    Args:
        name: Name of the domain, as `physics`.
        person: Somebody who works there, as `a physicist`.
        place: Where they do, as `in a physics laboratory`.
    """

    name: str
    person: str
    place: str


@dataclass(frozen=True)
class Sense:
    """What a word means in a domain.

    Args:
        word: The word.
        domain: The domain.
        explanation: The sentence that says what it means there.
        others: The domains of the word's other senses.
    """

    word: str
    domain: Domain
    explanation: str
    others: tuple[Domain, ...]


@cache
def domains() -> dict[str, Domain]:
    """Return all domains by their names."""
    return {name: Domain(name, *parts) for name, parts in _content()["domains"].items()}


@cache
def senses() -> tuple[Sense, ...]:
    """Return all senses of all words, those of a word one after the other."""
    found = []
    for word, meanings in _content()["words"].items():
        names = list(meanings)
        for i, (name, explanation) in enumerate(meanings.items()):
            others = tuple(domains()[other] for other in names[i + 1 :] + names[:i])
            found.append(Sense(word, domains()[name], explanation, others))
    return tuple(found)


@cache
def _content() -> Any:
    return json.loads(files("lit_implicit_text").joinpath("senses.json").read_text("utf-8"))

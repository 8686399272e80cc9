"""The built-in corpus: words of several senses, each with its domain and one sentence about it.

Both the word and the domain are needed for an answer: no domain has two senses of a word, no two
senses share a sentence. Words and sentences are this project's own.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from lit_implicit_text.phrasings import DIRECT, NAMES, STORIES
from lit_implicit_text.samples import TextSample

_STREAMS = {"train": 0, "val": 1, "test": 2}


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
        others: The domains of the word's other senses, beginning with the next.
    """

    word: str
    domain: Domain
    explanation: str
    others: tuple[Domain, ...]


@cache
def senses() -> tuple[Sense, ...]:
    """Return all senses of all words, those of a word one after the other."""
    content = json.loads(files("lit_implicit_text").joinpath("senses.json").read_text("utf-8"))
    domains = {name: Domain(name, *parts) for name, parts in content["domains"].items()}
    found = []
    for word, meanings in content["words"].items():
        names = list(meanings)
        for i, (name, explanation) in enumerate(meanings.items()):
            others = tuple(domains[other] for other in names[i + 1 :] + names[:i])
            found.append(Sense(word, domains[name], explanation, others))
    return tuple(found)


def corpus_length(split: str) -> int:
    """Return the number of samples in an epoch: each sense in each phrasing of the split."""
    return len(senses()) * (len(DIRECT[split]) + len(STORIES[split]))


def corpus_sample(split: str, index: int, seed: int, epoch: int = 0) -> TextSample:
    """Return a sample of the corpus, with the same question about another sense as contrast.

    Which phrasing asks for which sense is a function of the index; names and order in stories, and
    the other person, are drawn by (seed, split, epoch, index).

    Args:
        split: `train`, `val` or `test`.
        index: Number of the sample, below `corpus_length(split)`.
        seed: Seed of what is drawn.
        epoch: The epoch of training.
    """
    phrasings = DIRECT[split] + STORIES[split]
    number, which = divmod(index, len(phrasings))
    sense, phrasing = senses()[number], phrasings[which]
    stream = np.random.default_rng((seed, _STREAMS[split], epoch, index))
    other = (
        sense.others[0] if split != "train" else sense.others[stream.integers(len(sense.others))]
    )
    if which < len(DIRECT[split]):
        prompt, contrast = (_ask(phrasing, sense.word, domain) for domain in (sense.domain, other))
        return TextSample(prompt, sense.explanation, contrast)
    a, b = (NAMES[i] for i in stream.choice(len(NAMES), 2, replace=False))
    first, second = sense.domain, other
    if stream.integers(2):  # the one who is asked for is introduced second
        a, b, first, second = b, a, second, first
        phrasing = _ask_second(phrasing)
    prompt = _tell(phrasing, sense.word, a, b, first, second)
    contrast = _tell(_ask_second(phrasing), sense.word, a, b, first, second)
    return TextSample(prompt, sense.explanation, contrast)


def _ask(phrasing: str, word: str, domain: Domain) -> str:
    return phrasing.format(
        word=word,
        domain=domain.name,
        person=domain.person,
        Person=_capital(domain.person),
        place=domain.place,
        Place=_capital(domain.place),
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _tell(phrasing: str, word: str, a: str, b: str, first: Domain, second: Domain) -> str:
    return phrasing.format(word=word, A=a, B=b, person=first.person, other=second.person)


def _ask_second(phrasing: str) -> str:
    """Ask for the other one of the two people, who are introduced as before."""
    head, mark, question = phrasing.partition("{other}")
    swapped = question.replace("{A}", "{@}").replace("{B}", "{A}").replace("{@}", "{B}")
    return head + mark + swapped

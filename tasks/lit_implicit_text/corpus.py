"""The built-in corpus: words of several senses, each with its domain and one sentence about it.

Both the word and the domain are needed for an answer: no domain has two senses of a word, no two
senses share a sentence. Words and sentences are this project's own.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np

from lit_implicit_text.phrasings import DIRECT, LINK, LINKS, NAMES, PERSONAL, TRADE
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
        others: The domains of the word's other senses.
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
    """Return the number of samples in an epoch: each sense in each way of asking of the split."""
    return len(senses()) * len(ways(split))


@cache
def ways(split: str) -> tuple[tuple[str, int | None], ...]:
    """Return all ways of asking: a phrasing, and the links of the story before it, if any."""
    alone = tuple((phrasing, None) for phrasing in DIRECT[split] + PERSONAL[split])
    return alone + tuple((phrasing, n) for n in LINKS for phrasing in PERSONAL[split])


def corpus_sample(split: str, index: int, seed: int, epoch: int = 0) -> TextSample:
    """Return a sample of the corpus, with the same question about another sense as contrast.

    Which way of asking for which sense is a function of the index; the sense to contrast it with,
    and the names and the order of a story, are drawn by (seed, split, epoch, index).

    Args:
        split: `train`, `val` or `test`.
        index: Number of the sample, below `corpus_length(split)`.
        seed: Seed of what is drawn.
        epoch: The epoch of training.
    """
    number, way = divmod(index, len(ways(split)))
    sense, (phrasing, n_links) = senses()[number], ways(split)[way]
    stream = np.random.default_rng((seed, _STREAMS[split], epoch, index))
    other = sense.others[stream.integers(len(sense.others))]
    if n_links is None:
        asked = [{"person": domain.person, **_setting(domain)} for domain in (sense.domain, other)]
        prompt, contrast = (_ask(phrasing, sense.word, **words) for words in asked)
        return TextSample(prompt, sense.explanation, contrast)
    story, people = _tell(stream, (sense.domain, other), n_links)
    prompt, contrast = (f"{story} {_ask(phrasing, sense.word, person=name)}" for name in people)
    return TextSample(prompt, sense.explanation, contrast)


def _tell(
    stream: np.random.Generator, domains: tuple[Domain, Domain], n_links: int
) -> tuple[str, list[str]]:
    """Tell of two chains of people; return the story and the last person of each."""
    drawn = stream.choice(len(NAMES), (2, n_links + 1), replace=False)
    chains = [[NAMES[i] for i in chain] for chain in drawn]
    told = []
    for chain, domain in zip(chains, domains, strict=True):
        told.append(TRADE.format(name=chain[0], person=domain.person))
        told += [LINK.format(name=b, other=a) for a, b in pairwise(chain)]
    story = " ".join(told[i] for i in stream.permutation(len(told)))
    return story, [chain[-1] for chain in chains]


def _setting(domain: Domain) -> dict[str, str]:
    return {"domain": domain.name, "place": domain.place, "Place": _capital(domain.place)}


def _ask(phrasing: str, word: str, person: str, **words: str) -> str:
    return phrasing.format(word=word, person=person, Person=_capital(person), **words)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

"""The built-in corpus: each sense in each way of asking, as samples."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from lit_implicit_text.cast import name_before, person_of
from lit_implicit_text.phrasings import ABOUT, DIRECT, FACT, LENGTHS, LINKS, PERSONAL
from lit_implicit_text.samples import TextSample
from lit_implicit_text.senses import Domain, senses

_STREAMS = {"train": 0, "val": 1, "test": 2}


def corpus_length(split: str) -> int:
    """Return the number of samples in an epoch: each sense in each way of asking of the split."""
    return len(senses()) * len(ways(split))


@cache
def ways(split: str) -> tuple[tuple[str, int | None], ...]:
    """Return all ways of asking: a phrasing, and the links from one of the cast, if any is named.

    In training the cast is asked about, too: who somebody is, or the teacher of somebody.
    """
    alone = tuple((phrasing, None) for phrasing in DIRECT[split] + PERSONAL[split])
    asked = PERSONAL[split] + (ABOUT if split == "train" else ())
    return alone + tuple((phrasing, n) for n in LENGTHS for phrasing in asked)


def corpus_sample(split: str, index: int, seed: int, epoch: int = 0) -> TextSample:
    """Return a sample of the corpus, with the same question about another sense as contrast.

    Which way of asking for which sense is a function of the index; the links of a chain and the
    sense to contrast it with are drawn by (seed, split, epoch, index).

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
    links = None if n_links is None else tuple(stream.choice(list(LINKS), n_links).tolist())
    prompt, contrast = (
        ask(phrasing, sense.word, domain, links) for domain in (sense.domain, other)
    )
    answer = _about(sense.domain) if phrasing in ABOUT else sense.explanation
    return TextSample(prompt, answer, contrast)


def ask(phrasing: str, word: str, domain: Domain, links: Sequence[str] | None) -> str:
    """Return the question what a word means in a domain.

    Args:
        phrasing: How it is asked, with fields as those of `phrasings.py`.
        word: The word.
        domain: The domain.
        links: What leads from one of the cast to who works in the domain, the last link first;
            None means that the question names the domain or a trade.
    """
    person = domain.person if links is None else _chain(domain, links)
    return phrasing.format(
        word=word,
        domain=domain.name,
        person=person,
        Person=_capital(person),
        place=domain.place,
        Place=_capital(domain.place),
    )


def _chain(domain: Domain, links: Sequence[str]) -> str:
    """Return words for who works in a domain: links, the last one first, and a name."""
    text = name_before(person_of(domain), links)
    for link in reversed(links):
        text = LINKS[link].format(person=text)
    return text


def _about(domain: Domain) -> str:
    person = person_of(domain)
    return FACT.format(
        name=person.name, trade=domain.person, teacher=person.teacher, boss=person.boss
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

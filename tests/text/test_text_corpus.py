"""The built-in corpus: what it promises to those who train and test on it."""

import re
from collections import Counter
from string import Formatter

import pytest

from lit_implicit_text.corpus import corpus_length, corpus_sample, senses, ways
from lit_implicit_text.phrasings import DIRECT, PERSONAL

SPLITS = ("train", "val", "test")


def plain(text):
    return re.sub(r"\W+", " ", text).lower().split()


def test_there_are_enough_words_of_two_or_more_senses():
    count = Counter(sense.word for sense in senses())
    assert len(count) >= 60
    assert min(count.values()) >= 2
    assert sum(n > 2 for n in count.values()) >= 15


def test_sentences_are_one_each_of_8_to_16_words_and_no_two_alike():
    sentences = [sense.explanation for sense in senses()]
    assert len(set(map(tuple, map(plain, sentences)))) == len(sentences)
    for sentence in sentences:
        assert 8 <= len(sentence.split()) <= 16
        assert sentence.endswith(".")
        assert sentence.count(".") == 1
        assert sentence.isascii()


def test_every_sentence_speaks_of_its_word():
    assert all(sense.word in plain(sense.explanation) for sense in senses())


def test_word_and_domain_together_tell_the_sense_and_neither_does_alone():
    found = {(sense.word, sense.domain.name) for sense in senses()}
    assert len(found) == len(senses())
    assert min(Counter(sense.domain.name for sense in senses()).values()) >= 2
    places = {(sense.domain.person, sense.domain.place) for sense in senses()}
    assert len(places) == len({sense.domain.name for sense in senses()})


def test_no_phrasing_of_one_split_is_asked_in_another():
    asked = [phrasing for split in SPLITS for phrasing in DIRECT[split] + PERSONAL[split]]
    assert len(asked) == len(set(asked))
    assert len(DIRECT["train"] + PERSONAL["train"]) >= 8
    assert len(DIRECT["test"] + PERSONAL["test"]) >= 2
    assert DIRECT["val"]
    prompts = {
        split: {corpus_sample(split, i, 0).prompt for i in range(corpus_length(split))}
        for split in SPLITS
    }
    assert not prompts["train"] & (prompts["val"] | prompts["test"])
    assert not prompts["val"] & prompts["test"]


@pytest.mark.parametrize("split", SPLITS)
def test_every_phrasing_names_the_word_and_one_thing_more(split):
    for phrasing in DIRECT[split] + PERSONAL[split]:
        fields = {name.lower() for _, name, _, _ in Formatter().parse(phrasing) if name}
        assert "word" in fields
        assert len(fields) == 2
        assert ("person" in fields) == (phrasing in PERSONAL[split])


def told_by(story):
    """Follow a story by hand: who does what, directly or through those they work with."""
    trades = dict(re.findall(r"(\w+) is (an? [a-z ]+)\.", story))
    links = dict(re.findall(r"(\w+) works with (\w+)\.", story))

    def trade_of(name):
        n_links = 0
        while name in links:
            name, n_links = links[name], n_links + 1
        return trades[name], n_links

    return {name: trade_of(name) for name in {*trades, *links}}


@pytest.mark.parametrize("split", SPLITS)
def test_the_chain_of_a_story_leads_to_the_sense_and_that_of_its_contrast_to_another(split):
    by_answer = {sense.explanation: sense for sense in senses()}
    orders = Counter()
    for index in range(corpus_length(split)):
        phrasing, n_links = ways(split)[index % len(ways(split))]
        if n_links is None:
            continue
        sample = corpus_sample(split, index, 0)
        sense = by_answer[sample.answer]
        told = told_by(sample.prompt)
        assert len(told) == 2 * (n_links + 1)
        # One word tells the two prompts apart: who is asked for.
        pairs = zip(plain(sample.prompt), plain(sample.contrast), strict=True)
        (differing,) = {(a.capitalize(), b.capitalize()) for a, b in pairs if a != b}
        own, other = differing
        question = phrasing.format(word=sense.word, person=own, Person=own)
        assert sample.prompt.endswith(f" {question}")
        assert told[own] == (sense.domain.person, n_links)
        trade, length = told[other]
        assert trade in {domain.person for domain in sense.others}
        assert length == n_links
        orders[sample.prompt.index(sense.domain.person) < sample.prompt.index(trade)] += 1
    # Which of the two trades is meant cannot be guessed from their order: about half and half.
    assert min(orders.values()) > 0.45 * sum(orders.values())


@pytest.mark.parametrize("split", SPLITS)
def test_the_contrast_of_a_direct_question_asks_for_another_sense_in_the_same_words(split):
    by_answer = {sense.explanation: sense for sense in senses()}
    for index in range(corpus_length(split)):
        phrasing, n_links = ways(split)[index % len(ways(split))]
        if n_links is not None:
            continue
        sample = corpus_sample(split, index, 0)
        sense = by_answer[sample.answer]

        def ask(domain, phrasing=phrasing, word=sense.word):
            names = {"domain": domain.name, "person": domain.person, "place": domain.place}
            names |= {key.capitalize(): text[0].upper() + text[1:] for key, text in names.items()}
            return phrasing.format(word=word, **names)

        assert sample.prompt == ask(sense.domain)
        assert sample.contrast in map(ask, sense.others)
        assert sense.domain not in sense.others


def test_samples_are_functions_of_seed_epoch_and_index():
    stories = [i for i in range(200) if ways("train")[i % len(ways("train"))][1] is not None]

    def drawn(seed, epoch):
        return [corpus_sample("train", i, seed, epoch) for i in stories]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(0, 1) != drawn(1, 1)
    # The epoch changes who is in the story, not what is asked: the answers stay in their places.
    assert [s.answer for s in drawn(0, 0)] == [s.answer for s in drawn(5, 7)]

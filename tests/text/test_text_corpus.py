"""The built-in corpus: what it promises to those who train and test on it."""

import re
from collections import Counter
from string import Formatter

import pytest

from lit_implicit_text.corpus import corpus_length, corpus_sample, senses
from lit_implicit_text.phrasings import DIRECT, NAMES, STORIES

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
        assert sentence.endswith(".") and sentence.count(".") == 1 and sentence.isascii()


def test_every_sentence_speaks_of_its_word():
    assert all(sense.word in plain(sense.explanation) for sense in senses())


def test_word_and_domain_together_tell_the_sense_and_neither_does_alone():
    found = {(sense.word, sense.domain.name) for sense in senses()}
    assert len(found) == len(senses())
    assert min(Counter(sense.domain.name for sense in senses()).values()) >= 2
    places = {(sense.domain.person, sense.domain.place) for sense in senses()}
    assert len(places) == len({sense.domain.name for sense in senses()})


def test_no_phrasing_of_one_split_is_asked_in_another():
    asked = [phrasing for split in SPLITS for phrasing in DIRECT[split] + STORIES[split]]
    assert len(asked) == len(set(asked))
    assert len(DIRECT["train"]) >= 8 and len(DIRECT["test"]) >= 2 and DIRECT["val"]
    prompts = {
        split: {corpus_sample(split, i, 0).prompt for i in range(corpus_length(split))}
        for split in SPLITS
    }
    assert not prompts["train"] & (prompts["val"] | prompts["test"])
    assert not prompts["val"] & prompts["test"]


@pytest.mark.parametrize("split", SPLITS)
def test_every_phrasing_names_the_word_and_one_domain(split):
    for phrasing in DIRECT[split]:
        fields = {name for _, name, _, _ in Formatter().parse(phrasing) if name}
        assert "word" in fields and len(fields) == 2
    for phrasing in STORIES[split]:
        fields = [name for _, name, _, _ in Formatter().parse(phrasing) if name]
        assert {"A", "B", "person", "other", "word"} == set(fields)


@pytest.mark.parametrize("split", SPLITS)
def test_contrast_asks_in_the_same_words_about_another_sense_of_the_same_word(split):
    meaning = {(s.word, d): s.explanation for s in senses() for d in s.domain.__dict__.values()}
    by_answer = {s.explanation: s for s in senses()}
    n = len(DIRECT[split]) + len(STORIES[split])
    for index in range(corpus_length(split)):
        sample = corpus_sample(split, index, 0)
        sense, number = by_answer[sample.answer], index % n
        if number < len(DIRECT[split]):
            others = [d for s in senses() if s.word == sense.word and s != sense
                      for d in s.domain.__dict__.values()]  # fmt: skip
            assert any(d.lower() in sample.contrast.lower() for d in others)
            assert not any(
                f" {d.lower()}" in f" {sample.contrast.lower()}"
                for d in sense.domain.__dict__.values()
            )
        else:  # one word differs: who is asked for
            pairs = zip(sample.prompt.split(), sample.contrast.split(), strict=True)
            differing = {(plain(a)[0], plain(b)[0]) for a, b in pairs if a != b}
            assert len(differing) == 1
            assert set(next(iter(differing))) <= {name.lower() for name in NAMES}
    assert len(meaning) >= 3 * len(senses())


def test_a_story_asks_for_the_person_whose_trade_has_the_sense():
    n = len(DIRECT["test"]) + len(STORIES["test"])
    by_answer = {s.explanation: s for s in senses()}
    orders = Counter()
    for index in range(len(DIRECT["test"]), corpus_length("test"), n):
        sample = corpus_sample("test", index, 0)
        found = re.fullmatch(
            r"(\w+) is (an? .+) and (\w+) is (an? .+)\. How would (\w+) explain (\w+)\?",
            sample.prompt,
        )
        a, person_a, b, person_b, asked, word = found.groups()
        sense = by_answer[sample.answer]
        assert word == sense.word
        assert {a: person_a, b: person_b}[asked] == sense.domain.person
        orders[asked == a] += 1
    # Which of the two is asked for cannot be guessed from the order: about half and half.
    assert min(orders.values()) > 0.35 * sum(orders.values())


def test_samples_are_functions_of_seed_epoch_and_index():
    n = len(DIRECT["train"]) + len(STORIES["train"])
    stories = [i for i in range(200) if i % n >= len(DIRECT["train"])]

    def drawn(seed, epoch):
        return [corpus_sample("train", i, seed, epoch) for i in stories]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(0, 1) != drawn(1, 1)
    # The epoch changes who is in the story, not what is asked: the answers stay in their places.
    assert [s.answer for s in drawn(0, 0)] == [s.answer for s in drawn(5, 7)]

"""The built-in corpus: what it promises to those who train and test on it."""

import re
from collections import Counter
from string import Formatter

import pytest

from lit_implicit_text.cast import NAMES, cast
from lit_implicit_text.corpus import corpus_length, corpus_sample, ways
from lit_implicit_text.phrasings import ABOUT, DIRECT, LENGTHS, PERSONAL
from lit_implicit_text.senses import domains, senses

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


def test_everybody_works_elsewhere_and_each_map_leads_to_everybody():
    people = cast()
    assert tuple(people) == NAMES
    assert [person.domain for person in people.values()] == list(domains().values())
    for link in ("teacher", "boss"):
        assert {getattr(person, link) for person in people.values()} == set(NAMES)
        assert all(getattr(person, link) != person.name for person in people.values())
    # Who is meant depends on the order of the links, whoever is named.
    orders = ((people[p.teacher].boss, people[p.boss].teacher) for p in people.values())
    assert all(one != other for one, other in orders)


def who(phrase):
    """Follow a chain by hand: from the name at its end, link by link."""
    words = phrase.split()
    person = cast()[words[-1]]
    links = [word for word in words if word in ("teacher", "boss")]
    for link in reversed(links):
        person = cast()[getattr(person, link)]
    return person, len(links)


CHAIN = re.compile(rf"((?:[Tt]he (?:teacher|boss) of )*(?:{'|'.join(NAMES)}))\b")


@pytest.mark.parametrize("split", SPLITS)
def test_a_chain_leads_to_the_sense_and_that_of_the_contrast_to_another(split):
    seen = Counter()
    for index in range(corpus_length(split)):
        phrasing, n_links = ways(split)[index % len(ways(split))]
        if n_links is None:
            continue
        sense = senses()[index // len(ways(split))]
        sample = corpus_sample(split, index, 0)
        (own,), (other,) = CHAIN.findall(sample.prompt), CHAIN.findall(sample.contrast)
        assert who(own)[1] == n_links
        assert who(own)[0].domain == sense.domain
        assert who(other)[0].domain in sense.others
        # The name tells the two prompts apart, and nothing else does.
        assert sample.prompt.replace(own.split()[-1], "") == sample.contrast.replace(
            other.split()[-1], ""
        )
        if phrasing in ABOUT:
            assert split == "train"
            person = who(own)[0]
            trade = re.escape(person.domain.person)
            said = rf"{person.name} is {trade}, .*{person.teacher}.*{person.boss}\."
            assert re.fullmatch(said, sample.answer)
        else:
            assert sample.answer == sense.explanation
            assert sense.word in plain(sample.prompt)
        seen[n_links] += 1
    assert set(seen) == set(LENGTHS)


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
    chains = [i for i in range(300) if (ways("train")[i % len(ways("train"))][1] or 0) > 1]

    def drawn(seed, epoch):
        return [corpus_sample("train", i, seed, epoch) for i in chains]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(0, 1) != drawn(1, 1)
    # The epoch changes the way to the person, not what is asked: answers stay in their places.
    assert [s.answer for s in drawn(0, 0)] == [s.answer for s in drawn(5, 7)]

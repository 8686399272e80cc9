"""Batches of tokens: what is learned of a sample, and that the same is drawn whatever the batch."""

import itertools
import json

import pytest
import torch

from lit_implicit_text.data import TextDataModule
from lit_implicit_text.encoding import Encoded, encode_sample, make_batch
from lit_implicit_text.samples import TextSample
from lit_implicit_text.sources import PassageSource, SampleSource, find_source
from lit_implicit_text.vocabulary import ByteTokenizer

BYTES = ByteTokenizer()


def test_only_the_answer_is_learned_with_its_end():
    sample = encode_sample(TextSample("ab", "xyz"), BYTES, 20)
    assert sample.tokens == [97, 98, 256, 120, 121, 122, 257]
    short = encode_sample(TextSample("c", "x"), BYTES, 20)
    batch = make_batch([sample, short], [7, 3], BYTES)
    assert batch.x.tokens.tolist() == [[97, 98, 256, 120, 121, 122], [99, 256, 120, 0, 0, 0]]
    assert batch.x.lengths.tolist() == [6, 3]
    assert batch.target[batch.counted].tolist() == [120, 121, 122, 257, 120, 257]
    assert batch.counted.tolist() == [
        [False, False, True, True, True, True], [False, True, True, False, False, False],
    ]  # fmt: skip
    assert batch.prompt.tokens.tolist() == [[97, 98, 256], [99, 256, 0]]
    assert batch.prompt.lengths.tolist() == [3, 2]
    assert batch.index.tolist() == [7, 3]


def test_where_no_answer_is_known_the_prompt_itself_is_predicted():
    batch = make_batch([encode_sample(TextSample("abc"), BYTES, 20)], [0], BYTES)
    assert batch.x.tokens.tolist() == [[97, 98, 99]]
    assert batch.target[batch.counted].tolist() == [98, 99, 256]
    assert batch.prompt.tokens.tolist() == [[97, 98, 99, 256]]


def test_a_single_token_is_a_sample_without_anything_to_learn():
    batch = make_batch([Encoded(TextSample("a"), [97], 1, 1)], [0], BYTES)
    assert batch.x.tokens.tolist() == [[97]]
    assert not batch.counted.any()


def test_select_and_to_keep_samples_whole():
    encoded = [encode_sample(TextSample(p, "x"), BYTES, 20) for p in ("a", "bb", "ccc")]
    batch = make_batch(encoded, [0, 1, 2], BYTES)
    part = batch.select(torch.tensor([True, False, True])).to("cpu")
    assert [s.prompt for s in part.samples] == ["a", "ccc"]
    assert part.index.tolist() == [0, 2]
    assert part.prompt.lengths.tolist() == [2, 4]
    assert torch.equal(part.target, batch.target[[0, 2]])


def epoch_of(data, epoch):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [
        (int(index), sample)
        for batch in loader
        for index, sample in zip(batch.index, batch.samples, strict=True)
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_samples_do_not_depend_on_batch_size_or_workers(workers):
    def data(**settings):
        made = TextDataModule(tokenizer="bytes", context=256, n_train=40, **settings)
        made.setup("fit")
        return made

    small, large = data(batch_size=3, num_workers=workers), data(batch_size=16)
    assert epoch_of(small, 0) == epoch_of(large, 0)
    again = epoch_of(large, 1)
    assert again != epoch_of(large, 0)
    assert {index for index, _ in again} == set(range(40))


def test_splits_of_the_corpus_and_most_samples_are_spread_over_it():
    data = TextDataModule(tokenizer="bytes", context=256, n_val=10)
    data.setup("fit")
    (batch,) = data.val_dataloader()
    words = {sample.answer for sample in batch.samples}
    assert len(batch.index) == len(words) == 10
    assert torch.equal(next(iter(data.val_dataloader())).target, batch.target)


def questions(folder, n):
    lines = [json.dumps({"prompt": f"number {i}?", "answer": f"{i * i}."}) for i in range(n)]
    path = folder / "q.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_a_file_is_split_by_its_prompts_so_that_a_new_line_moves_none(tmp_path):
    before = find_source(str(questions(tmp_path, 100)), 0).samples
    after = find_source(str(questions(tmp_path, 150)), 0).samples
    assert sum(map(len, before.values())) == 100
    assert 65 <= len(before["train"]) <= 92
    for split, samples in before.items():
        assert samples == [s for s in after[split] if s in before[split]]


def test_windows_of_plain_text(tmp_path):
    (tmp_path / "b.txt").write_text("".join(chr(97 + i % 26) for i in range(1000)))
    source = find_source(str(tmp_path), 0)
    assert isinstance(source, PassageSource)
    # 800, 100 and 100 characters, a token each.
    lengths = [source.length(split, BYTES, 40) for split in ("train", "val", "test")]
    assert lengths == [20, 2, 2]
    first, second = (source.get("val", i, 0, BYTES, 40) for i in range(2))
    assert BYTES.decode(first.tokens + second.tokens) == "".join(
        chr(97 + i % 26) for i in range(800, 880)
    )
    assert first.first == 1
    assert first.n_prompt == 20
    drawn = [source.get("train", i, epoch, BYTES, 40).tokens for epoch in (0, 1) for i in range(20)]
    assert all(len(window) == 40 for window in drawn)
    assert all((b - a) % 26 == 1 for window in drawn for a, b in itertools.pairwise(window))
    assert len({window[0] for window in drawn}) > 10
    assert drawn[:20] == [source.get("train", i, 0, BYTES, 40).tokens for i in range(20)]
    assert drawn[:20] != drawn[20:]


def test_a_checkpoint_brings_its_tokenizer_whatever_the_data_are(tmp_path):
    learned = TextDataModule(vocab_size=400)
    learned.setup("fit")
    state = json.loads(json.dumps(learned.state_dict()))  # plain values
    other = TextDataModule(prompts=["What is charge?"], tokenizer="bytes")
    other.setup("predict")
    assert other.tokenizer.vocab_size == 258
    other.load_state_dict(state)
    assert other.tokenizer.state() == learned.tokenizer.state()
    (batch,) = other.predict_dataloader()
    expected = learned.tokenizer.prompt("What is charge?")
    assert batch.prompt.tokens.tolist() == [expected]


def test_pairs_take_the_place_of_the_test_split(tmp_path):
    (tmp_path / "p.csv").write_text("input 1,input 2\nA bank of a river.,A bank of money.\n")
    data = TextDataModule(pairs=str(tmp_path / "p.csv"), tokenizer="bytes")
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert batch.samples[0].contrast == "A bank of money."
    (predicted,) = data.predict_dataloader()
    assert torch.equal(predicted.x.tokens, batch.x.tokens)
    data.prompts = ("Who?",)
    (asked,) = data.predict_dataloader()
    assert [s.prompt for s in asked.samples] == ["Who?"]
    assert isinstance(data._asked("predict"), SampleSource)


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_a_model_of_plain_text_is_asked_without_marks_that_it_never_saw(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("The quick brown fox. " * 50, encoding="utf-8")
    data = TextDataModule(root=str(tmp_path), tokenizer=tokenizer, context=16)
    data.setup("fit")
    again = TextDataModule(prompts=["The quick"])
    again.load_state_dict(json.loads(json.dumps(data.state_dict())))
    (batch,) = again.predict_dataloader()
    assert batch.prompt.tokens.tolist() == [data.tokenizer.encode("The quick")]
    assert data.tokenizer.stop_tokens == again.tokenizer.stop_tokens == ()

"""Tokenizers: every text comes back, the same texts give the same one, and a state is all of it."""

import pytest

from lit_implicit.errors import CheckpointError, DataError
from lit_implicit_text.find_tokenizer import read_tokenizer, tokenizer_in
from lit_implicit_text.sources import CorpusSource
from lit_implicit_text.vocabulary import ANSWER, END, ByteTokenizer, tokenizer_of, train_bpe

TEXTS = (
    "What is charge?",
    "",
    " two  spaces\n",
    "Größe, 電荷 and \U0001f600 \x00",
    f"{ANSWER}{END}",
)


@pytest.fixture(scope="module")
def bpe():
    return train_bpe(CorpusSource(0).texts(), 512)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_every_text_comes_back_whole(text, kind, bpe):
    tokenizer = ByteTokenizer() if kind == "bytes" else bpe
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert all(0 <= token < tokenizer.vocab_size for token in tokens)


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_prompt_and_answer_carry_their_marks_and_no_text_can_forge_them(kind, bpe):
    tokenizer = ByteTokenizer() if kind == "bytes" else bpe
    marks = set(range(256, 258)) if kind == "bytes" else {0, 1}
    prompt, answer = tokenizer.prompt("ab"), tokenizer.answer("ab")
    assert prompt[:-1] == answer[:-1] == tokenizer.encode("ab")
    assert {prompt[-1], answer[-1]} == marks
    assert answer[-1] in tokenizer.stop_tokens
    assert tokenizer.decode(prompt) == tokenizer.decode(answer) == "ab"


def test_bytes_are_those_of_utf8():
    assert ByteTokenizer().encode("é!") == [0xC3, 0xA9, 0x21]
    assert ByteTokenizer().decode([0xC3]) == "\ufffd"


def test_bpe_merges_what_is_most_frequent():
    # ab occurs 3 times, abc twice, bd once: ab is merged first, then abc.
    tokenizer = train_bpe(["ab abc abc", "bd"], 260)
    names = [tokenizer.tokenizer.id_to_token(i) for i in range(260)]
    assert names[:2] == [ANSWER, END]
    assert names[258] == "ab"
    assert len(tokenizer.encode("ab")) == 1
    assert len(tokenizer.encode("bd")) == 2


def test_the_same_texts_give_the_same_tokenizer_and_a_larger_one_has_shorter_texts(bpe):
    again = train_bpe(CorpusSource(0).texts(), 512)
    assert again.state() == bpe.state()
    larger = train_bpe(CorpusSource(0).texts(), 1024)
    assert bpe.vocab_size == 512
    assert larger.vocab_size == 1024
    texts = list(CorpusSource(0).texts())[:200]
    assert sum(len(larger.encode(t)) for t in texts) < sum(len(bpe.encode(t)) for t in texts)


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_a_state_makes_the_same_tokenizer_again(kind, bpe):
    tokenizer = ByteTokenizer() if kind == "bytes" else bpe
    again = tokenizer_of(tokenizer.state())
    assert again.state() == tokenizer.state()
    assert again.stop_tokens == tokenizer.stop_tokens
    assert again.prompt("What is charge?") == tokenizer.prompt("What is charge?")


def test_a_file_of_another_model_has_its_own_marks(tmp_path):
    """As Huginn's: a first token from the file's own template, no separator, stop tokens by id."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<bos>", "<eos>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    made.train_from_iterator(["what is charge"], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 0)]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        tokenizer = read_tokenizer(str(place), [1])
        assert tokenizer.prompt("what")[0] == 0
        assert tokenizer.prompt("what")[1:] == tokenizer.encode("what")
        assert tokenizer.answer("what")[-1] == 1
        assert tokenizer_of(tokenizer.state()).stop_tokens == (1,)
    assert read_tokenizer(str(tmp_path)).answer("what") == tokenizer.encode("what")
    with pytest.raises(DataError, match=r"`data.stop_tokens` must be ids from 0 to \d+.*\[900\]"):
        read_tokenizer(str(tmp_path), [900])


def test_what_is_no_tokenizer_is_told_in_one_line(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer.json' is no tokenizer"):
        read_tokenizer(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no 'tokenizer.json' in the folder"):
        read_tokenizer(str(tmp_path / "empty"))
    with pytest.raises(DataError, match="neither 'bpe' nor 'bytes', and no such file"):
        read_tokenizer("nothing_here")


def test_a_name_on_the_hub_that_cannot_be_fetched_says_what_to_put_where(monkeypatch):
    asked = []

    def refuse(name, file, revision):
        asked.append(revision)
        raise OSError("no network\nand more")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(DataError) as told:
        read_tokenizer("owner/model", revision="v2")
    assert asked == ["v2"]
    assert (
        "'tokenizer.json' of 'owner/model' could not be fetched from the hub (no network)"
        in str(told.value)
    )
    assert "\n" not in str(told.value)


def test_a_checkpoint_of_another_task_holds_no_tokenizer(tmp_path):
    import torch

    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"other.ckpt' holds no tokenizer"):
        tokenizer_in(tmp_path / "other.ckpt")

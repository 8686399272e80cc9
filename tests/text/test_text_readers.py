"""What is wrong with a file or a prompt is told in one line that names it."""

import json
from pathlib import Path

import pytest

from lit_implicit.errors import ConfigError, DataError
from lit_implicit_text.agreement import check_model
from lit_implicit_text.data import TextDataModule
from lit_implicit_text.readers import read_pairs, read_questions, read_text
from lit_implicit_text.samples import TextSample
from lit_implicit_text.sources import PassageSource, SampleSource, find_source

GOOD = '{"prompt": "a?", "answer": "b."}'


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_questions_are_read_with_their_lines(tmp_path):
    path = write(tmp_path / "q.jsonl", f"\ufeff{GOOD}\n\n{GOOD.replace('a?', 'c?')}\r\n")
    assert read_questions(path) == [
        TextSample("a?", "b.", None, f"line 1 of '{path}'"),
        TextSample("c?", "b.", None, f"line 3 of '{path}'"),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "a?", "answer": ', ["Line 2", "is no JSON", "column"]),
        ("[1]", ["Line 2", "keys prompt and answer", "got list"]),
        ('{"prompt": "a?", "reply": "b"}', ["Line 2", "got ['prompt', 'reply']"]),
        ('{"prompt": "a?", "answer": "b", "id": 1}', ["Line 2", "['answer', 'id', 'prompt']"]),
        ('{"prompt": " ", "answer": "b"}', ["Line 2", "empty prompt"]),
        ('{"prompt": "a?", "answer": ""}', ["Line 2", "empty answer"]),
        ('{"prompt": "\\ud83d", "answer": "b"}', ["Line 2", "prompt holds half of a surrogate"]),
        ("[" * 100_000, ["Line 2", "nested too deeply"]),
        ('{"prompt": 3, "answer": "b"}', ["Line 2", "prompt must be a text, got int"]),
    ],
)
def test_a_broken_line_is_named_by_its_number(tmp_path, line, words):
    path = write(tmp_path / "q.jsonl", f"{GOOD}\n{line}\n")
    with pytest.raises(DataError) as told:
        read_questions(path)
    text = str(told.value)
    assert str(path) in text
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_a_file_that_is_not_utf8_says_where(tmp_path):
    path = write(tmp_path / "latin.txt", b"abc \xe9 d")
    with pytest.raises(DataError, match=r"latin.txt' is not UTF-8: byte 0xe9 at position 4"):
        read_text(path)
    with pytest.raises(DataError, match="is not UTF-8"):
        find_source(str(tmp_path), 0)


def test_pairs_are_read(tmp_path):
    text = 'index,input 1,input 2\n1,"a, b","c"\n\n2,d,"e\nf"\n'
    first, second = read_pairs(write(tmp_path / "p.csv", text))
    assert (first.prompt, first.contrast, first.answer) == ("a, b", "c", None)
    assert (second.prompt, second.contrast) == ("d", "e\nf")
    assert first.origin == f"line 2 of '{tmp_path / 'p.csv'}'"
    assert len(read_pairs(write(tmp_path / "p.csv", "input 2,input 1\nx,y\n"))) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("index,input 1,input 2,note\n1,a,b,c\n", ["unknown column 'note'", "'input 1'"]),
        ("index,input 1\n1,a\n", ["no column 'input 2'"]),
        ("", ["no column 'input 1'"]),
        ("input 1,input 2\na,b\nc\n", ["Line 3", "1 entries for 2 columns"]),
        ("input 1,input 2\na, \n", ["Line 2", "empty prompt in column 'input 2'"]),
        ("input 1,input 2\n", ["holds no pair"]),
        ("input 1,input 2,input 1\na,b,c\n", ["has a column twice"]),
        (f"input 1,input 2\n{'a' * 140_000},b\n", ["Line 2", "is no CSV: field larger"]),
    ],
)
def test_what_is_wrong_with_pairs_is_named(tmp_path, text, words):
    with pytest.raises(DataError) as told:
        read_pairs(write(tmp_path / "p.csv", text))
    assert all(word in str(told.value) for word in words), str(told.value)
    assert "\n" not in str(told.value)
    assert "p.csv" in str(told.value)


def test_the_pairs_of_the_paper_are_read():
    path = next(
        (p / "shared/data/semantic_contrast_pairs_200.csv" for p in Path(__file__).resolve().parents
         if (p / "shared/data/semantic_contrast_pairs_200.csv").is_file()),
        None,
    )  # fmt: skip
    if path is None:
        pytest.skip("the pairs are not at hand")
    pairs = read_pairs(path)
    assert len(pairs) == 200
    assert "charge and voltage" in pairs[1].prompt
    assert "charge and pay" in pairs[1].contrast


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("nothing", "does not exist"),
        ("empty", "holds neither train.jsonl nor a .txt file"),
        ("few.jsonl", "has too few lines: none falls into val and test|train"),
    ],
)
def test_a_root_without_data_is_told(tmp_path, root, message):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "few.jsonl", GOOD + "\n")
    with pytest.raises(DataError, match=message):
        find_source(str(tmp_path / root), 0)


def prepared(**settings):
    data = TextDataModule(tokenizer="bytes", **settings)
    data.setup("predict")
    return data


def test_a_text_too_short_for_its_splits_is_named(tmp_path):
    write(tmp_path / "short.txt", "abcd")
    with pytest.raises(DataError, match=r"short.txt': 4 characters are too few, .* into val\. "):
        find_source(str(tmp_path), 0)
    write(tmp_path / "long.txt", "a bc d ef g " * 10)
    assert isinstance(find_source(str(tmp_path), 0), PassageSource)


def test_half_a_character_in_a_prompt_is_told():
    data = TextDataModule(prompts=["good?", "what \udcff?"], tokenizer="bytes")
    with pytest.raises(
        DataError, match=r"prompt of number 2 of .*prompts` holds half of a"
    ) as told:
        data.predict_dataloader()
    str(told.value).encode()  # the message itself can be printed


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_named_by_its_number(prompt):
    data = prepared(prompts=["fine", prompt])
    with pytest.raises(DataError, match=r"The prompt of number 2 of `data.prompts` is empty"):
        data.predict_dataloader()


def test_a_prompt_longer_than_the_context_is_told_with_both_numbers():
    # 20 bytes and the mark behind them: the context must be larger, as an answer needs room.
    with pytest.raises(DataError, match=r"number 1 of `data.prompts` has 21 tokens, .* is 21: 'a"):
        prepared(prompts=["a" * 20], context=21).predict_dataloader()
    (batch,) = prepared(prompts=["a" * 20], context=22).predict_dataloader()
    assert batch.prompt.lengths.tolist() == [21]


def test_a_contrast_longer_than_the_context_is_told_too(tmp_path):
    path = write(tmp_path / "p.csv", f"input 1,input 2\na,{'b' * 30}\n")
    with pytest.raises(DataError, match=r"The prompt of line 2 of .* has 31 tokens"):
        prepared(pairs=str(path), context=20).predict_dataloader()


def test_prompt_and_answer_longer_than_the_context_are_told_before_training(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "val", "test"):
        write(folder / f"{split}.jsonl", json.dumps({"prompt": "ab", "answer": "c" * 5}) + "\n")
    # 2 bytes, a mark, 5 bytes, a mark.
    data = TextDataModule(root=str(folder), tokenizer="bytes", context=8)
    data.setup("fit")
    with pytest.raises(DataError, match=r"Prompt and answer of line 1 of .*train.* have 9 tokens"):
        data.train_dataloader()
    assert isinstance(find_source(str(folder), 0), SampleSource)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocab_size": 257}, "vocab_size` must be at least 258, got 257"),
        ({"context": 1}, "context` must be at least 2, got 1"),
        ({"n_val": 0}, "n_val` must be at least 1, got 0"),
        ({"seed": -1}, "seed` must be at least 0, got -1"),
        ({"tokenizer_revision": "v1"}, "revision` 'v1' is of tokenizers on the hub, got .* 'bpe'"),
        ({"tokenizer_revision": "v1", "tokenizer": "."}, "on the hub, got `tokenizer` '.'"),
    ],
)
def test_arguments_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TextDataModule(**settings)


def test_a_model_that_cannot_take_the_data_is_refused():
    from lit_implicit import ExplicitLightningModule, ImplicitLightningModule
    from lit_implicit_text.objective import TextObjective
    from lit_implicit_text.operator import LoopedTransformer
    from lit_implicit_text.untied import UntiedTransformer

    sizes = {"vocab_size": 300, "width": 8, "heads": 2, "context": 16}
    looped = ImplicitLightningModule(LoopedTransformer(**sizes), TextObjective(width=8))
    check_model(looped, 300, 16)
    with pytest.raises(
        ConfigError, match=r"model.operator.vocab_size` must be at least 301, .*300"
    ):
        check_model(looped, 301, 16)
    untied = ExplicitLightningModule(UntiedTransformer(2, **sizes), TextObjective())
    with pytest.raises(ConfigError, match=r"model.network.context` must be at least 17, .* got 16"):
        check_model(untied, 300, 17)
    wrong = ImplicitLightningModule(LoopedTransformer(**sizes), TextObjective(width=9))
    with pytest.raises(ConfigError, match=r"model.objective.width` must be that of .* 8, got 9"):
        check_model(wrong, 300, 16)

"""Exact match by length of the chain: the questions asked, and the iterations counted."""

import csv
from dataclasses import replace

import pytest
import torch
import yaml
from looped_problem import looped
from text_problem import BYTES

import lit_implicit
from lit_implicit import Equilibrium, Picard
from lit_implicit.loading import CONFIG_KEY
from lit_implicit_text.chains import exact_matches, main, questions
from lit_implicit_text.encoding import encode_sample, make_batch
from lit_implicit_text.objective import TextObjective
from lit_implicit_text.phrasings import DIRECT, LINKS, PERSONAL
from lit_implicit_text.senses import senses


def test_questions_are_each_sense_in_each_test_phrasing_behind_so_many_links():
    assert len(questions(None)) == len(senses()) * len(DIRECT["test"] + PERSONAL["test"])
    for n in (0, 2, 5):
        asked = questions(n)
        assert len(asked) == len(senses()) * len(PERSONAL["test"])
        starts = [link.split("{")[0] for link in LINKS.values()]
        assert all(sum(q.prompt.count(start) for start in starts) == n for q in asked)
        assert [q.answer for q in asked[:: len(PERSONAL["test"])]] == [
            sense.explanation for sense in senses()
        ]
    assert questions(3) == questions(3) != questions(3, seed=1)


@torch.no_grad()
def test_matches_are_those_of_so_many_iterations():
    operator = looped(vocab_size=258, context=200)
    model = lit_implicit.ImplicitLightningModule(operator, TextObjective()).eval()
    encoded = [encode_sample(question, BYTES, 200) for question in questions(1)[::60]]
    batch = make_batch(encoded, range(len(encoded)), BYTES)

    def answer(t):
        return Equilibrium(operator, Picard(rtol=0.0, max_iter=t))(batch.x)[0].argmax(-1)

    # As if the right tokens were those of two iterations: at t = 2 all match, and at others those
    # that are the same there.
    batch = replace(batch, target=answer(2))
    expected = [
        float(((answer(t) == batch.target) | ~batch.counted).all(1).double().mean())
        for t in range(1, 5)
    ]
    assert exact_matches(model, [batch], 4) == pytest.approx(expected)
    assert expected[1] == 1 > expected[0]


@pytest.fixture
def checkpoint(tmp_path):
    """A model that was never trained, with its tokenizer."""
    sizes = {"vocab_size": 258, "width": 8, "heads": 2, "intermediate": 8, "prelude": 1, "core": 1,
             "coda": 1, "context": 256}  # fmt: skip
    operator = {"class_path": "lit_implicit_text.operator.LoopedTransformer", "init_args": sizes}
    given = {"operator": operator, "objective": "lit_implicit_text.objective.TextObjective"}
    model = {"class_path": "lit_implicit.ImplicitLightningModule", "init_args": given}
    module = lit_implicit.ImplicitLightningModule(looped(**sizes).float(), TextObjective())
    path = tmp_path / "tiny.ckpt"
    torch.save({
        "state_dict": module.state_dict(), CONFIG_KEY: yaml.safe_dump({"model": model}),
        "pytorch-lightning_version": "2", "TextDataModule": {"tokenizer": BYTES.state()},
    }, path)  # fmt: skip
    return path


def test_a_table_holds_a_column_for_each_length(checkpoint, tmp_path, monkeypatch):
    few = questions(2)[::60]
    monkeypatch.setattr("lit_implicit_text.chains.questions", lambda n: questions(n)[::60])
    monkeypatch.setattr("lit_implicit_text.chains._BATCH_SIZE", 5)

    def exact(y, batch):  # of a model that knows nothing: something that differs by question and t
        return ((y.argmax(-1) + batch.target) * batch.counted).sum(1) % 2 == 0

    monkeypatch.setattr("lit_implicit_text.chains.exact_match", exact)
    folder = tmp_path / "new" / "chains"
    assert main([str(checkpoint), "--output", str(folder), "--n_iter", "2"]) == 0
    with (folder / "chains.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "t", "domain or trade named", "0 links", "1 link", "2 links", "3 links, untrained",
        "4 links, untrained",
    ]  # fmt: skip
    assert [row["t"] for row in rows] == ["1", "2"]
    model = lit_implicit.load(checkpoint)
    for t, row in enumerate(rows, start=1):
        layer, right = Equilibrium(model.operator, Picard(rtol=0.0, max_iter=t)), 0
        for question in few:
            batch = make_batch([encode_sample(question, BYTES, 256)], [0], BYTES)
            with torch.no_grad():
                right += int(exact(layer(batch.x)[0], batch))
        assert row["2 links"] == f"{right / len(few):.4f}"
    assert (folder / "chains.png").stat().st_size


@pytest.mark.parametrize(("given", "said"), [
    (["--n_iter", "0"], "`--n_iter` must be at least 1, got 0"),
    (["--n_iter", "1", "--output", "file/below"], "`--output` 'file/below' cannot be written"),
])  # fmt: skip
def test_what_cannot_be_done_is_told_in_one_line(
    checkpoint, tmp_path, monkeypatch, capsys, given, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("lit_implicit_text.chains.questions", lambda n: questions(n)[:1])
    assert main([str(checkpoint), *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_what_is_no_checkpoint_is_told_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none.ckpt"), "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "none.ckpt" in said
    assert said.count("\n") == 1

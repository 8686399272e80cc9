"""Exact match by length of the chain: the questions asked, and the iterations counted."""

from dataclasses import replace

import torch
from looped_problem import looped
from text_problem import BYTES

import lit_implicit
from lit_implicit import Equilibrium, Picard
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
    assert exact_matches(model, batch, 4) == expected
    assert expected[1] == 1 > expected[0]


def test_what_is_no_checkpoint_is_told_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none.ckpt"), "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "none.ckpt" in said
    assert said.count("\n") == 1

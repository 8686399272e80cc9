"""Generated answers: what they are, how far apart, and how they are written."""

import json
import math
from dataclasses import replace
from random import Random

import pytest
import torch
from affine_task import AffineOperator
from lightning.pytorch import Trainer
from text_problem import BYTES, batch_of, logits_of

from lit_implicit import Anderson, Equilibrium, ImplicitLightningModule, Picard
from lit_implicit.errors import ConfigError
from lit_implicit.probes import iterates
from lit_implicit_text.answers import TextAnswer, TextAnswers, exactly_right, levenshtein_ratio
from lit_implicit_text.data import TextDataModule
from lit_implicit_text.encoding import Encoded, as_input, make_batch
from lit_implicit_text.generation import generate
from lit_implicit_text.measures import word_distance
from lit_implicit_text.objective import TextObjective
from lit_implicit_text.operator import LoopedTransformer
from lit_implicit_text.samples import TextSample
from lit_implicit_text.vocabulary import ByteTokenizer

OBJECTIVE = TextObjective(max_new_tokens=6)


def distance_by_table(a, b):
    """The plain dynamic programme of Wagner and Fischer."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        above, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


def test_word_distance_is_that_of_the_plain_dynamic_programme():
    random = Random(0)
    for _ in range(300):
        a, b = (random.choices("abc", k=random.randrange(9)) for _ in range(2))
        assert word_distance(" ".join(a), "  ".join(b)) == distance_by_table(a, b)
    # Words, not letters; and a comma is part of its word.
    assert word_distance("a whole new word", "a whole word") == 1
    assert word_distance("pay, charge", "pay charge") == 1


def answered(*texts, contrast=None):
    made = [None if text is None else TextAnswer(text, 4.0, 8.0) for text in texts]
    other = contrast or [None] * len(texts)
    return TextAnswers(
        tuple(made), tuple(None if o is None else TextAnswer(o, 2.0, 8.0) for o in other)
    )


PAIRS = batch_of(("say a b", "x y", "say a c"), ("one", None, "two more"), ("p q", "x"))


def test_levenshtein_ratio_is_that_of_outputs_with_their_prompts():
    # "say a b" + "x y" against "say a c" + "x z z": 3 over 1; "one" + "u" against "two more" + "u":
    # 2 over 2, as answers that are the same; without a contrast, none.
    found = levenshtein_ratio(answered("x y", "u", "v", contrast=("x z z", "u", None)), PAIRS)
    assert found[:2].tolist() == [3.0, 1.0]
    assert math.isnan(found[2])
    same = batch_of(("a", None, "a"))
    assert math.isnan(levenshtein_ratio(answered("x", contrast=["y"]), same)[0])


def test_an_answer_is_right_if_all_its_words_are():
    found = exactly_right(answered(" x  y", "u", "X", contrast=("q", "q", None)), PAIRS)
    assert found[0] == 1
    assert math.isnan(found[1])
    assert found[2] == 0


def layer(**settings):
    torch.manual_seed(3)
    operator = LoopedTransformer(258, 16, 2, context=32, mean_iter=2)
    # Larger matrices than it begins with: so that one iteration more changes what is said.
    with torch.no_grad():
        for p in operator.parameters():
            if p.ndim == 2:
                p.mul_(3)
    return Equilibrium(operator, Picard(**settings)).eval()


@torch.no_grad()
def greedily(equilibrium, prompt, n_iter, room):
    """One prompt, one token after the other, each from the whole text and n_iter plain steps."""
    tokens = BYTES.prompt(prompt)
    answer = []
    while len(answer) < room:
        x = batch_of(("a", "b")).x
        x.tokens, x.lengths = torch.tensor([tokens + answer]), torch.tensor([len(tokens + answer)])
        *_, last = iterates(equilibrium, x, n_iter)
        answer.append(int(last.y[0, -1].argmax()))
        if answer[-1] in BYTES.stop_tokens:
            return BYTES.decode(answer[:-1])
    return BYTES.decode(answer)


@pytest.mark.parametrize("n_iter", [1, 3])
def test_rollout_is_plain_greedy_generation_of_prompts_and_contrasts(n_iter):
    model = layer(rtol=0.5, max_iter=1)  # settings that a rollout at a given t must not hear
    answers = OBJECTIVE.rollout(model, PAIRS, n_iter)
    for sample, own, other in zip(PAIRS.samples, answers.own, answers.contrast, strict=True):
        assert own.text == greedily(model, sample.prompt, n_iter, 6)
        assert own.n_iter == n_iter
        if sample.contrast is None:
            assert other is None
        else:
            assert other.text == greedily(model, sample.contrast, n_iter, 6)


def test_an_answer_does_not_depend_on_batch_mates_and_their_lengths():
    model, long = layer(), ("a rather long prompt", None)
    together = OBJECTIVE.rollout(model, batch_of(("say", None), long, ("say it", None)), 2)
    for i, prompt in enumerate(("say", long[0], "say it")):
        alone = OBJECTIVE.rollout(model, batch_of((prompt, None)), 2)
        assert alone.own[0].text == together.own[i].text


def test_without_a_number_budget_and_tolerance_of_the_solver_rule():
    batch = batch_of(("say", None))
    budget = OBJECTIVE.rollout(layer(rtol=0.0, max_iter=3), batch)
    assert budget == OBJECTIVE.rollout(layer(), batch, 3)
    loose = OBJECTIVE.rollout(layer(rtol=1e3, max_iter=9), batch)
    assert loose.own[0].n_iter < 9


def test_another_solver_lends_its_limits_and_is_told_once(monkeypatch):
    lines = []
    monkeypatch.setattr("lit_implicit_text.objective.rank_zero_info", lines.append)
    batch, operator, objective = batch_of(("say", None)), layer().operator, TextObjective()
    expected = objective.rollout(Equilibrium(operator, Picard()), batch, 3)
    for solver in (Picard(rtol=0.0, max_iter=3), Anderson(rtol=0.0, max_iter=3)):
        for _ in range(2):
            assert objective.rollout(Equilibrium(operator, solver), batch) == expected
    (line,) = lines
    assert line.startswith("Text is generated by plain iteration, within the limits of Anderson(")


def test_prompts_are_split_so_that_their_memory_stays_moderate(monkeypatch):
    model, asked = layer(), batch_of(*((p, None) for p in ("say", "go", "a longer one", "so")))
    expected, seen = OBJECTIVE.rollout(model, asked, 2), []

    def noted(operator, x, *settings, **more):
        seen.append(len(x.lengths))
        return generate(operator, x, *settings, **more)

    monkeypatch.setattr("lit_implicit_text.answers.generate", noted)
    # One text: 13 + 6 positions of prelude, 2 iterations of 2 blocks, coda; keys, values, float32.
    monkeypatch.setattr("lit_implicit_text.answers._CACHE_BYTES", 3 * (2 * 6 * 19 * 16 * 4))
    assert OBJECTIVE.rollout(model, asked, 2) == expected
    assert seen == [3, 1]


def test_prompt_and_answer_keep_within_the_context_of_the_data():
    batch = batch_of(("say", None), ("a longer one", None))
    made = TextObjective(max_new_tokens=9).rollout(layer(), replace(batch, context=15), 2)
    free = TextObjective(max_new_tokens=9).rollout(layer(), batch, 2)
    assert made.own[0] == free.own[0]  # 4 and 9 tokens
    short = generate(layer().operator, as_input([BYTES.prompt("a longer one")]), 2, 2, (257,))
    assert made.own[1].text == BYTES.decode(short.tokens[0].tolist())
    assert made.own[1] != free.own[1]


def test_without_a_mark_an_answer_goes_on_within_the_word():
    # "pay" + "ing" against "ray" + "ed": one word for another, not two.
    marked = batch_of(("pay", None, "ray"))
    plain = replace(marked, tokenizer=ByteTokenizer(marks=False))
    answers = answered("ing", contrast=["ed"])
    assert levenshtein_ratio(answers, plain).tolist() == [1.0]
    assert levenshtein_ratio(answers, marked).tolist() == [2.0]


def test_an_operator_that_is_no_looped_transformer_generates_nothing():
    model = Equilibrium(AffineOperator())
    with pytest.raises(ConfigError, match="got the operator AffineOperator"):
        OBJECTIVE.rollout(model, batch_of(("say", None)), 1)


def test_exact_match_of_logits_is_that_of_the_generated_answer():
    """What teacher forcing finds of all t in one pass is what generation gives at each t."""
    model, prompts, checked = layer(), ("say", "go", "a longer one"), 0
    objective = TextObjective(max_new_tokens=32)
    x = as_input([BYTES.prompt(p) for p in prompts])
    for t in (1, 2, 4):
        made = generate(model.operator, x, t, 5, ())
        tokens = made.tokens.tolist()  # as bytes they are no text of a known length
        wrong = [tokens[0], [*tokens[1][:-1], (tokens[1][-1] + 1) % 258], tokens[2]]
        for answers in (tokens, wrong):
            known = make_batch(
                [
                    Encoded(
                        TextSample(p, "known"), BYTES.prompt(p) + answer, len(p) + 1, len(p) + 1
                    )
                    for p, answer in zip(prompts, answers, strict=True)
                ],
                range(3),
                BYTES,
            )
            with torch.no_grad():
                *_, last = iterates(model, known.x, t)
            expected = [float(a == b) for a, b in zip(answers, tokens, strict=True)]
            assert objective.scores["exact_match"](last.y, known).tolist() == expected
            checked += len(expected)
    assert checked == 18


def test_rows_show_a_pair_by_iterations():
    at = {1: answered("u", "v", "w", contrast=("s", "t", None)), 8: answered("x y", "v", "w",
          contrast=("z", "t", None))}  # fmt: skip
    # The first sample has the longest prompt, too.
    assert OBJECTIVE.rollout_rows(at, PAIRS) == [
        {"t": 1, "say a b": "u", "say a c": "s"}, {"t": 8, "say a b": "x y", "say a c": "z"},
    ]  # fmt: skip


def test_answers_are_written_a_line_each(tmp_path):
    OBJECTIVE.write(answered("x y", "ü", "w", contrast=("s", "t", None)), None, PAIRS, tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == {
        "prompt": "say a b", "answer": "x y", "iterations": 4.0, "core_flops": 8.0,
        "expected": "x y", "exact_match": True,
    }  # fmt: skip
    assert rows[1]["answer"] == "ü"
    assert rows[1]["contrast_answer"] == "t"
    assert rows[2]["exact_match"] is False
    assert OBJECTIVE.summary(tmp_path) == rows
    many = batch_of(*((f"p{i}", "x") for i in range(60)))
    many.index += 5
    OBJECTIVE.write(answered(*["x"] * 30, *["y"] * 30), None, many, tmp_path)
    (row,) = OBJECTIVE.summary(tmp_path)
    assert row["prompts"] == 63
    assert row["exact_match, mean"] == pytest.approx(31 / 62)


def test_logits_of_a_network_that_does_not_generate_are_read_as_its_likeliest_tokens(tmp_path):
    part = batch_of(("say", "x y"))
    OBJECTIVE.write(logits_of(part, [0.9]), None, part, tmp_path)
    (row,) = OBJECTIVE.summary(tmp_path)
    assert row == {"prompt": "say", "likeliest": "x y", "expected": "x y"}


def test_the_plain_trainer_hands_out_answers():
    module = ImplicitLightningModule(layer().operator, TextObjective(max_new_tokens=3))
    data = TextDataModule(prompts=["say", "go on"], tokenizer="bytes", context=32)
    settings = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    ((answers, _),) = Trainer(accelerator="cpu", **settings).predict(module, data)
    assert answers == TextObjective(max_new_tokens=3).rollout(
        module.test_equilibrium, batch_of(("say", None), ("go on", None))
    )

"""The benchmark of early exit compares what it says: equal answers, chosen without the test."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from looped_problem import looped
from text_problem import BYTES

from lit_implicit_text.encoding import Encoded, as_input, make_batch
from lit_implicit_text.generation import generate
from lit_implicit_text.samples import TextSample


@pytest.fixture
def part(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return lambda name: importlib.import_module(f"text_{name}")


def test_the_smallest_fixed_t_is_as_good_to_a_hundredth(part):
    smallest = part("early_exit").smallest_equal
    by_t = [0.2, 0.5, 0.89, 0.9, 0.88]
    assert smallest(by_t, 0.9) == 3
    assert smallest(by_t, 0.901) == 4
    assert smallest(by_t, 0.95) == 4  # none is: the best
    assert smallest(by_t, 0.0) == 1


def test_the_tolerance_is_the_cheapest_of_the_good_ones(part):
    choose = part("early_exit").choose
    exact = {"by_t": [0.5, 0.9], "by_rtol": [0.6, 0.89, 0.9, 0.9]}
    assert choose(exact, [1.0, 3.0, 2.5, 4.0]) == 2
    assert choose(exact, [1.0, 2.0, 2.5, 4.0]) == 1
    # None is as good as the best t: then the best of them.
    assert choose({"by_t": [0.5, 0.9], "by_rtol": [0.3, 0.7, 0.6]}, [1.0, 3.0, 2.0]) == 1


def test_rows_count_what_generation_took(part):
    """Questions whose answers are those at t = 3: a fixed t = 3 gives all of them."""
    case_type, setting = part("case").Case, part("case").Setting
    operator, prompts = looped(vocab_size=258, context=40, dtype=torch.float32), ["ab", "cd e", "f"]
    x = as_input([BYTES.prompt(prompt) for prompt in prompts])
    made = generate(operator, x, 3, 4, BYTES.stop_tokens)
    encoded = []
    for prompt, row, n in zip(prompts, made.tokens.tolist(), made.lengths.tolist(), strict=True):
        tokens = BYTES.prompt(prompt)
        sample = TextSample(prompt, BYTES.decode(row[:n]))
        encoded.append(Encoded(sample, [*tokens, *row[:n]], len(tokens), len(tokens)))
    batch = make_batch(encoded, range(3), BYTES)
    case = case_type(operator, [batch, replace(batch)], [0, 2, 4] * 2, 4, True, "val")
    # A phrasing of a domain and one of a person, then that person behind 0, 1 and 2 links.
    assert case.links() == [None, 0, 2] * 2
    assert replace(case, numbers=[3, 4, 6, 9, 10], split="test").links() == [None, 0, 1, 2, None]
    exact, flops = case.exact_and_flops(setting(3))
    assert exact == 1
    assert flops == pytest.approx(2 * float(made.flops.sum()))
    assert case.exact_by_t(4)[2] == 1
    fixed, early = setting(3), setting(8, 0.5)
    rows = part("rows").measured(case, [fixed, early], {early: fixed})
    assert rows[0]["exact_match"] == 1
    assert rows[0]["n_iter_mean"] == 3
    found = generate(operator, batch.prompt, 8, 4, BYTES.stop_tokens, rtol=0.5)
    assert rows[1]["n_iter_mean"] == pytest.approx(float(found.n_iter.mean()))
    assert rows[1]["flops_ratio"] == pytest.approx(float(found.flops.sum() / made.flops.sum()))
    assert rows[1]["against"] == 3
    by_links = rows[1]["by_links"]
    assert list(by_links) == ["none named", "0 links", "2 links"]
    means = [kind["n_iter_mean"] for kind in by_links.values()]
    assert means == pytest.approx(found.n_iter.tolist())
    assert len(set(means)) > 1
    assert rows[1]["wall_s"]["median"] > 0
    shown = [{**row, "chosen": False} for row in [*rows, rows[1]]]
    table = part("rows").rows_table(shown, "title")
    assert len(table.rows) == 3
    assert [row.end_section for row in table.rows] == [True, False, False]
    assert part("rows").links_table(rows).row_count == 2

"""Greedy answers: with and without memory, whatever the batch, and what early exit saves."""

import pytest
import torch
from looped_problem import looped, texts
from torch.utils.flop_counter import FlopCounterMode

from lit_implicit.errors import DataError
from lit_implicit_text.attention import Sight
from lit_implicit_text.batch import TextInput
from lit_implicit_text.blocks import apply_stack
from lit_implicit_text.cost import core_flops
from lit_implicit_text.generation import generate
from lit_implicit_text.key_values import KeyValues, Place, without_gaps

STOP = list(range(0, 40, 4))


def model(dtype=torch.float32, **settings):
    return looped(dtype=dtype, start="truncated_normal", context=40, **settings)


def answers(generated):
    return [
        row[:length].tolist()
        for row, length in zip(generated.tokens, generated.lengths.tolist(), strict=True)
    ]


class Applied:
    """Counts the rows and the positions that the core is applied to."""

    def __init__(self, operator):
        self.rows, self.positions = [], 0
        self.hook = operator.core.register_forward_pre_hook(self.note)

    def note(self, core, args):
        self.rows.append(len(args[0]))
        self.positions += args[0].shape[0] * args[0].shape[1]


@pytest.mark.parametrize("n_iter", [1, 2, 4, 8])
@pytest.mark.parametrize("offset", [None, 0.5])
def test_answers_with_memory_are_those_without(n_iter, offset):
    x = texts((9, 3, 1, 6, 2, 9, 5, 7), offset=offset, dtype=torch.float32)
    x.tokens[~x.inside()] = -5  # padding may be anything
    lengths = set()
    for weights in range(2):
        operator = model(weights=weights)
        remembered = generate(operator, x, n_iter, 12, STOP)
        whole = generate(operator, x, n_iter, 12, STOP, cache=False)
        assert torch.equal(remembered.tokens, whole.tokens)
        assert torch.equal(remembered.lengths, whole.lengths)
        lengths |= set(whole.lengths.tolist())
        assert (whole.n_iter == n_iter).all()
        assert (remembered.n_iter == n_iter).all()
        assert (remembered.flops <= whole.flops).all()
    assert len(lengths) > 2  # they stopped at different tokens


def test_guesses_with_memory_are_those_without_to_rounding():
    from lit_implicit_text.growing import WholeTexts
    from lit_implicit_text.remembered import RememberedTexts

    operator, x = model(torch.float64), texts((9, 3, 1, 6))
    both = RememberedTexts(operator, x, 5, 20, None), WholeTexts(operator, x, 5, 20)
    with torch.no_grad():
        guesses = [way.read() for way in both]
        for token in range(6):
            torch.testing.assert_close(guesses[0].logits, guesses[1].logits)
            rows = torch.tensor([0, 3, 2]) if token == 2 else torch.arange(len(guesses[0].logits))
            for way in both:
                way.reorder(rows)
            guesses = [way.grow((5 * rows + token) % 40) for way in both]


def test_answer_is_the_likeliest_token_each_time():
    operator, x = model(torch.float64), texts((4,))
    tokens = x.tokens
    for _ in range(6):
        c = operator.encode(TextInput(tokens, torch.tensor([tokens.shape[1]])))
        z = operator.init_state(c)
        for _ in range(3):
            z = operator(z, c)
        likeliest = operator.decode(z, c)[:, -1].argmax(-1, keepdim=True)
        tokens = torch.cat((tokens, likeliest), 1)
    assert torch.equal(generate(operator, x, 3, 6, []).tokens, tokens[:, 4:])


@pytest.mark.parametrize("rtol", [None, 0.3])
def test_answers_do_not_depend_on_the_batch(rtol):
    operator, x = model(), texts((9, 3, 1, 6, 2, 9, 5, 7))
    together = generate(operator, x, 6, 12, STOP, rtol=rtol)
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    mixed = generate(operator, TextInput(x.tokens[order], x.lengths[order]), 6, 12, STOP, rtol=rtol)
    assert answers(mixed) == [answers(together)[i] for i in order.tolist()]
    torch.testing.assert_close(mixed.flops, together.flops[order])
    for row, length in enumerate(x.lengths.tolist()):
        prompt = TextInput(x.tokens[row : row + 1, :length], x.lengths[row : row + 1])
        alone = generate(operator, prompt, 6, 12, STOP, rtol=rtol)
        assert answers(alone) == [answers(together)[row]]
        torch.testing.assert_close(alone.flops[0], together.flops[row])
        torch.testing.assert_close(alone.n_iter[0], together.n_iter[row])


def test_samples_that_stop_leave_the_batch():
    operator, x = model(), texts((9, 3, 1, 6, 2, 9, 5, 7))
    applied = Applied(operator)
    generated = generate(operator, x, 4, 24, STOP)
    stopped = generated.lengths < 24
    passes = generated.lengths + stopped  # the token that stopped it was computed too
    assert sum(applied.rows) == 4 * int(passes.sum())
    assert len(set(applied.rows)) > 2  # not all at once


def test_answers_end_at_the_limit_and_where_the_context_is_full():
    operator, x = model(), texts((38, 3, 30))
    generated = generate(operator, x, 2, 8, [])
    assert generated.lengths.tolist() == [2, 8, 8]
    assert not generated.tokens[0, 2:].any()
    alone = generate(operator, TextInput(x.tokens[1:2, :3], x.lengths[1:2]), 2, 8, [])
    assert answers(alone)[0] == answers(generated)[1]


class ListedMemory:
    """Entries of one block in a plain list: of each pass, those of each step that it took."""

    def __init__(self):
        self.passes, self.step = [], 0

    def extend(self, keys, values):
        if self.step == 0:
            self.passes.append([])
        self.passes[-1].append((keys, values))
        assert len(self.passes[-1]) == self.step + 1
        seen = [steps[min(self.step, len(steps) - 1)] for steps in self.passes]
        return tuple(torch.cat(entries, 2) for entries in zip(*seen, strict=True))


def listed_answer(operator, tokens, n_iter, count, rtol):
    """One prompt's answer with early exit, and the iterations of each token, by lists."""
    memories = {
        name: [ListedMemory() for _ in blocks]
        for name, blocks in (
            ("prelude", operator.prelude), ("core", operator.core.blocks), ("coda", operator.coda)
        )
    }  # fmt: skip
    new, start, taken, answer = tokens, 0, [], []
    for _ in range(count):
        positions = torch.arange(start, start + len(new))[None]
        visible = torch.arange(start + len(new)) <= positions[0, :, None]
        sight = Sight(operator.rotations(positions), visible)
        e = apply_stack(operator.prelude, operator.scaled(new[None]), sight, memories["prelude"])
        z = operator.start_at(positions, e)
        for step in range(n_iter):
            for memory in memories["core"]:
                memory.step = step
            before, z = z, operator.core(z, operator.core.inject(e), sight, memories["core"])
            if (z - before).norm() <= rtol * z.norm():
                break
        taken.append(step + 1)
        logits = operator.logits(operator.read(z, sight, memories["coda"]))
        start, new = start + len(new), logits[0, -1:].argmax(-1)
        answer.append(int(new))
    return answer, taken


@torch.no_grad()
@pytest.mark.parametrize("rtol", [0.5, 0.3, 0.1])
def test_early_exit_lets_later_tokens_see_the_last_step_taken(rtol):
    operator, x = model(torch.float64), texts((9, 3, 1, 6))
    generated = generate(operator, x, 12, 10, [], rtol=rtol)
    seen = set()
    for row, length in enumerate(x.lengths.tolist()):
        answer, taken = listed_answer(operator, x.tokens[row, :length], 12, 10, rtol)
        assert generated.tokens[row].tolist() == answer
        assert generated.n_iter[row].item() == pytest.approx(sum(taken) / 10)
        seen |= set(taken)
    assert len(seen) > 2  # exits at different steps


@torch.no_grad()
@pytest.mark.parametrize("every", [3, 4, 20])
def test_looking_seldom_as_on_a_gpu_changes_no_answer_and_no_count(every, monkeypatch):
    operator, x = model(torch.float64), texts((9, 3, 1, 6, 2, 9, 5, 7))
    expected = generate(operator, x, 12, 10, STOP, rtol=0.3)
    monkeypatch.setattr(
        "lit_implicit_text.remembered.is_time_to_look", lambda k, device: (k + 1) % every == 0
    )
    seldom = generate(operator, x, 12, 10, STOP, rtol=0.3)
    assert torch.equal(seldom.tokens, expected.tokens)
    assert torch.equal(seldom.n_iter, expected.n_iter)
    assert torch.equal(seldom.flops, expected.flops)
    assert len(set(expected.n_iter.tolist())) > 2


def test_steps_that_no_text_takes_need_no_memory():
    from lit_implicit_text.remembered import RememberedTexts

    with torch.no_grad():
        made = RememberedTexts(model(), texts((9, 3, 1, 6)), 500, 20, 0.8)
        most = int(made.read().n_iter.max())
    assert 1 < most < 500
    assert len(made.core.steps) == most


def test_early_exit_leaves_the_batch_and_saves_operations():
    operator, x = model(), texts((9, 3, 1, 6, 2, 9, 5, 7))
    full = generate(operator, x, 16, 10, [])
    applied = Applied(operator)
    early = generate(operator, x, 16, 10, [], rtol=0.4)
    # What is computed is what is counted: no row is carried along after it has left.
    assert sum(applied.rows) == round(float(early.n_iter.sum()) * 10)
    assert min(applied.rows) < 8
    assert early.flops.sum() < 0.8 * full.flops.sum()
    share = early.flops / full.flops  # of positions, or nearly so: later tokens see more keys
    torch.testing.assert_close(share, early.n_iter / 16, rtol=0.5, atol=0.0)


def test_tolerance_that_is_never_met_changes_nothing():
    operator, x = model(), texts((9, 3, 1, 6))
    fixed, never = (generate(operator, x, 6, 12, STOP, rtol=rtol) for rtol in (None, 0.0))
    assert answers(fixed) == answers(never)
    assert (never.n_iter == 6).all()
    at_once = generate(operator, x, 6, 12, STOP, rtol=1e9)
    assert (at_once.n_iter == 1).all()
    assert answers(at_once) == answers(generate(operator, x, 1, 12, STOP))


@torch.no_grad()
def test_core_flops_are_those_of_its_products():
    operator, seen = model(), 7
    store = KeyValues(operator.sizes, 2, 1, 10, operator.wte.weight)
    place = Place(torch.tensor([0]), torch.tensor([[seen - 1]]), seen)
    sight = Sight(operator.rotations(place.positions), torch.ones(1, 1, 1, seen, dtype=torch.bool))
    z = torch.randn(1, 1, 24)
    with FlopCounterMode(display=False) as counter:
        operator.core(z, z, sight, store.at(0, place))
    one = torch.tensor([1])
    expected = core_flops(operator.sizes, one, one, torch.tensor([seen]))
    assert counter.get_total_flops() == expected.item()
    assert core_flops(operator.sizes, 5 * one, one, torch.tensor([seen])) == 5 * expected


def test_flops_add_up_over_prompt_and_tokens():
    operator, x = model(), texts((5,))
    generated = generate(operator, x, 3, 4, [])
    three = torch.tensor([3])
    parts = [(5, 15), (1, 6), (1, 7), (1, 8)]  # positions, and pairs of one with what it sees
    expected = sum(
        core_flops(operator.sizes, three, torch.tensor([n]), torch.tensor([pairs]))
        for n, pairs in parts
    )
    torch.testing.assert_close(generated.flops, expected)


def test_gaps_are_filled_from_the_end():
    stays = torch.tensor([True, False, True, False, True, True])
    rows = without_gaps(stays)
    assert rows[:1].tolist() + rows[2:3].tolist() == [0, 2]  # these stay where they are
    assert sorted(rows.tolist()) == [0, 2, 4, 5]
    assert without_gaps(torch.tensor([True, True])).tolist() == [0, 1]
    assert without_gaps(torch.tensor([False, False])).tolist() == []


@pytest.mark.parametrize(
    ("x", "options", "error", "said"),
    [
        (texts((3, 4)), {"n_iter": 0}, ValueError, "`n_iter` must be at least 1, got 0"),
        (texts((3, 4)), {"max_new_tokens": 0}, ValueError, "`max_new_tokens` .* got 0"),
        (texts((3, 4)), {"rtol": -1.0}, ValueError, "`rtol` must be at least 0, or None, got -1"),
        (texts((3, 4)), {"rtol": 0.1, "cache": False}, ValueError, "`rtol` needs `cache=True`"),
        (texts((3, 40)), {}, DataError, "A prompt of 40 tokens leaves no room .* context of 40"),
        (
            TextInput(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 0])),
            {}, DataError, "A prompt is empty",
        ),
        (
            TextInput(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)),
            {}, DataError, "no prompt",
        ),
    ],
)  # fmt: skip
def test_prompts_and_numbers_out_of_range_are_refused(x, options, error, said):
    with pytest.raises(error, match=said):
        generate(model(), x, **({"n_iter": 2, "max_new_tokens": 3, "stop_tokens": []} | options))

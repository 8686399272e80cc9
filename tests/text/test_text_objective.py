"""Losses, scores and perturbations against numbers by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from text_problem import BYTES, batch_of, logits_of

from lit_implicit import Equilibrium, Picard, Unrolled
from lit_implicit.probes import measure_lipschitz_curve
from lit_implicit_text.objective import TextObjective
from lit_implicit_text.operator import LoopedTransformer
from lit_implicit_text.senses import senses

OBJECTIVE = TextObjective(width=8)
THREE = batch_of(("ab", "xyz"), ("c", "x"), ("quite long", "y"))


def test_loss_is_the_mean_cross_entropy_over_the_answer_in_nats():
    y = logits_of(THREE, [0.5, 0.25, 0.125])
    expected = torch.tensor([math.log(2), math.log(4), math.log(8)], dtype=torch.float64)
    for values in (OBJECTIVE.loss(y, THREE), OBJECTIVE.error(y, THREE)):
        assert torch.allclose(values, expected, rtol=1e-12)


def test_loss_is_torchs_sample_by_sample_and_blind_to_all_but_the_answer():
    y = torch.randn(3, THREE.target.shape[1], 258, dtype=torch.float64,
                    generator=torch.Generator().manual_seed(0))  # fmt: skip
    expected = torch.stack(
        [F.cross_entropy(y[i][k], THREE.target[i][k]) for i, k in enumerate(THREE.counted)]
    )
    assert torch.allclose(OBJECTIVE.loss(y, THREE), expected, rtol=1e-12)
    elsewhere = y.masked_fill(~THREE.counted[..., None], torch.nan)  # padding may hold anything
    assert torch.equal(OBJECTIVE.loss(elsewhere, THREE), OBJECTIVE.loss(y, THREE))
    assert torch.equal(OBJECTIVE.distance(elsewhere, y, THREE), torch.zeros(3).double())


def test_a_sample_of_nothing_to_learn_has_loss_zero():
    alone = batch_of(("a", "b"))
    alone.counted[:] = False
    assert OBJECTIVE.loss(logits_of(alone, [0.5]), alone).tolist() == [0.0]


def test_accuracy_and_exact_match_count_the_likeliest_tokens():
    wrong = torch.zeros_like(THREE.counted)
    wrong[0, 3] = True  # the second of four tokens of the first answer
    wrong[2, 0] = True  # in the third prompt, which nobody asks for
    y = logits_of(THREE, [0.9, 0.9, 0.9], wrong)
    scores = {name: score(y, THREE).tolist() for name, score in OBJECTIVE.scores.items()}
    assert scores == {"token_accuracy": [0.75, 1.0, 1.0], "exact_match": [0.0, 1.0, 1.0]}
    metrics = OBJECTIVE.metrics()
    for keep in (torch.tensor([True, False, False]), torch.tensor([False, True, True])):
        part = THREE.select(keep)
        metrics.update(preds=y[keep], target=part.target, batch=part)
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found == pytest.approx({"token_accuracy": 2.75 / 3, "exact_match": 2 / 3})


def test_a_prompt_without_a_known_answer_is_matched_by_none():
    batch = batch_of(("ab", "xyz"), ("c", None))
    y = logits_of(batch, [0.9, 0.9])
    assert OBJECTIVE.scores["exact_match"](y, batch).isnan().tolist() == [False, True]
    metrics = OBJECTIVE.metrics()
    metrics.update(preds=y, target=batch.target, batch=batch)
    assert metrics.compute()["exact_match"] == 1.0


def test_distance_is_the_norm_over_the_answer_and_counts_differing_tokens_of_targets():
    y = logits_of(THREE, [0.5, 0.5, 0.5])
    moved = y + 0.1
    expected = [0.1 * math.sqrt(258 * n) for n in (4, 2, 2)]
    assert OBJECTIVE.distance(y, moved, THREE).tolist() == pytest.approx(expected)
    target = THREE.target.clone()
    target[0, 2:4] += 1
    target[1, 0] += 1  # in a prompt
    assert OBJECTIVE.distance(target, THREE.target, THREE).tolist() == [2.0, 0.0, 0.0]


def test_perturbation_has_the_size_it_says_inside_the_text_alone():
    moved = TextObjective(width=8, step=0.5).perturb(
        THREE, "embedding", torch.Generator().manual_seed(1)
    )
    offset = moved.batch.x.offset
    assert offset.shape == (*THREE.x.tokens.shape, 8)
    assert moved.size.tolist() == pytest.approx([0.5] * 3)
    assert offset.norm(dim=(1, 2)).tolist() == pytest.approx([0.5] * 3)
    assert not offset[~THREE.x.inside()].any()
    assert offset[THREE.x.inside()].all(-1).any()
    assert THREE.x.offset is None
    assert moved.valid.all()
    with pytest.raises(KeyError, match="no mode 'word'"):
        OBJECTIVE.perturb(THREE, "word")


def test_a_perturbation_does_not_depend_on_batch_mates_and_padding():
    together, alone = (
        OBJECTIVE.perturb(batch, "embedding", torch.Generator().manual_seed(1)).batch.x.offset
        for batch in (THREE, THREE.select(torch.tensor([False, True, False])))
    )
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0, :3], together[1, :3])


def test_without_a_width_nothing_is_perturbed():
    blind = TextObjective()
    assert not blind.modes
    with pytest.raises(TypeError, match=r"set `model\.objective\.width`"):
        blind.leaves(THREE.x)


@pytest.mark.parametrize("key", ["width", "step", "max_new_tokens"])
def test_arguments_out_of_range_are_refused(key):
    with pytest.raises(ValueError, match=f"TextObjective.{key}` must be .*, got 0"):
        TextObjective(**{key: 0})


def test_embeddings_of_a_model_in_bfloat16_have_derivatives():
    operator = LoopedTransformer(258, 8, 2, context=16, mean_iter=2).bfloat16()
    (offset,) = OBJECTIVE.leaves(THREE.x)
    x = OBJECTIVE.with_leaves(THREE.x, (offset.requires_grad_(),))
    y, _ = Equilibrium(operator, Picard(max_iter=2), Unrolled())(x)
    (gradient,) = torch.autograd.grad(OBJECTIVE.loss(y, THREE).sum(), offset)
    assert gradient.dtype == torch.float32
    assert gradient[THREE.x.inside()].abs().sum() > 0


def test_every_answer_of_the_corpus_can_be_generated_whatever_the_tokenizer():
    # Of byte pairs there are fewer.
    longest = max(len(BYTES.answer(sense.explanation)) for sense in senses())
    assert longest <= TextObjective().max_new_tokens


def test_slopes_by_derivatives_agree_with_those_by_pairs():
    """At a small step the quotient along a direction is the derivative: here to 1e-4."""
    torch.manual_seed(0)
    operator = LoopedTransformer(258, 8, 2, context=16, mean_iter=2).double()
    objective = TextObjective(width=8, step=1e-5)
    curve = measure_lipschitz_curve(
        Equilibrium(operator, Picard()), objective, [THREE], 3, estimators=("pairs", "jacobian")
    )
    pairs, jacobian = curve.slopes["embedding"], curve.jacobian["embedding"]
    assert curve.target_slopes["embedding"] == 0.0
    assert pairs[1:].min() > 0
    assert torch.allclose(pairs, jacobian, rtol=1e-4)

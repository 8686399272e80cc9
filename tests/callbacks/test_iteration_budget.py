import pytest
import torch
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from lightning.pytorch import Trainer

from lit_implicit import ExplicitLightningModule, ImplicitLightningModule, IterationBudget, Picard
from lit_implicit.adjoints import Unrolled
from lit_implicit.errors import ConfigError


def test_draws_are_functions_of_seed_and_step():
    a, b = IterationBudget("uniform", 20), IterationBudget("uniform", 20)
    assert [a.draw(s) for s in range(50)] == [b.draw(s) for s in reversed(range(50))][::-1]
    assert [IterationBudget("uniform", 20, seed=1).draw(s) for s in range(50)] != [
        a.draw(s) for s in range(50)
    ]


def test_uniform_draws_cover_their_range():
    drawn = {IterationBudget("uniform", 6, 3).draw(step) for step in range(200)}
    assert drawn == {3, 4, 5, 6}


def test_fixed_is_fixed():
    assert {IterationBudget("fixed", 6).draw(step) for step in range(20)} == {6}


def test_a_ramp_rises_from_the_smallest_to_the_largest_and_stays():
    budget = IterationBudget("ramp", 8, 2, until_step=3)
    assert [budget.draw(step) for step in (0, 1, 2, 3, 4, 1000)] == [2, 4, 6, 8, 8, 8]


def test_lognormal_poisson_has_its_mean():
    budget = IterationBudget("lognormal_poisson", 10_000, mean=32.0)
    drawn = torch.tensor([float(budget.draw(step)) for step in range(4000)])
    # Standard deviation: sqrt(31 + 31^2 (e^0.25 - 1)) = 17.4; of the mean of 4000: 0.28.
    assert drawn.mean().item() == pytest.approx(32.0, abs=4 * 0.28)
    assert drawn.std().item() == pytest.approx(17.4, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_iter": 3, "min_iter": 4}, "min_iter=4, max_iter=3"),
        ({"min_iter": 0}, "min_iter=0"),
        ({"distribution": "lognormal_poisson"}, "mean` must be above 1"),
        ({"distribution": "ramp"}, "until_step` must be at least 1 for 'ramp', got None"),
    ],
)
def test_impossible_budgets_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        IterationBudget(**settings)


def trainer(tmp_path, *callbacks, **options):
    return Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        callbacks=list(callbacks), **options,
    )  # fmt: skip


def test_each_training_step_runs_its_drawn_budget(tmp_path):
    calls = []

    class Spy(AffineOperator):
        def forward(self, z, c):
            calls[-1] += torch.is_grad_enabled()
            return super().forward(z, c)

        def encode(self, x):
            calls.append(0)
            return x

    module = ImplicitLightningModule(Spy(), AffineObjective(), Picard(max_iter=3), Unrolled())
    budget = IterationBudget("uniform", 9, 2, seed=5)
    trainer(tmp_path, budget, limit_val_batches=0).fit(module, AffineData(n_samples=16))
    assert calls == [budget.draw(step) for step in range(4)]


def test_the_largest_budget_is_the_solvers_unless_given(tmp_path):
    solver = Picard(max_iter=7)
    module = ImplicitLightningModule(AffineOperator(), AffineObjective(), solver, Unrolled())
    budget = IterationBudget(min_iter=5)
    with pytest.raises(ConfigError, match="known only once training starts"):
        budget.draw(0)
    trainer(tmp_path, budget, limit_val_batches=0).fit(module, AffineData())
    assert {budget.draw(step) for step in range(100)} == {5, 6, 7}
    with pytest.raises(ConfigError, match="min_iter=9, max_iter=7"):
        trainer(tmp_path, IterationBudget(min_iter=9)).fit(module, AffineData())


def test_an_explicit_model_has_no_budget(tmp_path):
    module = ExplicitLightningModule(AffineNetwork(), AffineObjective())
    with pytest.raises(ConfigError, match="an explicit model does not iterate"):
        trainer(tmp_path, IterationBudget()).fit(module, AffineData())

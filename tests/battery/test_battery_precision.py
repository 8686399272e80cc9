"""Half and single precision: every solver, forward and backward; and Lightning."""

import pytest
import torch
from affine_task import AffineData, AffineObjective, AffineOperator
from battery_cases import GAIN, batch, each_kind, exact, parts_of, rows
from lightning.pytorch import Trainer
from problems import random

from lit_implicit import (
    GMRES,
    Anderson,
    Broyden,
    Equilibrium,
    Implicit,
    ImplicitLightningModule,
    Neumann,
    Picard,
)

FORWARD = {"picard": Picard, "damped": lambda **s: Picard(0.7, **s), "anderson": Anderson,
           "broyden": Broyden}  # fmt: skip
BACKWARD = {**FORWARD, "gmres": GMRES, "neumann": lambda **s: Neumann(60)}
EPS = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}
each_forward = pytest.mark.parametrize("forward", FORWARD)
each_backward = pytest.mark.parametrize("backward", BACKWARD)


def gradients(kind, forward, backward, dtype, autocast=False):
    parts = [(0.7 * a, b) for a, b in parts_of(kind)]
    operator, x, b = batch(kind, parts, dtype)
    settings = {"rtol": EPS[torch.bfloat16 if autocast else dtype], "max_iter": 60}
    solver, adjoint = FORWARD[forward](**settings), Implicit(BACKWARD[backward](**settings))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        z, solution = Equilibrium(operator, solver, adjoint)(x)
    v = random(*z.shape, seed=5).to(z.dtype)
    of_gain, of_b = torch.autograd.grad((v * z).sum(), [operator.gain, b])
    known, known_of_b, known_of_gain = exact(parts, rows(kind, v, parts))
    expected = [torch.cat(known), torch.cat(known_of_b), known_of_gain]
    found = [torch.cat(rows(kind, z, parts)), torch.cat(rows(kind, of_b, parts)), of_gain]
    errors = [
        ((a.double() - e).norm() / e.norm()).item() for a, e in zip(found, expected, strict=True)
    ]
    return errors, z, solution


@each_kind
@each_forward
@each_backward
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_true_low_precision(kind, forward, backward, dtype):
    errors, z, solution = gradients(kind, forward, backward, dtype)
    assert z.dtype == dtype
    assert solution.status.max() <= 1  # CONVERGED or MAX_ITER, at the rounding of the dtype
    assert solution.adjoint.status.max() <= 1
    # Rounding, over the distance 1 - 0.7 * 0.95 * 0.9 from a singular system.
    assert max(errors) < 20 * EPS[dtype], errors


@each_kind
@each_forward
@each_backward
def test_autocast(kind, forward, backward):
    errors, z, solution = gradients(kind, forward, backward, torch.float32, autocast=True)
    assert z.dtype == torch.float32
    assert solution.status.max() <= 1
    assert max(errors) < 20 * EPS[torch.bfloat16], errors


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "16-true", "64-true"])
@pytest.mark.parametrize("solver", [Picard(), Anderson(), Broyden()], ids=["p", "aa", "broyden"])
def test_lightning_trains_in_any_precision(tmp_path, precision, solver):
    module = ImplicitLightningModule(AffineOperator(), AffineObjective(), solver, Implicit())
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.1)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, max_epochs=8, precision=precision,
        inference_mode=False,
    )  # fmt: skip
    before = trainer.validate(module, AffineData(), verbose=False)[0]["val/error"]
    trainer.fit(module, AffineData())
    after = trainer.validate(module, AffineData(), verbose=False)[0]["val/error"]
    assert after < 0.6 * before  # it learns


def test_the_gain_of_the_cases_is_the_one_of_the_closed_form():
    operator, _, _ = batch("dense", parts_of("dense"))
    assert operator.gain.item() == GAIN

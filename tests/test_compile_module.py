"""`compile` in a Lightning module: the same training, checkpoints and measurements, told once."""

import pytest
import torch
from affine_task import AffineData, AffineObjective, AffineOperator
from lightning.pytorch import Trainer

from lit_implicit import Compile, ImplicitLightningModule, JacobianNorm, Picard
from lit_implicit.probes import TestTimeCurveProbe

SOLVER = Picard(rtol=1e-5, max_iter=40)
AOT = Compile(backend="aot_eager")


def module(compile=None, **settings):
    return ImplicitLightningModule(
        AffineOperator(0.4), AffineObjective(), SOLVER, compile=compile, **settings
    )


def fit(model, tmp_path):
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, AffineData())
    return trainer


def test_training_and_validation_are_those_of_the_plain_module(tmp_path):
    # A penalty of the Jacobian needs second derivatives, which compiled code has not.
    plain, compiled = (module(c, regularizers=[JacobianNorm(0.1)]) for c in (None, AOT))
    lines = []
    compiled.compiled.tell = lines.append
    one, other = fit(plain, tmp_path), fit(compiled, tmp_path)
    torch.testing.assert_close(plain.operator.weight, compiled.operator.weight)
    assert (plain.operator.weight - AffineOperator(0.4).weight).norm() > 1e-3
    for name, value in one.callback_metrics.items():
        torch.testing.assert_close(other.callback_metrics[name], value, rtol=1e-4, atol=1e-6)
    assert compiled.compiled.n_graphs == len(lines)
    assert 2 <= len(lines) <= 4  # in training without and with gradients, in validation
    assert all(line.startswith("Compiled G of AffineOperator in ") for line in lines)


def test_weights_go_from_one_to_the_other(tmp_path):
    plain, compiled = module(), module(AOT)
    fit(compiled, tmp_path)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    plain.load_state_dict(compiled.state_dict())
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(plain(x), compiled(x))
        assert compiled.compiled.n_graphs > 0
        compiled.compiled = None  # switched off by hand
        torch.testing.assert_close(plain(x), compiled(x))


def test_measurements_call_the_plain_operator():
    compiled = module(AOT).eval()
    probe = TestTimeCurveProbe(3)
    batch = next(iter(AffineData().test_dataloader()))
    with torch.inference_mode():
        probe.update(compiled.test_equilibrium, compiled.objective, batch)
    assert compiled.compiled.n_graphs == 0


@pytest.mark.parametrize("switch", ["reduce-overhead", "max-autotune"])
def test_on_a_cpu_modes_that_replay_graphs_are_their_neighbours(switch, monkeypatch):
    compiled, modes = module(switch), []
    monkeypatch.setattr(
        type(compiled.compiled), "_backend", lambda self, mode: modes.append(mode) or "eager"
    )
    with torch.no_grad():
        compiled(torch.ones(4, 3))
    neighbours = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}
    assert modes == [neighbours[switch]]

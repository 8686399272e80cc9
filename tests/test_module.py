import pytest
import torch
from affine_task import AffineData, AffineNetwork, AffineObjective, AffineOperator
from broken_operators import DropsSamples
from lightning.pytorch import Trainer
from torch import nn
from torchmetrics import MeanSquaredError, MetricCollection

from lit_implicit import (
    Anderson,
    Broyden,
    ExplicitLightningModule,
    Implicit,
    ImplicitLightningModule,
    Picard,
    Unrolled,
)
from lit_implicit.errors import (
    CheckpointError,
    ConfigError,
    ObjectiveError,
    OperatorError,
)


def trainer(tmp_path, **options):
    return Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, **options,
    )  # fmt: skip


@pytest.mark.parametrize("adjoint", [Implicit(), Unrolled()], ids=["implicit", "unrolled"])
def test_fit_finds_the_map_that_made_the_data(tmp_path, adjoint):
    module = ImplicitLightningModule(AffineOperator(), AffineObjective(), Picard(), adjoint)
    module.configure_optimizers = lambda: torch.optim.Adam(module.parameters(), lr=0.05)
    trainer(tmp_path, max_epochs=40, limit_val_batches=0).fit(module, AffineData())
    # The targets are the fixed points of z = z / 2 + x.
    assert torch.allclose(module.operator.weight, 0.5 * torch.eye(3), atol=0.02)


def test_test_settings_rule_all_but_training():
    solver = Anderson(max_iter=3, rtol=1e-2)
    module = ImplicitLightningModule(
        AffineOperator(), AffineObjective(), solver, test_max_iter=40, test_rtol=1e-6
    )
    assert module.train_equilibrium.solver == solver
    assert module.test_equilibrium.solver == Anderson(max_iter=40, rtol=1e-6)
    other = ImplicitLightningModule(
        AffineOperator(), AffineObjective(), solver, test_solver=Picard(), test_max_iter=7
    )
    assert other.test_equilibrium.solver == Picard(max_iter=7)
    x = torch.randn(4, 3)
    with torch.no_grad():
        assert torch.allclose(module(x), torch.linalg.solve(0.7 * torch.eye(3), x.T).T, rtol=1e-4)


class Failing(AffineOperator):
    """Samples whose first entry is above 50 become NaN."""

    def forward(self, z, c):
        return super().forward(z, c) * torch.where(c[:, :1] > 50, float("nan"), 1.0)


def training_step(x, tmp_path):
    module = ImplicitLightningModule(Failing(), AffineObjective(), Picard(), Implicit())
    module.log = lambda *args, **kwargs: logged.update({args[0]: args[1]})
    logged = {}
    loss = module.training_step((x, 2 * x), 0)["loss"]
    loss.backward()
    return loss.detach(), module.operator.weight.grad, logged


def test_failed_samples_are_counted_and_give_no_loss_and_no_gradient(tmp_path):
    x = torch.randn(4, 3)
    x[2, 0] = 100.0
    loss, gradient, logged = training_step(x, tmp_path)
    expected_loss, expected, _ = training_step(x[[0, 1, 3]], tmp_path)
    assert logged["train/n_failed"] == 1
    assert torch.allclose(loss, expected_loss)
    assert torch.allclose(gradient, expected, rtol=1e-5)


def test_a_batch_that_fails_whole_gives_zero_gradients_to_every_parameter(tmp_path):
    loss, gradient, logged = training_step(torch.full((2, 3), 100.0), tmp_path)
    assert loss == 0
    assert gradient is not None
    assert not gradient.any()
    assert logged["train/n_failed"] == 2


def test_a_batch_that_fails_whole_does_not_count_in_the_mean_loss():
    module = ImplicitLightningModule(Failing(), AffineObjective(), Picard(), Implicit())
    logged = {}
    module.log = lambda *args, **kwargs: logged.update({args[0]: args[1]})
    sound, failing = torch.randn(2, 3), torch.full((2, 3), 100.0)
    loss = module.training_step((sound, 2 * sound), 0)["loss"]
    module.training_step((failing, 2 * failing), 1)
    assert float(logged["train/loss"].compute()) == pytest.approx(loss.item(), rel=1e-6)


def test_a_record_that_is_nan_costs_its_own_loss_only(tmp_path):
    """Here the NaN enters the weights of `encode` and `decode`, not only G."""

    class Encoding(AffineOperator):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.into, self.out = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)

        def encode(self, x):
            return self.into(x)

        def decode(self, z, c):
            return self.out(z + c)

    def gradients(x):
        module = ImplicitLightningModule(Encoding(), AffineObjective(), Picard(), Implicit())
        module.log = lambda *args, **kwargs: logged.update({args[0]: args[1]})
        logged = {}
        module.training_step((x, 2 * x.nan_to_num()), 0)["loss"].backward()
        return [p.grad for p in module.parameters()], logged

    x = torch.randn(4, 3)
    x[2] = float("nan")
    with_it, logged = gradients(x)
    without, _ = gradients(x[[0, 1, 3]])
    assert logged["train/n_failed"] == 1
    for a, b in zip(with_it, without, strict=True):
        assert torch.allclose(a, b, rtol=1e-5)


def test_an_error_that_is_not_finite_shows_in_the_mean(tmp_path):
    class Undefined(AffineNetwork):
        def forward(self, x):
            return torch.where(x[:, :1] > 0, float("nan"), super().forward(x))

    run = trainer(tmp_path)
    run.test(ExplicitLightningModule(Undefined(), AffineObjective()), AffineData(), verbose=False)
    assert run.callback_metrics["test/error"].isnan()


def test_errors_are_means_over_samples_not_over_batches(tmp_path):
    module = ImplicitLightningModule(AffineOperator(), AffineObjective(), Picard(rtol=1e-6))
    data = AffineData(n_samples=5, batch_size=4)  # batches of 4 and 1
    run = trainer(tmp_path)
    run.test(module, data, verbose=False)
    x = next(iter(AffineData(n_samples=5, batch_size=5).test_dataloader()))
    with torch.no_grad():
        expected = module.objective.error(module(x[0]), x).mean()
    assert run.callback_metrics["test/error"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_objectives_own_metrics_are_logged_by_stage(tmp_path):
    class Measured(AffineObjective):
        def metrics(self):
            return MetricCollection({"mse": MeanSquaredError()})

    run = trainer(tmp_path)
    run.test(ExplicitLightningModule(AffineNetwork(), Measured()), AffineData(), verbose=False)
    assert run.callback_metrics["test/mse"] == pytest.approx(run.callback_metrics["test/loss"])


def test_init_weights_start_from_a_checkpoint(tmp_path):
    source = ImplicitLightningModule(AffineOperator(0.1), AffineObjective())
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": source.state_dict()}, path)
    module = ImplicitLightningModule(AffineOperator(0.9), AffineObjective(), init_weights=str(path))
    assert torch.equal(module.operator.weight, source.operator.weight)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        ExplicitLightningModule(AffineNetwork(), AffineObjective(), init_weights=str(path))
    with pytest.raises(CheckpointError, match=r"init_weights`: .*'nowhere.ckpt' does not exist"):
        ExplicitLightningModule(AffineNetwork(), AffineObjective(), init_weights="nowhere.ckpt")


def test_init_parts_take_parts_of_a_checkpoint_to_parts_of_the_model(tmp_path):
    source = ExplicitLightningModule(AffineNetwork(), AffineObjective())
    path, weights = str(tmp_path / "weights.ckpt"), source.network.linear.weight
    torch.save({"state_dict": source.state_dict()}, path)

    class Larger(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = AffineNetwork(), AffineNetwork()

    def make(parts, path=path):
        network = Larger()
        found = ExplicitLightningModule(network, AffineObjective(), path, init_parts=parts)
        return found.network

    network = make({"network.second.linear": "network.linear"})
    assert torch.equal(network.second.linear.weight, weights)
    assert not torch.equal(network.first.linear.weight, weights)
    twice = make({"network.first": "network", "network.second": "network"})
    assert torch.equal(twice.first.linear.weight, twice.second.linear.weight)
    both = make({"network.first": "network", "network.second.linear": "network.linear"})
    assert torch.equal(both.first.linear.weight, weights)
    starred = make({"network.*.linear": "network.linear"})
    assert torch.equal(starred.first.linear.weight, weights)
    assert torch.equal(starred.second.linear.weight, weights)
    with pytest.raises(ConfigError, match=r"no part 'network\.\*\.linear\.\*'"):
        make({"network.*.linear.*": "network.linear"})
    with pytest.raises(CheckpointError, match=r"no weights below 'net'. It holds: network.linear"):
        make({"network.first": "net"})
    with pytest.raises(ConfigError, match=r"no part 'network.third'. It has: .*network.second"):
        make({"network.third": "network"})
    with pytest.raises(CheckpointError, match=r"does not fit the model, 'network': "):
        make({"network": "network"})
    with pytest.raises(ConfigError, match="names parts of no checkpoint"):
        make({"network": "network"}, path=None)
    # Weights alone, as others publish them: the whole of the file is a part of the model.
    plain = tmp_path / "plain.pth"
    torch.save(source.network.state_dict(), plain)
    assert torch.equal(make({"network.second": ""}, str(plain)).second.linear.weight, weights)


def test_init_parts_find_a_shared_part_by_each_of_its_names(tmp_path):
    source = ExplicitLightningModule(AffineNetwork(), AffineObjective())
    path = str(tmp_path / "weights.ckpt")
    torch.save({"state_dict": source.state_dict()}, path)

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = AffineNetwork()
            self.second = self.first

    parts = {"network.second": "network"}
    network = ExplicitLightningModule(Tied(), AffineObjective(), path, init_parts=parts).network
    assert torch.equal(network.first.linear.weight, source.network.linear.weight)


@pytest.mark.parametrize("name", ["loss", "error"])
def test_a_mean_over_the_batch_is_refused(tmp_path, name):
    objective = AffineObjective()
    kept = getattr(objective, name)
    setattr(objective, name, lambda y, batch: kept(y, batch).mean())
    module = ImplicitLightningModule(AffineOperator(), objective, Picard())
    with pytest.raises(ObjectiveError, match=rf"AffineObjective.{name}. must return .* \(4,\)"):
        trainer(tmp_path, max_epochs=1).fit(module, AffineData())


def test_fit_validate_test_and_fit_again_share_one_module(tmp_path):
    """Evaluation resets metrics in inference mode; training cannot go on with such tensors."""
    module = ImplicitLightningModule(AffineOperator(), AffineObjective(), Picard(), Implicit())
    options = {"max_epochs": 1, "log_every_n_steps": 1}
    for method in ("validate", "fit", "test", "fit"):
        run = trainer(tmp_path, **options)
        getattr(run, method)(module, AffineData())
        assert run.state.finished


def test_an_adjoint_that_cannot_train_with_the_solver_is_refused_at_once():
    def module(solver, adjoint, **options):
        return ImplicitLightningModule(
            AffineOperator(), AffineObjective(), solver, adjoint, **options
        )

    with pytest.raises(ConfigError, match=r"cannot differentiate the steps of `Broyden\("):
        module(Broyden(), Unrolled())
    with pytest.raises(ConfigError, match=r"`Unrolled.last` must be at most .* 5, got 6"):
        module(Picard(max_iter=5), Unrolled(last=6))
    module(Picard(max_iter=5), Unrolled(last=5))
    module(Picard(), Unrolled(), test_solver=Broyden())  # evaluation differentiates nothing


def test_a_solve_of_other_samples_than_the_batch_is_refused(tmp_path):
    module = ImplicitLightningModule(DropsSamples(), AffineObjective(), Picard())
    for method in ("fit", "validate"):
        with pytest.raises(OperatorError, match=r"the 4 samples of the batch, .* holds 3"):
            getattr(trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0), method)(
                module, AffineData()
            )

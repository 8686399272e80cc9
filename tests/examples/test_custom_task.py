"""examples/custom_task in this process: its mathematics, its own test, its commands in brief."""

import csv
import re
import runpy
from pathlib import Path

import pytest
import torch

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
NO_CURVES = [f"--{m}=null" for m in ("test_time_curve", "lipschitz_curve", "regularity", "audit")]


def bisect(m, e):
    """Solve E - e sin E = M, which rises in E, by halving: not as the example does."""
    low, high = torch.zeros_like(m), torch.full_like(m, 4.0)
    for _ in range(60):
        middle = (low + high) / 2
        above = middle - e * middle.sin() > m
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return low


def test_newton_agrees_with_bisection(kepler):
    from kepler.data import eccentric_anomaly

    m = torch.cat([torch.logspace(-9, 0, 40, dtype=torch.float64), torch.linspace(1, torch.pi, 40)])
    m, e = torch.meshgrid(m.double(), torch.linspace(0, 0.999, 20).double(), indexing="ij")
    x = torch.stack([m.flatten(), e.flatten()], 1)
    # Near M = 0, e = 1 the slope is 1,000: rounding of M alone moves E by that much of it.
    assert torch.allclose(eccentric_anomaly(x), bisect(*x.T), rtol=0, atol=1e-11)


def test_targets_of_perturbed_orbits_have_the_known_slopes(kepler):
    """Implicit differentiation: dE/dM = 1 / (1 - e cos E), dE/de = sin E / (1 - e cos E)."""
    from kepler.data import KeplerData
    from kepler.objective import KeplerObjective

    data, objective = KeplerData(8, 8, 64), KeplerObjective()
    data.setup()
    batch = next(iter(data.test_dataloader()))
    x, big_e = batch[0].double(), bisect(*batch[0].double().T)
    assert torch.allclose(batch[1][:, 0].double(), big_e, atol=1e-6)  # float32
    slope = 1 / (1 - x[:, 1] * big_e.cos())
    assert slope.max() > 5
    for mode, exact in (("M", slope), ("e", slope * big_e.sin())):
        perturbed = objective.perturb([x, big_e[:, None]], mode)
        measured = (perturbed.batch[1][:, 0] - big_e) / perturbed.size
        assert torch.allclose(measured, exact, rtol=2e-2)  # a step of 1e-4, first order
        assert torch.allclose(perturbed.size, torch.tensor(1e-4).double())


def test_operator_is_as_simple_as_it_says(kepler):
    """|dG/dz| <= a and |dy_t/dx| <= 1 + a + ... + a^(t-1), by dense Jacobians."""
    from kepler.operator import KeplerOperator

    torch.manual_seed(0)
    operator = KeplerOperator(width=16, contraction_factor=0.8).double()
    for _ in range(50):  # of torch's power iteration, one a pass
        operator(torch.randn(3, 16).double(), operator.encode(torch.randn(3, 2).double()))
        operator.decode(torch.randn(3, 16).double(), None)
    operator.eval()

    def answer(x, t):
        c = operator.encode(x[None])
        z = operator.init_state(c)
        for _ in range(t):
            z = operator(z, c)
        return operator.decode(z, c)[0]

    for x in torch.randn(8, 2).double():
        c = operator.encode(x[None])
        jacobian = torch.func.jacrev(lambda z, c=c: operator(z[None], c)[0])(
            torch.randn(16).double()
        )
        assert torch.linalg.matrix_norm(jacobian, 2) <= 0.8 * (1 + 1e-3)
        for t in (1, 2, 5):
            slope = torch.func.jacrev(lambda x, t=t: answer(x, t))(x).norm()
            assert 0 < slope <= sum(0.8**k for k in range(t)) * (1 + 1e-2)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--data.e_max=1"], "`data.e_max` must be at least 0 and below 1, got 1.0"),
        (["--model.operator.contraction_factor=1.5"], "above 0 and below 1, got 1.5"),
        (["--model.operator.widht=3"], "Did you mean 'width'?"),
    ],
)
def test_mistakes_of_its_user_are_one_line(kepler, tmp_path, monkeypatch, capsys, args, sentence):
    from lit_implicit.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--task=kepler", *args]) == 2
    errors = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("Seed set")]
    assert len(errors) == 1
    assert sentence in errors[0]


@pytest.mark.slow
def test_it_passes_its_own_test(kepler, capsys):
    runpy.run_path(str(kepler / "tests" / "test_kepler.py"))["test_kepler"]()
    out = capsys.readouterr().out
    assert "0 failed" in out
    assert "passed   entry_point" in out


def test_readme_shows_what_check_says(kepler, capsys):
    from lit_implicit.cli import main

    assert main(["tasks", "--check", "kepler"]) == 0
    assert capsys.readouterr().out in (kepler / "README.md").read_text()


def test_links_of_the_readme_lead_somewhere():
    folder = Path(__file__).parents[2] / "examples" / "custom_task"
    links = re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text())
    assert len(links) >= 8
    assert [link for link in links if not (folder / link).exists()] == []


def test_brief_training_lowers_the_error(kepler, tmp_path):
    from lit_implicit.cli import main

    brief = ["--trainer.max_epochs=5", "--lr_scheduler.T_max=5", f"--run_dir={tmp_path}"]
    config = f"--config={kepler / 'kepler.yaml'}"
    assert main(["fit", config, *brief, "--test_after_fit=false", *QUIET, *NO_CURVES]) == 0
    with (tmp_path / "metrics.csv").open() as file:
        errors = [float(row["val/error"]) for row in csv.DictReader(file) if row["val/error"]]
    assert len(errors) == 5
    assert errors[-1] < 0.5 * errors[0]
    assert errors[-1] < 0.3  # radians; the mean of E is about 1.2


@pytest.mark.slow
def test_resumed_run_ends_at_the_same_weights(kepler, tmp_path):
    """Its order of training is a function of (seed, epoch)."""
    from lit_implicit.cli import main

    def fit(name, epochs, *args):
        rest = [f"--run_dir={tmp_path / name}", f"--trainer.max_epochs={epochs}"]
        config = [f"--config={kepler / 'kepler.yaml'}", "--data.n_train=512"]
        rest += ["--test_after_fit=false", "--trainer.log_every_n_steps=1"]
        rest += [*QUIET, *NO_CURVES]
        assert main(["fit", *config, *rest, *args]) == 0
        return tmp_path / name / "checkpoints" / "last.ckpt"

    whole = torch.load(fit("whole", 3), weights_only=True)["state_dict"]
    part = fit("part", 2)
    resumed = torch.load(fit("rest", 3, f"--ckpt_path={part}"), weights_only=True)["state_dict"]
    first = torch.load(part, weights_only=True)["state_dict"]
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert any(not torch.equal(whole[key], first[key]) for key in whole)

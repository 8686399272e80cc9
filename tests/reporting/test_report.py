"""report.json and the closing table."""

import json
from pathlib import Path

import pytest
import torch

from lit_implicit.reporting.report import count_parameters, environment, write_json
from lit_implicit.reporting.table import in_words, print_report

CONTENT = {
    "task": "affine",
    "seconds": {"fit": 2.0},
    "n_parameters": 1234,
    "device": "cpu: x86_64",
    "metrics": {"val": {"error": 0.12345}, "test": {"error": 0.5, "objective_gap": float("nan")}},
}


def test_json_is_valid_where_numbers_are_not_finite(tmp_path):
    write_json(
        {"a": float("inf"), "b": [float("nan"), 1.5], "c": Path("x")}, tmp_path / "a" / "b.json"
    )

    def refuse(text):
        raise ValueError(text)

    text = (tmp_path / "a" / "b.json").read_text()
    assert json.loads(text, parse_constant=refuse) == {"a": "inf", "b": ["nan", 1.5], "c": "x"}


def test_environment_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = environment(torch.device("cpu"))
    assert found["commit"] is None
    assert found["versions"]["torch"] == torch.__version__


def test_a_complex_parameter_counts_as_two_and_a_frozen_one_not_at_all():
    module = torch.nn.Linear(3, 2)
    module.wave = torch.nn.Parameter(torch.zeros(5, dtype=torch.complex64))
    assert count_parameters(module) == 6 + 2 + 2 * 5
    module.bias.requires_grad_(False)
    assert count_parameters(module) == 6 + 2 * 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("error", "error (lower is better)"),
        ("solve_time_s", "solve time (s)"),
        ("peak_memory_bytes", "peak memory (bytes)"),
        ("objective_gap", "objective gap"),
    ],
)
def test_metric_names_in_words(name, words):
    assert in_words(name) == words


def test_table_ends_with_the_directory(capsys):
    print_report(CONTENT, Path("runs/affine/now"))
    out = capsys.readouterr().out
    assert "1,234 parameters" in out
    assert out.splitlines()[-1] == str(Path("runs/affine/now"))
    rows = [line for line in out.splitlines() if "│" in line]
    assert [cell.strip() for cell in rows[0].strip("│").split("│")][1:] == ["0.1235", "0.5"]
    assert [cell.strip() for cell in rows[1].strip("│").split("│")] == ["objective gap", "", "nan"]


def test_only_rank_zero_prints(capsys, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    print_report(CONTENT, Path("runs/affine/now"))
    assert capsys.readouterr().out == ""


def test_curves_are_shown_at_powers_of_two(capsys):
    steps = [float(t) for t in range(11)]
    curves = {"t": steps, "error_mean": steps, "error_q10": steps, "lipschitz_b": steps}
    print_report(CONTENT, None, curves)
    out = capsys.readouterr().out
    rows = [line.strip("│").split("│") for line in out.splitlines() if line.startswith("│")]
    assert [int(row[0]) for row in rows] == [0, 1, 2, 4, 8, 10]
    assert len(rows[0]) == 3
    assert "L_t, b" in out
    assert "estimate from below" in out


def test_many_slopes_have_a_table_of_their_own_in_which_all_can_be_read(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    modes = "Abclu"
    curves = {"t": [0.0, 1.0], "error_mean": [1.0, 0.5], "relative_residual": [1.0, 0.1]}
    curves |= {"converged": [0.0, 0.0], "flops": [0.0, 2e6], "seconds": [0.0, 1e-3]}
    curves |= {f"lipschitz_{mode}": [0.0, 0.1234] for mode in modes}
    curves |= {f"jacobian_{mode}": [0.0, 0.5678] for mode in modes}
    curves["worst_pair"] = [float("nan"), 0.9876]
    print_report(CONTENT, None, curves)
    text = capsys.readouterr().out
    assert text.count("0.1234") == text.count("0.5678") == 5
    assert text.count("0.9876") == 1
    assert "nan" not in text
    assert "…" not in text
    assert "below by pairs, derivatives (Jacobian) and the worst pair found" in text
    assert "Cost of one iteration: 2 MFLOP, 1 ms per sample" in text


def test_rows_of_predict_are_a_table_in_which_all_can_be_read(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = ("program", "status", "objective", "primal", "dual", "gap", "n_iter")
    rows = [
        dict(zip(names, values, strict=True))
        for values in (
            ("adlittle", "OPTIMAL", 225494.963162, 9.871e-5, 1.234e-5, 3.21e-12, 15700),
            ("a_program_of_a_long_name", "INFEASIBLE", None, 0.0, float("inf"), float("nan"), 12),
        )
    ]
    print_report({**CONTENT, "predictions": rows}, None)
    out = capsys.readouterr().out
    for text in ("225494.96", "9.9e-05", "15700", "INFEASIBLE", "inf", "nan", "iterations"):
        assert text in out
    assert "…" not in out

"""Curves as files."""

import csv
import json
import math

import pytest
import torch

from lit_implicit.probes import TestTimeCurve
from lit_implicit.reporting.curves import write_curve
from lit_implicit.reporting.figures import draw_test_time_curve


def test_curve_files_hold_what_is_not_finite(tmp_path):
    """JSON has no number for it: a text stands there. In a CSV it is spelt as Python reads it."""
    from matplotlib.figure import Figure

    columns = {"t": [0.0, 1.0, 2.0], "error": [1.5, math.inf, math.nan]}
    settings = {"rtol": -math.inf, "solver": "Picard(β)"}
    write_curve(tmp_path / "new", "curve", columns, settings, Figure())

    def refuse(text):
        raise ValueError(text)

    text = (tmp_path / "new" / "curve.json").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=refuse)
    assert content["columns"] == {"t": [0.0, 1.0, 2.0], "error": [1.5, "inf", "nan"]}
    assert content["settings"] == {"rtol": "-inf", "solver": "Picard(β)"}
    with (tmp_path / "new" / "curve.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["error"]) == 1.5
    assert float(rows[1]["error"]) == math.inf
    assert math.isnan(float(rows[2]["error"]))
    assert (tmp_path / "new" / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("least", "scale"), [(0.1, "linear"), (0.001, "log")])
def test_errors_over_orders_of_magnitude_are_drawn_on_a_log_scale(least, scale):
    mean = torch.linspace(1, least, 5)
    per_t = dict.fromkeys(TestTimeCurve.__dataclass_fields__, mean)
    scores = {"decibels": -mean}
    settings = {"scores": scores, "n_samples": 3, "rtol": 1e-4, "batch_size": 3}
    top, middle, _ = draw_test_time_curve(TestTimeCurve(**{**per_t, **settings}), "title").axes
    assert middle.get_ylabel() == "decibels, mean"
    assert middle.lines[0].get_ydata().tolist() == (-mean).tolist()
    assert top.get_yscale() == scale
    assert ("log scale" in top.get_ylabel()) == (scale == "log")

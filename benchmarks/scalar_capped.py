"""Summarise runs of configs/scalar_capped.yaml and scalar_capped_explicit.yaml as CSV rows.

    python benchmarks/scalar_capped.py runs/capped_* > results/scalar/capped.csv

Each row is a run directory: its cap, seed and model; the exact bound of one pass; and, on the
run's own test points, the error and the largest slope |dy_t/dx| at some t (float64, derivatives,
plain Picard iteration; an explicit network has t = 1 alone). Below them, for each cap, the least
error that any function of that Lipschitz constant can have on those points, by linear programming:
min mean |y_i - F_i| / |F_i| subject to |y_{i+1} - y_i| <= cap (x_{i+1} - x_i).
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

import lit_implicit
from lit_implicit import ImplicitLightningModule
from lit_implicit.probes import iterates, jacobian_slopes
from lit_implicit_scalar.data import ScalarDataModule

TIMES = (1, 5, 10, 25, 50, 100)


def least_error(x: Tensor, f: Tensor, cap: float) -> float:
    """Return the least mean relative error of a function with Lipschitz constant `cap`.

    Args:
        x: Points, shape `(n,)`.
        f: Values of the target there.
        cap: The Lipschitz constant.
    """
    import highspy

    order = x.argsort()
    x, f, n = x[order].numpy(), f[order].numpy(), len(x)
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    y = [solver.addVariable(-highspy.kHighsInf, highspy.kHighsInf) for _ in range(n)]
    error = [solver.addVariable(0.0, highspy.kHighsInf, 1 / (n * abs(f[i]))) for i in range(n)]
    for i in range(n):
        solver.addConstr(error[i] - y[i] >= -float(f[i]))
        solver.addConstr(error[i] + y[i] >= float(f[i]))
    for i, step in enumerate(cap * np.diff(x)):
        solver.addConstr(y[i + 1] - y[i] <= float(step))
        solver.addConstr(y[i + 1] - y[i] >= -float(step))
    solver.run()
    return float(solver.getInfo().objective_function_value)


def measure(folder: Path) -> tuple[dict[str, object], ScalarDataModule]:
    """Measure the best checkpoint of a run on its test points.

    Args:
        folder: The run directory.
    """
    module = lit_implicit.load(folder / "checkpoints" / "best.ckpt").double()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    report = json.loads((folder / "report.json").read_text())
    data = ScalarDataModule(**{**config["data"]["init_args"], "dtype": "float64"})
    data.setup()
    batch, objective = data.batch("test"), module.objective
    row: dict[str, object] = {"seed": report["seed"], "n_parameters": report["n_parameters"]}
    row["fit_s"] = report["seconds"]["fit"]
    if isinstance(module, ImplicitLightningModule):
        layer, one_pass = module.test_equilibrium, module.operator.one_pass
        slopes = jacobian_slopes(layer, objective, batch, max(TIMES)).amax(1)
        with torch.no_grad():
            for t, item in enumerate(iterates(layer, batch.x, max(TIMES))):
                if t in TIMES:
                    row[f"error_{t}"] = float(objective.error(item.y, batch).mean())
                    row[f"slope_{t}"] = float(slopes[t])
            # Of y_100: near a residual of 0, y_t is the fixed point.
            row["residual_max_100"] = float(item.relative_residual.max())
    else:
        one_pass = module.network.one_pass
        x = batch.x.clone().requires_grad_()
        y = module(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        row["error_1"] = float(objective.error(y.detach(), batch).mean())
        row["slope_1"] = float(slope.abs().max())
    kind = "looped" if isinstance(module, ImplicitLightningModule) else "explicit"
    return {"model": kind, "cap": one_pass.cap, "pass_bound": one_pass.bound(), **row}, data


def main(folders: list[str]) -> None:
    """Write the rows to the standard output."""
    rows, floors = [], {}
    for folder in folders:
        row, data = measure(Path(folder))
        rows.append(row)
        floors[row["cap"]] = data.batch("test")
    for cap, batch in floors.items():
        floor = least_error(batch.x, batch.target, float(str(cap)))
        rows.append({"model": "least error of any", "cap": cap, "error_1": floor})
    rows.sort(key=lambda row: (str(row["model"]), float(str(row["cap"])), row.get("seed", 0)))
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(sys.stdout, list(names), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main(sys.argv[1:])

"""Runs of the paper's two networks, as their run directories tell of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_implicit.errors import DataError
from lit_implicit.reporting.comparison import RecordedRun, read_run

PAPER = {
    "explicit": {4: 0.397, 8: 0.273, 16: 0.283, 32: 0.318},
    "implicit": {4: 0.218, 8: 0.177, 16: 0.152, 32: 0.156},
}
"""Test errors of the paper's Table 1 by kind of network and width (arXiv:2510.03638)."""

_KINDS = {"LPGraphOperator": ("implicit", "operator"), "LPGraphNetwork": ("explicit", "network")}


@dataclass(frozen=True)
class TableRun:
    """A run of one of the paper's two networks.

    Args:
        recorded: What its run directory says.
        kind: `implicit` or `explicit`.
        width: Features of an embedded node.
    """

    recorded: RecordedRun
    kind: str
    width: int

    def row(self) -> dict[str, Any]:
        """Return the run as a row of the table."""
        report, metrics = self.recorded.report, self.recorded.metrics
        changed = "+" if report.get("changed_since_commit") else ""
        return {
            "network": self.kind,
            "width": self.width,
            "parameters": report.get("n_parameters"),
            "paper": PAPER[self.kind].get(self.width),
            "test error": metrics["test/error"],
            "std over programs": metrics.get("test/error_std"),
            "iterations": metrics.get("test/n_iter_mean"),
            "error at the end / least": metrics.get("test/over_iteration"),
            "seed": report.get("seed"),
            "seconds": round(sum((report.get("seconds") or {}).values())),
            "commit": (report.get("commit") or "")[:10] + changed,
            "run": str(self.recorded.folder),
        }


def read_table_run(folder: Path) -> TableRun:
    """Read the run directory of one of the two networks.

    Raises:
        DataError: If it is no run directory, or one of another model, or without a test.
    """
    recorded = read_run(folder)
    for name, (kind, key) in _KINDS.items():
        path = recorded.config.get(f"model.init_args.{key}.class_path")
        if str(path).rpartition(".")[2] != name:
            continue
        if "test/error" not in recorded.metrics:
            raise DataError(
                f"The run {str(folder)!r} has no `test/error`: it was not tested. Name one that "
                "`lit-implicit fit` has finished, or test its checkpoint by `lit-implicit test`."
            )
        width = recorded.config[f"model.init_args.{key}.init_args.width"]
        return TableRun(recorded, kind, int(width))
    raise DataError(
        f"The run {str(folder)!r} is none of Table 1: its model is neither "
        f"{' nor '.join(_KINDS)}. Name runs of configs/lp_gnn.yaml, configs/lp_explicit.yaml or "
        "configs/paper/lp_table1_*.yaml."
    )

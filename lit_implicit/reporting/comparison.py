"""Several runs side by side: their results and settings.

Read from report.json and config.yaml of each run directory. Needs neither torch nor Lightning.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lit_implicit.errors import DataError
from lit_implicit.reporting.config_differences import flat

_SEED = "seed_everything"
_FIXED = ("run", "status", "seed", "parameters", "seconds", "commit", "date")


@dataclass
class RecordedRun:
    """What a run directory says about its run.

    Args:
        folder: The run directory.
        report: The content of its report.json.
        config: The settings of its config.yaml, flat: `model.init_args.solver.class_path`, ...
    """

    folder: Path
    report: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """The final metrics of all stages, as `test/error`."""
        stages: Mapping[str, Mapping[str, Any]] = self.report.get("metrics") or {}
        return {
            f"{stage}/{name}": float(value)  # NaN and infinity are texts in JSON
            for stage, metrics in stages.items()
            for name, value in metrics.items()
        }

    def row(self) -> dict[str, Any]:
        """The run as a row of a table; a metric that it lacks is left out."""
        seconds = sum((self.report.get("seconds") or {}).values())
        changed = "+" if self.report.get("changed_since_commit") else ""
        values = (
            str(self.folder),
            self.report.get("status", ""),
            self.report.get("seed"),
            self.report.get("n_parameters"),
            round(seconds, 1),
            (self.report.get("commit") or "")[:8] + changed,
            str(self.report.get("date", ""))[:10],
        )
        return {**dict(zip(_FIXED, values, strict=True)), **self.metrics}


def read_run(folder: Path) -> RecordedRun:
    """Read a run directory.

    Args:
        folder: The directory that `fit`, `test`, ... printed last.

    Raises:
        DataError: If it is no run directory, or its files cannot be read.
    """
    path = folder / "report.json"
    if not path.is_file():
        inside = sorted(p.parent.name for p in folder.glob("*/report.json"))
        hint = f" It holds runs: {folder}/*, as {inside[0]!r}." if inside else ""
        raise DataError(
            f"{str(folder)!r} is no run directory: it has no report.json.{hint} Name folders that "
            "`lit-implicit fit` or `test` printed as their last line."
        )
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        config_path = folder / "config.yaml"
        text = config_path.read_text(encoding="utf-8") if config_path.is_file() else "{}"
        config = dict(flat(yaml.safe_load(text) or {}))
    except (OSError, ValueError, yaml.YAMLError) as err:
        raise DataError(f"The run directory {str(folder)!r} cannot be read: {err}") from err
    if not isinstance(report, dict):
        raise DataError(f"{str(path)!r} is not the report of a run: it holds no object.")
    return RecordedRun(folder, report, config)


def over_seeds(runs: Sequence[RecordedRun]) -> list[dict[str, Any]]:
    """Return a row for each set of runs that differ in nothing but their seed.

    Mean, least and greatest of each metric as `<metric>`, `<metric> min` and `<metric> max`. Left
    out are sets of one run or with a seed twice (the same weights again), and runs that were not
    completed. NaN in one run is NaN in all three.
    """
    groups: dict[str, list[RecordedRun]] = {}
    for run in runs:
        settings = {k: v for k, v in run.config.items() if not k.endswith(_SEED) and k != "run_dir"}
        if run.report.get("status") == "completed":
            # A `fit` and a `test` of its checkpoint are not two trainings.
            key = [settings, str(run.report.get("command")).split()[1:2]]
            groups.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(run)
    rows = []
    for group in groups.values():
        seeds = {run.report.get("seed") for run in group}
        if len(seeds) < len(group) or len(group) < 2:
            continue
        row: dict[str, Any] = {"run": f"{len(group)} seeds of {group[0].folder}"}
        for name in group[0].metrics:
            values = [run.metrics[name] for run in group if name in run.metrics]
            mean, least, greatest = statistics.fmean(values), min(values), max(values)
            if mean != mean:  # which value min and max return then depends on the order
                least = greatest = mean
            row |= {name: mean, f"{name} min": least, f"{name} max": greatest}
        rows.append(row)
    return rows


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of all columns that occur in rows, in the order of their appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))

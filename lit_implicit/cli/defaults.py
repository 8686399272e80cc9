"""What every command knows beyond LightningCLI: options, callbacks and a task's defaults."""

from typing import Any

from jsonargparse.typing import PositiveInt
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser

from lit_implicit.callbacks import (
    AuditMonitor,
    FailureGuard,
    Gallery,
    LipschitzCurveMonitor,
    OperatorCheck,
    RegularityMonitor,
    RolloutCurveMonitor,
    SolverMonitor,
    TestTimeCurveMonitor,
)
from lit_implicit.task import TaskSpec

_CHECKPOINT = {
    "monitor": "val/error",
    "mode": "min",
    "filename": "best",
    "save_last": True,
    "auto_insert_metric_name": False,
}


def add_options(parser: LightningArgumentParser) -> None:
    """Add the options that are no class's arguments."""
    parser.add_argument(
        "--task",
        type=str | None,
        default=None,
        help="An installed task (`lit-implicit tasks`): its data, objective and operator become "
        "the defaults.",
    )
    parser.add_argument(
        "--run_dir",
        type=str | None,
        default=None,
        help="Folder for all that the run writes (default: a new one, runs/<task>/<time>).",
    )
    parser.add_argument(
        "--n_threads",
        type=PositiveInt | None,
        default=None,
        help="CPU threads of torch; small models are fastest with 1 (default: torch's own choice).",
    )
    parser.add_argument(
        "--test_after_fit",
        type=bool,
        default=True,
        help="Whether `fit` ends with a test of the best checkpoint.",
    )


def add_callbacks(parser: LightningArgumentParser) -> None:
    """Add the callbacks that every run has; `--solver_monitor null` switches one off."""
    _add(parser, "checkpoint", ModelCheckpoint, _CHECKPOINT)
    _add(parser, "operator_check", OperatorCheck)
    _add(parser, "failure_guard", FailureGuard)
    _add(parser, "solver_monitor", SolverMonitor)
    _add(parser, "test_time_curve", TestTimeCurveMonitor)
    _add(parser, "lipschitz_curve", LipschitzCurveMonitor)
    _add(parser, "regularity", RegularityMonitor)
    _add(parser, "audit", AuditMonitor)
    _add(parser, "rollout_curve", RolloutCurveMonitor)
    _add(parser, "gallery", Gallery)


def _add(
    parser: LightningArgumentParser, key: str, kind: type, init_args: dict[str, Any] | None = None
) -> None:
    # `add_lightning_class_args` would do the same, but without a way to switch the callback off.
    default = {"class_path": f"{kind.__module__}.{kind.__name__}", "init_args": init_args or {}}
    parser.add_argument(
        f"--{key}", type=kind | None, default=default, help=f"{kind.__name__}, or null for none."
    )
    parser.callback_keys.append(key)


def defaults_of(spec: TaskSpec | None) -> dict[str, Any]:
    """Return the defaults for data and model; named one by one, each can be changed alone."""
    init_args: dict[str, Any] = {
        "solver": {"class_path": "lit_implicit.Anderson"},
        "adjoint": {"class_path": "lit_implicit.Implicit"},
    }
    defaults: dict[str, Any] = {}
    if spec:
        init_args["operator"] = {"class_path": spec.default_operator}
        init_args["objective"] = {"class_path": spec.objective}
        defaults["data"] = {"class_path": spec.data}
    path = "lit_implicit.ImplicitLightningModule"
    return {**defaults, "model": {"class_path": path, "init_args": init_args}}

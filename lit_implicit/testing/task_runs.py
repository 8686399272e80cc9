"""Checks that run a task from the command line, briefly: fit, load, predict."""

import contextlib
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_implicit.testing.check import BrokenError, NotApplicableError, describe
from lit_implicit.testing.task_case import TaskCase
from lit_implicit.testing.trees import floats_in

_TRAINER = {
    "max_epochs": 1, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 1,
    "enable_progress_bar": False, "enable_model_summary": False,
    **{f"limit_{stage}_batches": 2 for stage in ("train", "val", "test", "predict")},
}  # fmt: skip


def fit(case: TaskCase) -> str:
    """`lit-implicit fit` trains the task for two batches, tests it, and measures its curves."""
    if case.trainable is None:
        raise NotApplicableError("No operator has parameters to train.")
    _run(case, "fit")
    folder = case.folder / "fit"
    case.checkpoint = next(folder.glob("checkpoints/*.ckpt"), None)
    if case.checkpoint is None:
        raise BrokenError("`fit` leaves no checkpoint. Is `val/loss` or `val/error` NaN?")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for stage in ("val", "test"):
        metrics = report["metrics"].get(stage, {})
        for name, value in metrics.items():
            if name in ("loss", "error") and not abs(value) < float("inf"):
                raise BrokenError(f"After two training batches, {stage}/{name} is {value}.")
    pictures = sorted(p.name for p in folder.glob("figures/*.png"))
    return f"operator {case.trainable[0]}; {', '.join(pictures)}"


def reload(case: TaskCase) -> None:
    """`lit_implicit.load` rebuilds the model from its checkpoint, and it answers the same."""
    from lit_implicit.loading import load

    if case.checkpoint is None:
        raise NotApplicableError("There is no checkpoint: `fit` did not run.")
    answers = []
    for _ in range(2):
        model = load(case.checkpoint)
        with torch.no_grad():
            answers.append(floats_in(model(case.objective.inputs(case.batch))))
    for place, y in answers[0].items():
        if not isinstance(y, Tensor) or not torch.equal(y, answers[1][place]):
            raise BrokenError(
                f"Loaded twice, the model answers differently (y{place}): something that it "
                "answers by is drawn when it is made, and is not in its weights. Register it as a "
                "buffer."
            )


def predict(case: TaskCase) -> str:
    """`lit-implicit predict` writes the answers of a trained model."""
    if case.checkpoint is None:
        raise NotApplicableError("There is no checkpoint: `fit` did not run.")
    _run(case, "predict", "--ckpt_path", str(case.checkpoint))
    written = sorted(p.name for p in (case.folder / "predict" / "predictions").rglob("*"))
    if not written:
        raise BrokenError("`predict` writes no file. Does `predict_dataloader` give batches?")
    return ", ".join(written[:4]) + (", ..." if len(written) > 4 else "")


def _run(case: TaskCase, command: str, *args: str) -> None:
    from lit_implicit.cli import main

    config = case.folder / f"{command}.yaml"
    # JSON is YAML, and has tuples as lists.
    config.write_text(json.dumps(_settings(case, command)), encoding="utf-8")
    errors = io.StringIO()
    with _quiet(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            code = main([command, "--config", str(config), *args])
        except Exception as err:
            raise BrokenError(f"`{command}` fails: {describe(err)}") from err
    if code:
        lines = errors.getvalue().strip().splitlines()
        raise BrokenError(f"`{command}` fails: {lines[-1] if lines else f'exit code {code}'}")


def _settings(case: TaskCase, command: str) -> dict[str, Any]:
    assert case.trainable is not None
    name, spec = case.trainable[0], case.spec
    settings: dict[str, Any] = {
        "seed_everything": 0,
        "run_dir": str(case.folder / command),
        "model": {
            "class_path": "lit_implicit.ImplicitLightningModule",
            "init_args": {
                "operator": _part(spec.operators[name], case.operator_args.get(name, {})),
                "objective": _part(spec.objective, case.objective_args),
                "solver": {"class_path": "lit_implicit.Anderson", "init_args": {"max_iter": 4}},
            },
        },
        "data": _part(spec.data, case.data_args),
        "trainer": _TRAINER,
    }
    return {"task": case.task, **settings} if isinstance(case.task, str) else settings


def _part(class_path: str, arguments: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": dict(arguments)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave logging and environment as they were: a run speaks to those who started it."""
    loggers = [logging.getLogger(name) for name in ("lightning.fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    environment, here, threads = dict(os.environ), Path.cwd(), torch.get_num_threads()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(here)
        torch.set_num_threads(threads)

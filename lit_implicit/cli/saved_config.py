"""The settings of a run, kept where they are needed: beside its results and in its checkpoints."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn

from lit_implicit.errors import CheckpointError, LitImplicitWarning
from lit_implicit.files import replace_whole
from lit_implicit.loading import CONFIG_KEY
from lit_implicit.reporting.config_differences import UNSET, differences, flat


class SavedConfig(SaveConfigCallback):
    """Write config.yaml into the run directory and the same text into every checkpoint.

    The text names every class by its full path, so that neither a task nor its entry point is
    needed to read it. It leaves out `run_dir`: who runs it again gets a new folder.

    Args:
        parser: The parser that read the settings.
        config: The settings.
        folder: The run directory.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, folder: Path) -> None:
        super().__init__(parser, config, save_to_log_dir=False)
        self._folder = folder
        config = config.clone()
        config["run_dir"] = None
        # A null is a setting: `solver_monitor: null` switches a callback off.
        self.text: str = parser.dump(config, skip_none=False)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file; called on rank zero, once."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with replace_whole(self._folder / self.config_filename) as file:
            file.write(self.text.encode())

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the text to a checkpoint, for `lit_implicit.load`."""
        checkpoint[CONFIG_KEY] = self.text

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to go on training with what the checkpoint would override in silence.

        Of a test or a prediction nothing is refused: they take the weights alone.

        An optimizer's state holds its learning rate and all its other settings, a scheduler's too.

        Raises:
            CheckpointError: If it holds weights alone, or is of another optimizer or scheduler.
        """
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if not checkpoint.get("optimizer_states") or not checkpoint.get("loops"):
            raise CheckpointError(
                "The checkpoint holds weights, but no state of a training that could go on. To "
                "begin a training from its weights, give `--model.init_weights` in place of "
                "`--ckpt_path`."
            )
        if CONFIG_KEY not in checkpoint:
            return
        changes = list(_changes(checkpoint[CONFIG_KEY], self.text))
        fixed = [change for change in changes if change.startswith(("optimizer", "lr_scheduler"))]
        if fixed:
            raise CheckpointError(
                "Training goes on with the optimizer and the scheduler of the checkpoint, but the "
                f"settings ask for others: {'; '.join(fixed)}. Leave them as they were; or, to "
                "change them, begin with the weights alone: `--model.init_weights` in place of "
                "`--ckpt_path`."
            )
        if changes:
            warnings.warn(
                "Training goes on with other settings than those it was begun with, so it ends "
                f"otherwise than one that was not stopped: {'; '.join(changes)}.",
                LitImplicitWarning,
                stacklevel=2,
            )


def _changes(was: str, now: str) -> Iterator[str]:
    """Yield in words what differs between two configs and matters to a training that goes on.

    An argument that one class of the same name lacks is none: another version may know more.
    """
    keys = ("optimizer", "lr_scheduler", "data", "model", "seed_everything")
    # Null is what stands for "none was named", beside a class with arguments.
    parts = [{k: v for k in keys if (v := yaml.safe_load(text).get(k))} for text in (was, now)]
    for key, (old, new) in differences([dict(flat(part)) for part in parts]).items():
        lacks = UNSET in (old, new) and ".init_args." in f".{key}"
        begun = "init_weights" in key or "init_parts" in key  # the checkpoint has all weights
        if not lacks and not begun:
            short = key.replace("init_args.", "").removesuffix(".class_path")
            yield f"{short} was {old}, is {new}"

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
        theirs = yaml.safe_load(checkpoint.get(CONFIG_KEY) or "{}")
        ours = yaml.safe_load(self.text)
        for key in ("optimizer", "lr_scheduler") if theirs else ():
            was, wanted = _different(theirs.get(key), ours.get(key))
            if was != wanted:
                raise CheckpointError(
                    f"Training goes on with the checkpoint's `{key}`, {_in_words(was)}, but the "
                    f"settings ask for {_in_words(wanted)}. Leave it as it was; or, "
                    "to change it, begin with the weights alone: `--model.init_weights` in place "
                    "of `--ckpt_path`."
                )
        changes = [
            change
            for key in ("data", "model", "seed_everything")
            for change in _changes(theirs.get(key), ours.get(key), key)
        ]
        if theirs and changes:
            warnings.warn(
                "Training goes on with other settings than those it was begun with, so it ends "
                f"otherwise than one that was not stopped: {'; '.join(changes)}.",
                LitImplicitWarning,
                stacklevel=2,
            )


def _changes(was: Any, now: Any, key: str) -> Iterator[str]:
    """Yield what is different in two configs, by key; the weights of the start do not count."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name in sorted({*was, *now} - {"init_weights"}):
            short = key if name in ("init_args", "class_path") else f"{key}.{name}"
            yield from _changes(was.get(name), now.get(name), short)
    elif was != now:
        yield f"{key} was {was}, is {now}"


def _different(was: Any, wanted: Any) -> tuple[Any, Any]:
    """Leave out the arguments that one of them has not: another torch may know more of them."""
    if not was or not wanted or was["class_path"] != wanted["class_path"]:
        return was, wanted
    old, new = was.get("init_args", {}), wanted.get("init_args", {})
    names = [name for name in old if name in new and old[name] != new[name]]
    kept = ({name: part[name] for name in names} for part in (old, new))
    was, wanted = ({"class_path": was["class_path"], "init_args": part} for part in kept)
    return was, wanted


def _in_words(part: dict[str, Any] | None) -> str:
    if not part:
        return "the default"
    arguments = ", ".join(f"{k}={v}" for k, v in part.get("init_args", {}).items())
    return f"{part['class_path'].rpartition('.')[2]}({arguments})"

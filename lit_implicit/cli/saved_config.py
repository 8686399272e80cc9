"""The settings of a run, kept where they are needed: beside its results and in its checkpoints."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

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
        (self._folder / self.config_filename).write_text(self.text, encoding="utf-8")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the text to a checkpoint, for `lit_implicit.load`."""
        checkpoint[CONFIG_KEY] = self.text

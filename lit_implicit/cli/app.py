"""The LightningCLI behind the commands: defaults, run directory, loggers, callbacks."""

import sys
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_implicit import registry
from lit_implicit.callbacks.epoch_lines import EpochLines
from lit_implicit.callbacks.prediction_writer import PredictionWriter
from lit_implicit.callbacks.run_report import RunReport
from lit_implicit.checkpoint_io import WholeCheckpointIO, check_is_archive
from lit_implicit.cli.defaults import add_callbacks, add_options, defaults_of
from lit_implicit.cli.first_pass import COMMANDS, Request
from lit_implicit.cli.messages import origin, refusal
from lit_implicit.cli.parser import OneLineParser
from lit_implicit.cli.run import Run
from lit_implicit.cli.run_directory import make_run_directory
from lit_implicit.cli.saved_config import SavedConfig
from lit_implicit.cli.summary import RunSummary
from lit_implicit.cli.trainer import CurveTrainer
from lit_implicit.errors import ConfigError
from lit_implicit.module import AbstractLightningModule
from lit_implicit.reporting.loggers import run_loggers


class ImplicitCLI(LightningCLI):
    """Parse, build, run.

    Args:
        request: What the first pass found.
        run: Filled in on the way; it outlives an exception.
    """

    def __init__(self, request: Request, run: Run) -> None:
        self.request, self.run = request, run
        if request.task and request.spec:
            registry.load_classes(request.task, request.spec)  # from now on, short names are known
        super().__init__(
            model_class=AbstractLightningModule,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=CurveTrainer,
            trainer_defaults={
                "enable_autolog_hparams": False,  # config.yaml holds them all
                "max_epochs": 50,  # Lightning's own is a thousand
            },
            save_config_callback=SavedConfig,
            seed_everything_default=0,
            parser_class=OneLineParser,
            args=list(request.argv),
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the commands and, for each, the Trainer's arguments that it leaves out.

        What is left is the same for all, so that the config of a `fit` serves every other command.
        A command's parser takes a while to make: only a config in front of the command may speak of
        others.
        """
        skip = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule"}
        skip |= {"verbose", "return_predictions"}
        only = self.request.argv[0] == self.request.command
        return {name: skip for name in ([self.request.command] if only else COMMANDS)}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser that knows the short names of the task."""
        parser = super().init_parser(**kwargs)
        assert isinstance(parser, OneLineParser)
        parser.spec = self.request.spec
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our options and callbacks, and the defaults that the task gives."""
        add_options(parser)
        add_callbacks(parser)
        parser.set_defaults(defaults_of(self.request.spec))

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse `args`; unlike the base class, do not mind that the process has arguments too."""
        assert isinstance(args, list)
        self.config = parser.parse_args(args)
        seed = self.config.get(f"{self.request.command}.seed_everything")
        if not isinstance(seed, bool) and seed is not None and not 0 <= seed < 2**32:
            raise ConfigError(f"`seed_everything` must be from 0 to 4294967295, got {seed}.")

    def _parse_ckpt_path(self) -> None:
        """A checkpoint gives weights, never settings: do not read any from it.

        The base class lets the hyper-parameters of a checkpoint beat the command line, silently.
        """

    def before_instantiate_classes(self) -> None:
        """Make the run directory, if anything is going to be written."""
        self.run.ckpt_path = self._get(self.config, "ckpt_path")
        _check_exists(self.run.ckpt_path)
        if self.run.ckpt_path is not None:
            # It has all weights: the file that training began with may be gone.
            arguments = self._get(self.config, "model").init_args
            for name in ("init_weights", "init_parts"):
                if name in arguments:
                    arguments[name] = None
        n_threads = self._get(self.config, "n_threads")
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        if self._get(self.config, "trainer").fast_dev_run:
            return
        given = self._get(self.config, "run_dir")
        name = self.request.task or _model_name(self._get(self.config, "model"))
        folder = make_run_directory(given, name, self.request.command)
        self.run.folder = folder
        self.save_config_kwargs = {"folder": folder}

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; a value that a class refuses is its user's to change."""
        try:
            super().instantiate_classes()
        except Exception as err:
            if found := refusal(err):
                kind, text = found
                raise kind(text) from err
            raise origin(err) from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with the loggers and callbacks of a run."""
        config = self._get(self.config_init, "trainer")
        parser = self._parser(self.subcommand)
        parser.callback_keys = [key for key in parser.callback_keys if self._wants(key)]
        folder = self.run.folder
        self.run.report = RunReport(
            folder, self.run.line, self.request.task, self._get(self.config, "seed_everything")
        )
        self.trainer_defaults["callbacks"] = [self.run.report, self.run.on_signal]
        if config.enable_progress_bar is not False and not sys.stdout.isatty():
            self.trainer_defaults["callbacks"].append(EpochLines())
        if config.enable_model_summary is not False:
            self.trainer_defaults["callbacks"].append(RunSummary())
            kwargs["enable_model_summary"] = False  # no second one
        if folder is not None:
            self.trainer_defaults["callbacks"].append(PredictionWriter(folder / "predictions"))
            if config.logger in (None, True):
                kwargs["logger"] = run_loggers(folder)
            if config.default_root_dir is None:
                kwargs["default_root_dir"] = str(folder)
            checkpoint = self._get(self.config_init, "checkpoint")
            if isinstance(checkpoint, ModelCheckpoint) and checkpoint.dirpath is None:
                checkpoint.dirpath = str(folder / "checkpoints")
        trainer = super().instantiate_trainer(**kwargs)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # none was asked for
            trainer.strategy.checkpoint_io = WholeCheckpointIO()
        self.run.trainer = trainer
        return trainer

    def _wants(self, key: str) -> bool:
        if self._get(self.config_init, key) is None:
            return False
        # A fast_dev_run has no folder, but would still write its last weights.
        keeps = self.request.command == "fit" and self.run.folder is not None
        off = self._get(self.config, "trainer").enable_checkpointing is False
        return key != "checkpoint" or (keeps and not off)

    def _say_if_untrained(self) -> None:
        """Warn where a command measures weights that nothing has trained."""
        arguments = self._get(self.config, "model").init_args
        whole = arguments.get("init_weights") and not arguments.get("init_parts")
        given = self._get(self.config, "ckpt_path") or whole
        trained = given or not any(p.requires_grad for p in self.model.parameters())
        if not trained and self.trainer.is_global_zero:
            command = self.request.command
            print(  # noqa: T201
                f"warning: `{command}` runs with untrained weights: no `--ckpt_path` was given.",
                file=sys.stderr,
            )

    # LightningCLI calls these before it runs the command of that name.
    before_validate = before_test = before_predict = before_curve = _say_if_untrained

    def validate(self, **kwargs: Any) -> None:
        """Run the command `validate`; our own table stands in for Lightning's."""
        self.trainer.validate(verbose=False, **kwargs)

    def test(self, **kwargs: Any) -> None:
        """Run the command `test`."""
        self.trainer.test(verbose=False, **kwargs)

    def predict(self, **kwargs: Any) -> None:
        """Run the command `predict`; the answers are written, not kept in memory."""
        self.trainer.predict(return_predictions=False, **kwargs)

    def curve(self, **kwargs: Any) -> None:
        """Run the command `curve`."""
        assert isinstance(self.trainer, CurveTrainer)
        self.run.curves = self.trainer.curve(**kwargs)

    def after_fit(self) -> None:
        """Test with the best checkpoint, or with the last weights where none was kept."""
        wanted = self._get(self.config, "test_after_fit")
        has_test = is_overridden("test_dataloader", self.datamodule, LightningDataModule)
        if self.run.folder is None or self.trainer.interrupted or not wanted or not has_test:
            return
        checkpoint = self.trainer.checkpoint_callback
        best = isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_path
        self.test(model=self.model, datamodule=self.datamodule, ckpt_path="best" if best else None)


def _check_exists(ckpt_path: str | None) -> None:
    """Complain about a missing checkpoint before anything is built.

    Names as 'last', by which Lightning looks for files of an earlier run, are none: each run has a
    folder of its own.
    """
    if ckpt_path is not None and "://" not in ckpt_path:
        check_is_archive(Path(ckpt_path))


def _model_name(model: Any) -> str:
    """Name the runs of a model without a task after its operator or network."""
    init_args = model.get("init_args", {})
    inner = init_args.get("operator") or init_args.get("network")
    path: str = (inner or model)["class_path"]
    return path.rpartition(".")[2]

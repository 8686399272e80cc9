"""The parser: LightningCLI's, but strict about names and with one line for an error."""

from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from lit_implicit.cli.messages import explain
from lit_implicit.errors import ConfigError


class OneLineParser(LightningArgumentParser):
    """A parser that raises `ConfigError` with one line, and takes no abbreviated options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Else `--trainer.max_epoch` is taken for `--trainer.max_epochs`, or an option of ours that
        # is added later changes what a script means.
        self.allow_abbrev = False

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise; but let the parsers that jsonargparse makes for its own trials report as usual."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        raise ConfigError(explain(message, parser)) from ex

"""The parser: LightningCLI's, but strict about names and with one line for an error."""

from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lit_implicit.cli.first_pass import COMMANDS
from lit_implicit.cli.messages import explain
from lit_implicit.cli.short_names import in_yaml
from lit_implicit.errors import ConfigError
from lit_implicit.task import TaskSpec


class OneLineParser(LightningArgumentParser):
    """A parser that raises `ConfigError` with one line, and takes no abbreviated options.

    In configs it knows the short names of the task `spec`, where one is set.
    """

    spec: TaskSpec | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Else `--trainer.max_epoch` is taken for `--trainer.max_epochs`, or an option of ours that
        # is added later changes what a script means.
        self.allow_abbrev = False

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Namespace:
        """Parse the text of a config."""
        if self.spec:
            content = in_yaml(content, self.spec, COMMANDS)
        parsed: Namespace = super().parse_string(content, *args, **kwargs)
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise; but let the parsers that jsonargparse makes for its own trials report as usual."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        raise ConfigError(explain(message, parser)) from ex

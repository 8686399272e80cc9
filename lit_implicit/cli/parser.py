"""The parser: LightningCLI's, but strict about names and with one line for an error."""

from typing import Any, NoReturn

from jsonargparse import ArgumentError, Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lit_implicit.cli.empty_keys import without_value
from lit_implicit.cli.first_pass import COMMANDS
from lit_implicit.cli.messages import explain, refusal, unknown_key
from lit_implicit.cli.setting_names import with_keys
from lit_implicit.cli.short_names import in_yaml
from lit_implicit.errors import ConfigError, LitImplicitError
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
        for key, alone in without_value(content):
            self._check_name(key, alone, *args, **kwargs)
        parsed: Namespace = super().parse_string(content, *args, **kwargs)
        return parsed

    def _check_name(self, key: str, alone: str, *args: Any, **kwargs: Any) -> None:
        """Refuse an unknown key that has nothing below it, which would go unseen."""
        known = [action.dest for action in self._actions if not action.dest.endswith(".help")]
        # A class judges what is below its key; a group, as `trainer`, has its keys listed.
        groups = {dest.rpartition(".")[0] for dest in known}
        inside = any(f"{key}.".startswith(f"{d}.") for d in known if d not in groups)
        if not inside and not any(f"{dest}.".startswith(f"{key}.") for dest in known):
            if self._subcommands_action and key.partition(".")[0] in COMMANDS:
                return  # in front of the command: its own parser will see them
            raise ConfigError(unknown_key(key, self))
        try:
            super().parse_string(alone, *args, **kwargs)
        except (ConfigError, ArgumentError) as err:
            # What else is wrong with the key alone, as that it may not be null, is no mistake.
            if f"'{key}'" in str(err) or f"'{key.rpartition('.')[2]}'" in str(err):
                raise

    def instantiate(self, namespace: Namespace, *args: Any, **kwargs: Any) -> Namespace:
        """Build the classes; what one refuses is told by the key that its user wrote."""
        try:
            made: Namespace = super().instantiate(namespace, *args, **kwargs)
        except (ValueError, LitImplicitError) as err:
            cause = refusal(err) if self.exit_on_error else None
            if cause is None:
                raise
            kind, text = cause
            raise kind(with_keys(text, namespace)) from err
        return made

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise; but let the parsers that jsonargparse makes for its own trials report as usual."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        raise ConfigError(explain(message, parser)) from ex

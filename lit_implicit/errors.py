"""Errors that a user can cause, each with one line that says what to do next.

Everything here derives from `LitImplicitError`; the command line prints its message alone and
exits with code 2, library code sees an ordinary exception. Standard library only.
"""


class LitImplicitError(Exception):
    """Base of all errors that name a user's mistake and its remedy."""


class ConfigError(LitImplicitError):
    """A configuration (YAML or command line) asks for something that cannot be done."""


class TaskError(LitImplicitError):
    """Base of the errors about registered tasks."""


class TaskNotFoundError(TaskError):
    """No installed distribution registers a task of this name."""


class DuplicateTaskError(TaskError):
    """Two installed distributions register a task of the same name."""


class BrokenTaskError(TaskError):
    """A task is registered, but it cannot be loaded or is not a valid `TaskSpec`."""


class MissingExtraError(TaskError):
    """A task's own libraries are not installed."""


class DataError(LitImplicitError):
    """Data cannot be made or read as the settings ask."""


class CheckpointError(LitImplicitError):
    """A checkpoint cannot be found, read, or does not fit the model."""


class OperatorError(LitImplicitError, RuntimeError):
    """An operator breaks its contract: a method returns what it must not, or G is no function."""


class ObjectiveError(LitImplicitError, ValueError):
    """An objective breaks its contract: its loss or error is not one number per sample."""


class NoSamplesError(LitImplicitError, ValueError):
    """A probe was asked for its result before it had measured any sample."""


class ResourceError(LitImplicitError):
    """The machine lacks what a run needs: room on the disk, memory, or the right to write."""


class SolveError(LitImplicitError, RuntimeError):
    """Training cannot go on: no sample has a solution, or the weights are not finite."""


class LitImplicitWarning(UserWarning):
    """Base of our warnings; the command line prints their message alone."""


class SolveWarning(LitImplicitWarning):
    """Samples have no solution, or a loss is not finite; training goes on."""

"""From a checkpoint back to a model: `load`."""

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from lit_implicit.checkpoint_io import read_checkpoint
from lit_implicit.errors import CheckpointError
from lit_implicit.module import AbstractLightningModule

CONFIG_KEY = "lit_implicit_config"
"""Key of a checkpoint under which the settings of its run stand, as YAML text."""


def load(path: str | Path) -> AbstractLightningModule:
    """Rebuild the model of a checkpoint, with its weights, in evaluation mode on the CPU.

    The checkpoint alone is enough: it carries the settings of its run. They name classes by their
    import paths, and these classes are imported and called. So a checkpoint is code: load only
    those whose origin you trust, though the weights themselves are read without unpickling objects.

    Args:
        path: A checkpoint that `lit-implicit fit` wrote.

    Returns:
        The Lightning module; `module(x)` is the answer to an input x.

    Raises:
        CheckpointError: If the file does not exist, is no checkpoint of `lit-implicit`, names
            classes that cannot be made, or holds weights that do not fit them.
    """
    checkpoint = read_checkpoint(path)
    if CONFIG_KEY not in checkpoint:
        raise CheckpointError(
            f"Checkpoint {str(path)!r} carries no settings (key {CONFIG_KEY!r}), so its model is "
            "not known: it was not written by `lit-implicit fit`. Build the module yourself, and "
            "give it the weights by `init_weights`."
        )
    module = _build(yaml.safe_load(checkpoint[CONFIG_KEY])["model"], path)
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as err:
        raise CheckpointError(
            f"The weights in {str(path)!r} do not fit the model that its settings describe: {err}. "
            "The code of the model has probably changed since."
        ) from err
    return module.eval()


def _build(config: dict[str, Any], path: str | Path) -> AbstractLightningModule:
    # The weights follow at once: the file that training started from need not exist any more.
    for name in ("init_weights", "init_parts"):
        config.get("init_args", {}).pop(name, None)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(AbstractLightningModule, "model", fail_untyped=False)
    try:
        module = parser.instantiate(parser.parse_object({"model": config})).model
    except (ArgumentError, TypeError, ValueError, ImportError) as err:
        raise CheckpointError(
            f"The model of {str(path)!r} cannot be made from the settings it carries: {err}. "
            "Is the package of its task installed, in the version it was trained with?"
        ) from err
    if not isinstance(module, AbstractLightningModule):
        raise CheckpointError(
            f"{str(path)!r} holds a {type(module).__name__}, not an `AbstractLightningModule`."
        )
    return module

"""Weights to start from: of a checkpoint, or of parts of it."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from lit_implicit.checkpoint_io import read_checkpoint
from lit_implicit.errors import CheckpointError, ConfigError


def load_initial_weights(
    module: nn.Module, path: str | None, parts: Mapping[str, str] | None
) -> None:
    """Give a model the weights of a checkpoint, or some of its parts those of the checkpoint's.

    Args:
        module: The model.
        path: The checkpoint; None leaves the model as it is.
        parts: Parts of the model, each with the part of the checkpoint whose weights it gets, such
            as `{operator.denoiser: network.denoiser}`. An empty name is the whole; `*` in a part of
            the model stands for any one name, as in `network.steps.*.denoiser`. None loads all into
            all.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or its weights do not fit.
        ConfigError: If there are parts without a checkpoint, or the model has no such part.
    """
    if path is None:
        if parts:
            raise ConfigError(
                "`model.init_parts` names parts of no checkpoint: give one by "
                "`--model.init_weights FILE`, or do without, by `--model.init_parts null`. A "
                "trained model comes by `--ckpt_path FILE`, which needs neither."
            )
        return
    try:
        weights = read_checkpoint(path, plain=True)["state_dict"]
    except CheckpointError as err:
        raise CheckpointError(f"`model.init_weights`: {err}") from err
    for target, source in (parts or {"": ""}).items():
        chosen = _below(weights, source)
        if not chosen:
            raise CheckpointError(
                f"`model.init_parts`: {path!r} holds no weights below {source!r}. It holds: "
                f"{', '.join(_prefixes(weights))}."
            )
        try:
            for part in _parts(module, target):
                part.load_state_dict(chosen)
        except RuntimeError as err:
            where = f", {target!r}" if target else ""
            raise CheckpointError(
                f"`model.init_weights` {path!r} does not fit the model{where}: {err}"
            ) from err


def _below(weights: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    start = f"{prefix}." if prefix else ""
    return {name[len(start) :]: w for name, w in weights.items() if name.startswith(start)}


def _prefixes(weights: Mapping[str, Any]) -> list[str]:
    """Return the names of the parts of the first two levels."""
    return sorted({".".join(name.split(".")[:2]) for name in weights})


def _parts(module: nn.Module, name: str) -> list[nn.Module]:
    pattern = re.escape(name).replace(r"\*", "[^.]+")
    # A module that is shared is found by each of its names.
    named = dict(module.named_modules(remove_duplicate=False))
    parts = [part for key, part in named.items() if re.fullmatch(pattern, key)]
    if not parts:
        known = [n for n in named if n and n.count(".") < 2]
        raise ConfigError(
            f"`model.init_parts`: the model has no part {name!r}. It has: {', '.join(known)}."
        )
    return parts

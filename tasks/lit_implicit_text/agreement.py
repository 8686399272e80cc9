"""What data and model must agree on: tokens, context, and the width that perturbations have."""

from typing import Any

from torch import nn

from lit_implicit.errors import ConfigError
from lit_implicit_text.sizes import TextSizes


def check_model(module: Any, vocab_size: int, context: int) -> None:
    """Refuse a model that cannot take the data's tokens, in one line.

    A network that does not say its sizes is trusted.

    Args:
        module: The Lightning module; None where there is none.
        vocab_size: Number of the tokenizer's tokens.
        context: Most tokens of a sample.

    Raises:
        ConfigError: If its vocabulary or context is too small, or its objective has another width.
    """
    name = "operator" if hasattr(module, "operator") else "network"
    sizes = _sizes(getattr(module, name, None))
    for key, least, owner in (
        ("vocab_size", vocab_size, "the tokens of the tokenizer"),
        ("context", context, "`data.context`"),
    ):
        given = getattr(sizes, key, least)
        if given < least:
            raise ConfigError(
                f"`model.{name}.{key}` must be at least {least}, {owner}, got {given}."
            )
    width = getattr(getattr(module, "objective", None), "width", None)
    if width is not None and sizes is not None and sizes.width != width:
        raise ConfigError(
            f"`model.objective.width` must be that of the {name}, {sizes.width}, got {width}. "
            "Leave it out where no Lipschitz curve is wanted."
        )


def _sizes(network: Any) -> TextSizes | None:
    """Return the sizes of a network, or of the first part of it that has some."""
    parts = network.modules() if isinstance(network, nn.Module) else ()
    found = (getattr(part, "sizes", None) for part in parts)
    return next((sizes for sizes in found if isinstance(sizes, TextSizes)), None)

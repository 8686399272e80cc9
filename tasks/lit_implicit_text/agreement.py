"""What data and model must agree on: tokens, context, and the width that perturbations have."""

from typing import Any

from lit_implicit.errors import ConfigError


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
    network = getattr(module, name, None)
    for key, least, owner in (
        ("vocab_size", vocab_size, "the tokens of the tokenizer"),
        ("context", context, "`data.context`"),
    ):
        given = getattr(network, key, None)
        if isinstance(given, int) and given < least:
            raise ConfigError(
                f"`model.{name}.{key}` must be at least {least}, {owner}, got {given}."
            )
    width = getattr(getattr(module, "objective", None), "width", None)
    given = getattr(network, "width", None)
    if width is not None and isinstance(given, int) and given != width:
        raise ConfigError(
            f"`model.objective.width` must be that of the {name}, {given}, got {width}. Leave it "
            "out where no Lipschitz curve is wanted."
        )

"""The sizes of a looped transformer, checked where they come in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TextSizes:
    """How large each part of a looped transformer is.

    Args:
        vocab_size: Number of tokens.
        width: Numbers per position, in the state and everywhere between blocks.
        heads: Heads of each attention; they share the width.
        intermediate: Width within the gated MLPs.
        prelude: Blocks before the loop.
        core: Blocks of the operator, which is iterated.
        coda: Blocks after the loop.
        context: Most positions of a text, the answer included.
        rope_base: Base of the rotary angles.
        norm_eps: What the norms add to the mean square.
    """

    vocab_size: int
    width: int
    heads: int
    intermediate: int
    prelude: int
    core: int
    coda: int
    context: int
    rope_base: float
    norm_eps: float

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.width // self.heads

    def check(self, owner: str) -> None:
        """Refuse sizes that make no network.

        Args:
            owner: Who was given them, for the message.

        Raises:
            ValueError: If a size is out of range, or the heads do not share the width evenly.
        """
        least = {"prelude": 0, "coda": 0}
        for name in (
            "vocab_size", "width", "heads", "intermediate", "prelude", "core", "coda", "context"
        ):  # fmt: skip
            value, low = getattr(self, name), least.get(name, 1)
            if value < low:
                raise ValueError(f"`{owner}.{name}` must be at least {low}, got {value}.")
        for name in ("rope_base", "norm_eps"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"`{owner}.{name}` must be positive, got {value}.")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"`{owner}.width` must be a multiple of 2 x `heads`, as each head turns pairs of "
                f"numbers, got width {self.width} and {self.heads} heads."
            )

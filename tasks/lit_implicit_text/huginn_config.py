"""The config.json of a Huginn checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lit_implicit.errors import CheckpointError
from lit_implicit_text.shards import read_json
from lit_implicit_text.sizes import TextSizes

HuginnDtype = Literal["bfloat16", "float32"]

# Fields by the names that public files give them.
_NAMES: dict[str, tuple[str, ...]] = {
    "vocab_size": ("padded_vocab_size", "vocab_size"),
    "width": ("n_embd",),
    "heads": ("n_heads", "num_attention_heads"),
    "intermediate": ("intermediate_size",),
    "prelude": ("n_layers_in_prelude",),
    "core": ("n_layers_in_recurrent_block",),
    "coda": ("n_layers_in_coda",),
    "context": ("block_size",),
    "rope_base": ("rope_base", "rope_theta"),
    "norm_eps": ("norm_eps",),
}
# What `LoopedTransformer` is, and variants of the architecture are not.
_FIXED = {"tie_embeddings": True, "qk_bias": True, "bias": False, "injection_type": "linear"}


class HuginnConfig(NamedTuple):
    """What a checkpoint says of itself.

    Args:
        sizes: All sizes of the network.
        mean_iter: Iterations that it was trained with on average.
        dtype: The dtype that it was released in.
    """

    sizes: TextSizes
    mean_iter: int
    dtype: HuginnDtype

    @classmethod
    def read(cls, folder: Path) -> "HuginnConfig":
        """Read the config.json of a folder.

        Raises:
            CheckpointError: If it cannot be read, lacks a field, or describes another architecture.
        """
        path = folder / "config.json"
        content = read_json(path)
        values = {field: _number(content, names, path) for field, names in _NAMES.items()}
        key_heads = content.get("num_key_value_heads", values["heads"])
        for name, given, wanted in (
            *((name, content.get(name, wanted), wanted) for name, wanted in _FIXED.items()),
            ("num_key_value_heads", key_heads, values["heads"]),
        ):
            if given != wanted:
                raise CheckpointError(
                    f"{str(path)!r} asks for `{name}` {given!r}, where only {wanted!r} is known. "
                    "It is another architecture than that of huginn-0125."
                )
        dtype = str(content.get("torch_dtype") or content.get("dtype") or "bfloat16")
        whole = {name for name in values if name not in ("rope_base", "norm_eps")}
        return cls(
            TextSizes(**{k: int(v) if k in whole else v for k, v in values.items()}),  # type: ignore[arg-type]
            int(_number({"mean_recurrence": 32, **content}, ("mean_recurrence",), path)),
            "float32" if dtype.endswith("float32") else "bfloat16",
        )


def _number(content: Mapping[str, Any], names: tuple[str, ...], path: Path) -> float:
    """Return the first field of these names."""
    for name in names:
        value = content.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    raise CheckpointError(
        f"{str(path)!r} has no number `{'` or `'.join(names)}`. Is it the config.json of a Huginn "
        "checkpoint?"
    )

"""The public looped transformer Huginn, with its weights."""

import torch
from torch import Tensor

from lit_implicit.errors import CheckpointError
from lit_implicit_text.hub import model_folder
from lit_implicit_text.huginn_config import HuginnConfig, HuginnDtype
from lit_implicit_text.looped import AbstractLoopedTransformer, TextStart
from lit_implicit_text.rotary import rotations
from lit_implicit_text.shards import Shards
from lit_implicit_text.sizes import TextSizes

_HEAD, _ANGLES = "lm_head.weight", "freqs_cis"


class HuginnTransformer(AbstractLoopedTransformer):
    """A looped transformer as its checkpoint has it: huginn-0125, or another in its layout.

    Weights are mapped from their files, so that loading them takes the memory of one copy; in
    another dtype than the file's they are converted one by one.

    Args:
        path: Folder with config.json and safetensors files, or a name on the hub such as
            `tomg-group-umd/huginn-0125` (7 GB).
        dtype: Dtype of weights and states; None means the one that config.json names.
        revision: Branch, tag or commit on the hub; None means its main branch.
        start: Initial iterate: zero, or truncated normal noise, as in training.
        seed: Seed of the noise, which is a function of it and of the position alone.
        trainable: Whether training shall change the weights; else they take no gradients.

    Raises:
        CheckpointError: If files are missing or broken, or their tensors are not those of the
            architecture that config.json describes.
        ValueError: If the seed is negative, or the start or the dtype is unknown.

    References:
        Geiping et al. (2025), arXiv:2502.05171.
    """

    def __init__(
        self,
        path: str = "tomg-group-umd/huginn-0125",
        dtype: HuginnDtype | None = None,
        revision: str | None = None,
        start: TextStart = "truncated_normal",
        seed: int = 0,
        trainable: bool = False,
    ) -> None:
        if dtype not in (None, "bfloat16", "float32"):
            raise ValueError(
                f"`HuginnTransformer.dtype` must be bfloat16, float32 or null, got {dtype!r}."
            )
        folder = model_folder(path, revision)
        config = HuginnConfig.read(folder)
        with torch.device("meta"):  # names and shapes; the weights come from the files
            super().__init__(config.sizes, start, seed, config.mean_iter)
        self._load(Shards(folder), getattr(torch, dtype or config.dtype))
        self.requires_grad_(trainable)

    def _load(self, shards: Shards, dtype: torch.dtype) -> None:
        """Take over all tensors of a checkpoint, or say which do not fit."""
        own = {_public(name): name for name in self.state_dict()}
        wanted = {theirs: tuple(self.state_dict()[name].shape) for theirs, name in own.items()}
        _check(wanted, shards)
        for theirs, tensor in shards.tensors():
            if theirs in own:
                self.load_state_dict({own[theirs]: tensor.to(dtype)}, strict=False, assign=True)
            elif theirs == _ANGLES:
                _check_angles(tensor, self.sizes, shards)


def _public(name: str) -> str:
    """Return the name that a weight of ours has in the public checkpoint."""
    name = name.replace("core.adapter", "adapter").replace("core.blocks", "core_block")
    return f"transformer.{name}"


def _check(wanted: dict[str, tuple[int, ...]], shards: Shards) -> None:
    """Refuse a checkpoint that lacks tensors, holds others, or has some of another shape.

    The head is tied to the embeddings: a copy of it may be there, and plays no part.
    """
    given = shards.shapes
    missing = sorted(wanted.keys() - given.keys())
    surplus = sorted(given.keys() - wanted.keys() - {_HEAD, _ANGLES})
    shapes = [
        f"{name} of shape {given[name]}, not {shape}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape
    ]
    found = [
        f"{what}: {_some(names)}"
        for what, names in (("missing", missing), ("not known", surplus), ("unfit", shapes))
        if names
    ]
    if found:
        raise CheckpointError(
            f"The weights in {str(shards.folder)!r} are not those of its config.json. "
            f"{'; '.join(found)}. Fetch config.json and all *.safetensors of one model."
        )


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _check_angles(given: Tensor, sizes: TextSizes, shards: Shards) -> None:
    """Refuse rotary angles that are not those of config.json; they are computed anew."""
    own = rotations(torch.arange(sizes.context), sizes.head_dim, sizes.rope_base, torch.float32)[
        :, :, 1::2
    ].mT  # (context, head_dim / 2, 2): cosine and sine of each pair
    fits = given.shape == (1, sizes.context, 1, *own.shape[1:])
    # Angles of float32 are off by 1e-3 at position 4000; a half-precision file rounds to 4e-3.
    if not fits or not torch.allclose(given[0, :, 0].float(), own, rtol=0.0, atol=0.02):
        raise CheckpointError(
            f"`{_ANGLES}` in {str(shards.folder)!r}, of shape {tuple(given.shape)}, holds other "
            f"angles than `rope_base` {sizes.rope_base:g}, {sizes.context} positions and heads of "
            f"width {sizes.head_dim} give. Fetch config.json and all *.safetensors of one model."
        )

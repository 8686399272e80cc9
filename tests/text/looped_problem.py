"""A small looped transformer, texts for it, and its tensors by their public names."""

import torch

from lit_implicit_text.batch import TextInput
from lit_implicit_text.operator import LoopedTransformer

SIZES = {"vocab_size": 40, "width": 24, "heads": 3, "intermediate": 20, "prelude": 2, "core": 2,
         "coda": 1, "context": 16, "rope_base": 100.0, "norm_eps": 1e-3}  # fmt: skip


def looped(weights=0, dtype=torch.float64, **settings):
    """An operator whose every tensor is random, so that none can be left out unnoticed."""
    operator = LoopedTransformer(**(SIZES | settings))
    generator = torch.Generator().manual_seed(weights)
    with torch.no_grad():
        for tensor in operator.parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.ndim == 1:
                tensor.copy_(1 + 0.3 * noise)
            else:
                tensor.copy_(noise * (0.5 if tensor.ndim == 4 else tensor.shape[-1] ** -0.5))
    return operator.to(dtype).eval()


def texts(lengths=(9, 3, 1, 6), seed=0, vocab_size=40, offset=None, dtype=torch.float64):
    """Random texts; `offset` is the size of what is added to their embeddings."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(lengths), max(lengths)
    tokens = torch.randint(vocab_size, shape, generator=generator)
    if offset is not None:
        offset = offset * torch.randn(*shape, SIZES["width"], generator=generator).to(dtype)
    return TextInput(tokens, torch.tensor(lengths), offset)


def public_tensors(operator):
    names = {"core.adapter": "adapter", "core.blocks": "core_block"}
    found = {}
    for name, tensor in operator.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        found[f"transformer.{name}"] = tensor
    return found

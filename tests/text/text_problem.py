"""A few short questions as bytes, and logits whose losses are known."""

import torch

from lit_implicit_text.encoding import encode_sample, make_batch
from lit_implicit_text.samples import TextSample
from lit_implicit_text.vocabulary import ByteTokenizer

BYTES = ByteTokenizer()


def batch_of(*samples, context=64):
    encoded = [encode_sample(TextSample(*sample), BYTES, context) for sample in samples]
    return make_batch(encoded, range(len(samples)), BYTES)


def logits_of(batch, share, sure=None, dtype=torch.float64):
    """Give the right token the probability `share[i]` at sample i, the others equal ones.

    At the positions in `sure` (shape `(n, length)`) another token is likelier than the right one.
    """
    n, length = batch.target.shape
    share = torch.tensor(share, dtype=dtype)[:, None].expand(n, length)
    rest = ((1 - share) / 257).log()[..., None].expand(n, length, 258).clone()
    y = rest.scatter(2, batch.target[..., None], share.log()[..., None])
    if sure is not None:
        wrong = ((batch.target + 1) % 258)[..., None]
        y = y.scatter_add(2, wrong, 50.0 * sure[..., None].to(dtype))
    return y

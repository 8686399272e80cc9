"""Texts that grow with keys and values in memory, and leave the loop once their state stands."""

import torch
from torch import Tensor

from lit_implicit.layout import Dense
from lit_implicit.solvers import relative_residual
from lit_implicit.solvers.base import is_time_to_look
from lit_implicit_text.attention import Sight
from lit_implicit_text.batch import TextInput
from lit_implicit_text.blocks import apply_stack
from lit_implicit_text.cost import core_flops
from lit_implicit_text.growing import AbstractTexts, Guess
from lit_implicit_text.key_values import KeyValues, Place
from lit_implicit_text.looped import AbstractLoopedTransformer, only_inside


class RememberedTexts(AbstractTexts):
    """Texts of which only the new token is read, given the keys and values of earlier ones.

    Of each block of prelude and coda a position has one entry; of each block of the core it has
    one per step, and a later position sees, in a step, the entries of this step. With `rtol`, a
    sample leaves the loop as soon as the state of its present positions (all of the prompt, then
    one) has |z_t - z_(t-1)| <= rtol |z_t|. Entries of steps that a position has not taken are those
    of its last step.

    Args:
        operator: The operator.
        x: The prompts.
        n_iter: Iterations; the most with `rtol`.
        capacity: Most tokens of a text.
        rtol: Relative residual at which a sample leaves the loop; None means never.
    """

    def __init__(
        self,
        operator: AbstractLoopedTransformer,
        x: TextInput,
        n_iter: int,
        capacity: int,
        rtol: float | None,
    ) -> None:
        self.operator, self.x, self.n_iter, self.rtol = operator, x, n_iter, rtol
        self.lengths, self.capacity = x.lengths, capacity
        self.end = int(x.lengths.max())
        sizes, n, like = operator.sizes, len(x.lengths), operator.wte.weight
        self.prelude = KeyValues(sizes, sizes.prelude, n, capacity, like)
        self.core = KeyValues(sizes, sizes.core, n, capacity, like)
        self.coda = KeyValues(sizes, sizes.coda, n, capacity, like)

    def read(self) -> Guess:
        x, lengths = self.x, self.lengths
        offset = None if x.offset is None else x.offset[:, : self.end]
        positions = torch.arange(self.end, device=lengths.device).expand(len(lengths), -1)
        place = self._place(positions)
        embedding, sight, inside = self.operator.embed(
            TextInput(x.tokens[:, : self.end], lengths, offset), self.prelude.at(0, place)
        )
        last = lengths - 1
        return self._guess(embedding, sight, place, inside, last, lengths * (lengths + 1) // 2)

    def grow(self, tokens: Tensor) -> Guess:
        operator = self.operator
        positions = self.lengths[:, None]
        # The longest text may have left: what is looked at ends with the memory at the latest.
        self.lengths, self.end = self.lengths + 1, min(self.end + 1, self.capacity)
        place = self._place(positions)
        seen = torch.arange(self.end, device=tokens.device) <= positions
        sight = Sight(operator.rotations(positions), seen[:, None, None])
        embedding = apply_stack(
            operator.prelude, operator.scaled(tokens[:, None]), sight, self.prelude.at(0, place)
        )
        inside = torch.ones_like(positions, dtype=torch.bool)
        first = torch.zeros_like(tokens)
        return self._guess(embedding, sight, place, inside, first, self.lengths)

    def reorder(self, rows: Tensor) -> None:
        self.lengths = self.lengths[rows]
        moved = rows != torch.arange(len(rows), device=rows.device)
        to, source = moved.nonzero()[:, 0], rows[moved]
        for kept in (self.prelude, self.core, self.coda):
            kept.move(to, source)

    def _place(self, positions: Tensor) -> Place:
        rows = torch.arange(len(positions), device=positions.device)
        return Place(rows, positions, self.end)

    def _guess(
        self,
        embedding: Tensor,
        sight: Sight,
        place: Place,
        inside: Tensor,
        last: Tensor,
        pairs: Tensor,
    ) -> Guess:
        """Iterate on the prelude's output, and read the guess off the position `last` of each."""
        operator = self.operator
        z, n_iter = self._iterate(embedding, sight, place, inside)
        hidden = operator.read(z, sight, self.coda.at(0, place))
        rows = torch.arange(len(last), device=last.device)
        flops = core_flops(operator.sizes, n_iter, inside.sum(1), pairs)
        return Guess(operator.logits(hidden[rows, last]), n_iter, flops)

    def _iterate(
        self, embedding: Tensor, sight: Sight, place: Place, inside: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the last state of the present positions, and the iterations of each sample."""
        core, whole = self.operator.core, place
        injection = core.inject(embedding)
        z = only_inside(self.operator.start_at(place.positions, embedding), inside)
        rows, ends = place.rows, z.clone()
        n_iter = torch.full_like(self.lengths, self.n_iter)
        unseen: list[tuple[Tensor, Tensor]] = []  # states and residuals since the last look
        for step in range(self.n_iter):
            before = z
            z = only_inside(core(z, injection, sight, self.core.at(step, place)), inside)
            if self.rtol is None:
                continue
            layout = Dense(len(z))
            unseen.append((z, relative_residual(layout.norm(z - before), layout.norm(z))))
            if not is_time_to_look(step, z.device) and step + 1 < self.n_iter:
                continue
            stands = (torch.stack([residual for _, residual in unseen]) <= self.rtol).cpu()
            seen, unseen = unseen, []
            if not stands.any():
                continue
            stays = torch.ones(len(rows), dtype=torch.bool)
            for back, ((state, _), stands_now) in enumerate(zip(seen, stands, strict=True)):
                leaves = stays & stands_now
                ends[rows[leaves]] = state[leaves]
                n_iter[rows[leaves]] = step + 2 - len(seen) + back
                stays &= ~leaves
            rows, z, injection, inside = rows[stays], z[stays], injection[stays], inside[stays]
            sight, place = sight.select(stays), place.select(stays)
            if not len(rows):
                break
        ends[rows] = z
        self.core.repeat(n_iter, whole)
        return ends, n_iter

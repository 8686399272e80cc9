"""Texts that grow with keys and values in memory, and leave the loop once their state stands."""

import torch
from torch import Tensor

from lit_implicit.layout import Dense
from lit_implicit.solvers import relative_residual
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
        self.prelude = KeyValues(sizes, 1, sizes.prelude, n, capacity, like)
        self.core = KeyValues(sizes, n_iter, sizes.core, n, capacity, like)
        self.coda = KeyValues(sizes, 1, sizes.coda, n, capacity, like)

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
        core = self.operator.core
        injection = core.inject(embedding)
        z = only_inside(self.operator.start_at(place.positions, embedding), inside)
        ends, n_iter = z.clone(), torch.full_like(self.lengths, self.n_iter)
        rows = place.rows
        for step in range(self.n_iter):
            before = z
            z = only_inside(core(z, injection, sight, self.core.at(step, place)), inside)
            if self.rtol is None or step + 1 == self.n_iter:
                continue
            layout = Dense(len(z))
            leaves = relative_residual(layout.norm(z - before), layout.norm(z)) <= self.rtol
            if not leaves.any():
                continue
            ends[rows[leaves]], n_iter[rows[leaves]] = z[leaves], step + 1
            self.core.repeat(step, place.select(leaves))
            stays = ~leaves
            rows, z, injection, inside = rows[stays], z[stays], injection[stays], inside[stays]
            sight, place = sight.select(stays), place.select(stays)
            if not len(rows):
                return ends, n_iter
        ends[rows] = z
        return ends, n_iter

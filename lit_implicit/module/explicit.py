"""The module of the explicit baselines: one pass of a network."""

from typing import Any

from torch import nn

from lit_implicit.module.base import AbstractLightningModule
from lit_implicit.module.initial_weights import load_initial_weights
from lit_implicit.objective import AbstractObjective


class ExplicitLightningModule(AbstractLightningModule):
    """An explicit baseline: one pass of a network, trained and measured like an implicit model.

    Args:
        network: Called with the objective's inputs.
        objective: The task's objective.
        init_weights: A checkpoint whose weights the model starts from.
        init_parts: Which parts of the model begin as which parts of that checkpoint, such as
            `{operator.denoiser: network.denoiser}`, with `*` for any one name; None means all of
            both.

    Raises:
        CheckpointError: If `init_weights` cannot be read or does not fit the model.
        ConfigError: If the model has no such part as `init_parts` names.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: AbstractObjective,
        init_weights: str | None = None,
        init_parts: dict[str, str] | None = None,
    ) -> None:
        super().__init__(objective)
        self.network = network
        load_initial_weights(self, init_weights, init_parts)

    def answer(self, batch: Any, *, training: bool) -> tuple[Any, None]:
        """Run the network on a batch."""
        return self(self.objective.inputs(batch)), None

    def forward(self, x: Any) -> Any:
        """Return the network's answer to an input."""
        return self.network(x)

"""What callbacks that change the solve for a while have in common."""

from abc import ABC, abstractmethod

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_implicit.errors import ConfigError
from lit_implicit.module import ImplicitLightningModule


class AbstractTrainingSolve(Callback, ABC):
    """Base of callbacks that change how the training steps of one `fit` solve.

    They need a model that iterates, and leave it as it was: a later `fit` may go without them.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse models that do not iterate.

        Raises:
            ConfigError: If the module is no `ImplicitLightningModule`.
        """
        if not isinstance(pl_module, ImplicitLightningModule):
            raise ConfigError(
                f"`{type(self).__name__}` needs an `ImplicitLightningModule`, "
                f"got {type(pl_module).__name__}: an explicit model does not iterate. Remove it."
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Undo the change."""
        self._undo(pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Undo the change where training was cut short."""
        self._undo(pl_module)

    def _undo(self, module: LightningModule) -> None:
        if isinstance(module, ImplicitLightningModule):
            self.reset(module)

    @abstractmethod
    def reset(self, module: ImplicitLightningModule) -> None:
        """Give the module its own settings back."""

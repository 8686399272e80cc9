"""What callbacks that change the solve have in common: they need a model that iterates."""

from lightning.pytorch import Callback, LightningModule

from lit_implicit.errors import ConfigError
from lit_implicit.module import ImplicitLightningModule


def implicit_only(callback: Callback, module: LightningModule) -> ImplicitLightningModule:
    """Return the module, refusing those that do not iterate.

    Raises:
        ConfigError: If it is no `ImplicitLightningModule`.
    """
    if not isinstance(module, ImplicitLightningModule):
        raise ConfigError(
            f"`{type(callback).__name__}` needs an `ImplicitLightningModule`, "
            f"got {type(module).__name__}: an explicit model does not iterate. Remove it."
        )
    return module

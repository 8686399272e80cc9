"""The Lightning modules: one for any implicit model, one for the explicit baselines."""

from lit_implicit.module.base import AbstractLightningModule
from lit_implicit.module.explicit import ExplicitLightningModule
from lit_implicit.module.implicit import ImplicitLightningModule

__all__ = ["AbstractLightningModule", "ExplicitLightningModule", "ImplicitLightningModule"]

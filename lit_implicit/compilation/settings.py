"""The settings of `torch.compile` for G and steps, as a switch, a mode or all of them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch

from lit_implicit.errors import ConfigError

CompileMode: TypeAlias = Literal[
    "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
]


@dataclass(frozen=True)
class Compile:
    """How `torch.compile` treats G.

    Args:
        mode: As of `torch.compile`. `reduce-overhead` and `max-autotune` replay CUDA graphs where
            the batch is dense and whole and no gradient is recorded; elsewhere, and on a CPU, they
            are `default` and `max-autotune-no-cudagraphs`.
        backend: Name of a backend of `torch.compile`. `eager` and `aot_eager` generate no code:
            they show which stage fails.
        dynamic: Whether one graph serves all batch sizes, in the first axis of the state and of
            each tensor of the context. False compiles for each size anew, eight times at most.
        fullgraph: Whether G must be one graph. False lets Python run between the pieces.
        tracked: Whether the calls that record gradients are compiled too. There are few of them,
            and theirs is most of the warm-up; without, derivatives of any order are those of the
            plain operator.
        step: Whether the step of `Anderson`, type II, is compiled too where no gradient is
            recorded. None means where the backend is `inductor`, but for small states on a CPU,
            which plain steps take in less time, with NumPy.

    Raises:
        ConfigError: If the mode or the backend is not known, or a mode is asked of another backend
            than `inductor`.
    """

    mode: CompileMode = "default"
    backend: str = "inductor"
    dynamic: bool = True
    fullgraph: bool = True
    tracked: bool = True
    step: bool | None = None

    def __post_init__(self) -> None:
        modes = get_args(CompileMode)
        if self.mode not in modes:
            raise ConfigError(
                f"`Compile.mode` must be one of {', '.join(modes)}, got {self.mode!r}."
            )
        if self.backend == "inductor":
            return
        if self.mode != "default":
            raise ConfigError(
                f"`Compile.mode` {self.mode!r} is one of the backend 'inductor', got backend="
                f"{self.backend!r}. Leave the mode out."
            )
        known = torch.compiler.list_backends(exclude_tags=())
        if self.backend not in known:
            raise ConfigError(
                f"`Compile.backend` must be one of {', '.join(known)}, got {self.backend!r}."
            )

    @property
    def compiles_steps(self) -> bool:
        """Whether steps are compiled: other backends than inductor only show what is traced."""
        return self.backend == "inductor" if self.step is None else self.step

    @classmethod
    def of(cls, setting: "bool | CompileMode | Compile | None") -> "Compile | None":
        """Return the settings that a switch stands for: a mode, or true for the default one."""
        if setting is None or setting is False:
            return None
        if isinstance(setting, cls):
            return setting
        return cls() if setting is True else cls(setting)  # type: ignore[arg-type]

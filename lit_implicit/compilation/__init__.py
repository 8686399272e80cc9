"""`torch.compile` for G: settings, and the compiled operator that solves call."""

from lit_implicit.compilation.compiled_operator import CompiledOperator
from lit_implicit.compilation.settings import Compile, CompileMode

__all__ = ["Compile", "CompileMode", "CompiledOperator"]

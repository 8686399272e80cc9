"""Formulas for operations that torch's FLOP counter lacks, or has for dense reals alone."""

from collections.abc import Callable
from math import log2
from typing import Any

import torch
from torch import Tensor

Formula = Callable[..., int]

# One operation per element of the result, in place or not.
_ELEMENTWISE = """add sub rsub mul div neg abs pow square reciprocal sqrt rsqrt exp exp2 expm1 log
    log2 log10 log1p sin cos tan sinh cosh tanh asin acos atan atan2 erf sigmoid relu leaky_relu elu
    gelu silu mish softplus hardtanh hardswish hardsigmoid clamp clamp_min clamp_max maximum minimum
    threshold log_sigmoid_forward"""
_TERNARY = {"lerp": 3, "addcmul": 3, "addcdiv": 3}
# Operations per element of the first tensor.
_REDUCTIONS = {"sum": 1, "mean": 1, "prod": 1, "cumsum": 1, "cumprod": 1, "amax": 1, "amin": 1,
               "linalg_vector_norm": 2, "_softmax": 3, "_log_softmax": 3}  # fmt: skip
_NORMALIZATIONS = ("native_layer_norm", "native_group_norm", "native_batch_norm",
                   "cudnn_batch_norm")  # fmt: skip
# One addition per element of the source.
_SCATTERS = ("index_add", "scatter_add", "scatter_reduce", "index_reduce")
_TRANSFORMS = ("_fft_c2c", "_fft_r2c", "_fft_c2r")
# Products, and the place of a term that is added to them.
_PRODUCTS = {"mm": None, "addmm": 0, "bmm": None, "baddbmm": 0, "convolution": 2}


def flop_formulas() -> dict[Any, Formula]:
    """Return formulas by operation, in the form that `FlopCounterMode` takes as `custom_mapping`.

    Each is called with the arguments of the operation and its result, `out_val`.
    """
    from torch.utils.flop_counter import flop_registry  # slow to import

    aten = torch.ops.aten
    formulas: dict[str, Formula] = {name: _per_element(1) for name in _ELEMENTWISE.split()}
    formulas |= {name: _per_element(n) for name, n in _TERNARY.items()}
    formulas |= {name: _per_input(n) for name, n in _REDUCTIONS.items()}
    formulas |= dict.fromkeys(_NORMALIZATIONS, _normalization)
    formulas |= dict.fromkeys(_SCATTERS, _scatter)
    formulas |= dict.fromkeys(_TRANSFORMS, _transform)
    formulas |= {"index_put": _index_put, "segment_reduce": _per_input(1)}
    for name, place in _PRODUCTS.items():
        formulas[name] = _product(flop_registry[getattr(aten, name)], place)
    found = {}
    for name, formula in formulas.items():
        formula._get_raw = True  # type: ignore[attr-defined] # tensors, not their shapes
        for variant in (name, f"{name}_"):
            if hasattr(aten, variant):
                found[getattr(aten, variant)] = formula
    return found


def _real(tensor: Tensor) -> int:
    """Return how many operations on reals one on an element is; none on integers."""
    return 2 if tensor.is_complex() else int(tensor.is_floating_point())


def _per_element(n: int) -> Formula:
    def formula(*args: Any, out_val: Any, **kwargs: Any) -> int:
        out: Tensor = out_val[0] if isinstance(out_val, tuple) else out_val
        return n * out.numel() * _real(out)

    return formula


def _per_input(n: int) -> Formula:
    def formula(x: Tensor, *args: Any, out_val: Any, **kwargs: Any) -> int:
        return n * x.numel() * _real(x)

    return formula


def _normalization(x: Tensor, *args: Any, out_val: Any, **kwargs: Any) -> int:
    return x.numel() * (5 if any(isinstance(weight, Tensor) for weight in args) else 4)


def _scatter(
    x: Tensor, dim: int, index: Tensor, source: Tensor, *args: Any, out_val: Any, **kwargs: Any
) -> int:
    return source.numel() * _real(source)


def _index_put(
    x: Tensor, indices: Any, values: Tensor, accumulate: bool = False, *, out_val: Any
) -> int:
    return values.numel() * _real(values) if accumulate else 0


def _transform(x: Tensor, dim: list[int], *args: Any, out_val: Tensor, **kwargs: Any) -> int:
    # Of a real transform, the real side has all its points and the complex one about half of them.
    full = out_val if x.is_complex() else x
    operations = 5 * full.numel() * sum(log2(full.shape[i]) for i in dim)
    return round(operations if x.is_complex() and out_val.is_complex() else operations / 2)


def _product(dense: Formula, place: int | None) -> Formula:
    def formula(*args: Any, out_val: Tensor, **kwargs: Any) -> int:
        factors = [arg for i, arg in enumerate(args) if isinstance(arg, Tensor) and i != place]
        stored = [f for f in factors if f.layout != torch.strided]
        if stored:
            operations: int = 2 * stored[0].values().numel() * out_val.shape[-1]
        else:
            operations = dense(*args, out_val=out_val, **kwargs)
        operations *= _real(out_val) ** 2
        biased = place is not None and isinstance(args[place], Tensor)
        return operations + (out_val.numel() * _real(out_val) if biased else 0)

    return formula

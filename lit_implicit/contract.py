"""What an operator must return: checked where it is called, told in one line that names its class.

The operator's own mistakes, exceptions that its methods raise, pass through with a note that says
which method it was: the traceback is what its author needs.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lit_implicit.errors import LitImplicitError, OperatorError
from lit_implicit.layout import AbstractLayout, Dense, Ragged
from lit_implicit.tree import map_tensors


def call(operator: nn.Module, method: str, *args: Any) -> Any:
    """Call a method of an operator; an exception gets a note with its class, method and line.

    Raises:
        OperatorError: If G fails because its state has not the dtype of the parameters, or if the
            method raises `StopIteration` or `SystemExit`.
    """
    # `forward` by way of the module, so that hooks run.
    function: Callable[..., Any] = operator if method == "forward" else getattr(operator, method)
    try:
        return function(*args)
    except LitImplicitError:
        raise
    except (StopIteration, SystemExit) as err:
        # The one would end an epoch, the other the program, as if all had gone well.
        raise OperatorError(
            f"{_place(operator, method, args, err)} Catch it, or raise another exception."
        ) from err
    except Exception as err:
        if method == "forward":
            _refuse_dtype(operator, args[0], err)
        err.add_note(_place(operator, method, args, err))
        raise


def _place(operator: nn.Module, method: str, args: tuple[Any, ...], err: BaseException) -> str:
    line, trace = "", err.__traceback__
    while trace is not None:  # the innermost line of the method itself
        frame = trace.tb_frame
        if frame.f_code.co_name == method and frame.f_locals.get("self") is operator:
            line = f" ({frame.f_code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    given = args[0] if args else None
    shape = ""
    if isinstance(given, Tensor):
        name = "x" if method == "encode" else "c" if method == "init_state" else "z"
        shape = f" was given {name} of shape {tuple(given.shape)}, {given.dtype}, and"
    return f"`{type(operator).__name__}.{method}`{line}{shape} raised this {type(err).__name__}."


def _refuse_dtype(operator: nn.Module, z: Tensor, err: Exception) -> None:
    """Tell a dtype that makes G fail; where it works all the same, it is nobody's business."""
    dtypes = {p.dtype for p in operator.parameters() if p.is_floating_point()}
    if not isinstance(err, RuntimeError) or isinstance(err, torch.OutOfMemoryError):
        return
    if not dtypes or z.dtype in dtypes:
        return
    if torch.is_autocast_enabled(z.device.type):
        return
    raise OperatorError(
        f"`{type(operator).__name__}.forward` fails on a state of {z.dtype}, where its parameters "
        f"are {_listed(dtypes)}: {err}. Give `init_state` their dtype, as by `zeros_like(c)`, or "
        "cast in `forward`."
    ) from err


def check_start(operator: nn.Module, z0: Any, c: Any, source: str) -> Tensor:
    """Return the initial iterate, refusing one that no solve can start from.

    Args:
        operator: The operator.
        z0: What `init_state` returned, or the start that was given.
        c: The encoded input.
        source: Where it came from, for the message.

    Raises:
        OperatorError: If it is no floating-point tensor of at least one axis, or lies on another
            device than the context.
    """
    if not isinstance(z0, Tensor) or not z0.is_floating_point() or z0.ndim == 0:
        raise OperatorError(
            f"{source} must be a floating-point tensor with the samples as first axis, got "
            f"{_described(z0)}. Make it by `torch.zeros_like(c)` or `c.new_zeros(n, dim)`."
        )
    devices = {tensor.device for tensor in _tensors(c)}
    if devices and z0.device not in devices:
        raise OperatorError(
            f"{source} must lie on the device of the input, {_listed(devices)}, got {z0.device}. "
            f"Make it by `zeros_like` or `new_zeros` of a tensor in c ({type(operator).__name__} "
            "need not know the device)."
        )
    return z0


def check_layout(operator: nn.Module, layout: Any, z0: Tensor, c: Any, source: str) -> None:
    """Refuse a layout that does not fit the state, or a start that has not the input's samples.

    Args:
        operator: The operator.
        layout: What its `layout` returned.
        z0: The initial iterate.
        c: The encoded input.
        source: Where z0 came from, for the message.

    Raises:
        OperatorError: If so.
    """
    name, shape = type(operator).__name__, tuple(z0.shape)
    if not isinstance(layout, AbstractLayout):
        raise OperatorError(
            f"`{name}.layout` must return a `Dense` or a `Ragged`, got {_described(layout)}."
        )
    rows = layout.n if isinstance(layout, Dense) else None
    if isinstance(layout, Ragged):
        rows = layout.index.numel()
    if rows is not None and rows != len(z0):
        raise OperatorError(
            f"`{name}.layout` must give each row of the state a sample: expected {rows} rows, by "
            f"{type(layout).__name__} of {layout.n} samples, but {source} has shape {shape}. Put "
            "the sample first, or return a `Ragged` with an index of a value per row."
        )
    # To look at the values would wait for a GPU; there, an index out of range ends the kernel.
    if isinstance(layout, Ragged) and layout.index.device.type == "cpu" and rows:
        low, high = int(layout.index.min()), int(layout.index.max())
        if low < 0 or high >= layout.n:
            raise OperatorError(
                f"`{name}.layout` must number the samples 0 to {layout.n - 1}, got an index from "
                f"{low} to {high}. Give `Ragged` the number of samples as `n`."
            )
    counts = {len(tensor) if tensor.ndim else 0 for tensor in _tensors(c)}
    if isinstance(layout, Dense) and len(counts) == 1 and counts != {layout.n}:
        raise OperatorError(
            f"{source} must hold the samples of the input: expected {counts.pop()} rows, as the "
            f"context c has, got shape {shape}. What all samples share is a buffer, not part of c."
        )


def check_image(operator: nn.Module, z: Tensor, gz: Any) -> Tensor:
    """Return G(z), refusing one that is no state like z; under autocast its dtype is cast back.

    Raises:
        OperatorError: If so.
    """
    is_like = isinstance(gz, Tensor) and gz.shape == z.shape and gz.dtype == z.dtype
    if is_like and gz.device == z.device:
        return gz  # type: ignore[no-any-return]
    name = f"`{type(operator).__name__}.forward`"
    if not isinstance(gz, Tensor):
        raise OperatorError(
            f"{name} must return the next state, a tensor of shape {tuple(z.shape)}, {z.dtype}, "
            f"got {_described(gz)}. "
            + ("Is a `return` missing?" if gz is None else "Pack all variables into one tensor.")
        )
    if gz.shape != z.shape:
        raise OperatorError(
            f"{name} must keep the shape of its state: expected {tuple(z.shape)}, got "
            f"{tuple(gz.shape)}. Make `init_state` and the last layer of `forward` agree."
        )
    if gz.device != z.device:
        raise OperatorError(
            f"{name} must keep the device of its state: expected {z.device}, got {gz.device}. Make "
            "tensors by `zeros_like` or as buffers."
        )
    if gz.dtype != z.dtype:
        if not torch.is_autocast_enabled(z.device.type):
            raise OperatorError(
                f"{name} must keep the dtype of its state: expected {z.dtype}, got {gz.dtype}. "
                "Cast in `forward`, or give `init_state` the dtype of the parameters."
            )
        return gz.to(z.dtype)
    return gz


def check_reason(operator: nn.Module, reason: Any, n: int) -> Tensor | None:
    """Return what `stop` said, refusing all but None and a boolean per sample.

    Raises:
        OperatorError: If so.
    """
    given = isinstance(reason, Tensor)
    if reason is not None and not (given and reason.shape == (n,) and reason.dtype == torch.bool):
        raise OperatorError(
            f"`{type(operator).__name__}.stop` must return None or booleans of shape ({n},), one "
            f"per sample, got {_described(reason)}."
        )
    return reason  # type: ignore[no-any-return]


def check_answer(operator: nn.Module, y: Any, layout: AbstractLayout) -> Any:
    """Return the answer, refusing None and a tensor that has not one row per dense sample.

    Else a loss may broadcast it, and train on the wrong thing in silence.

    Raises:
        OperatorError: If so.
    """
    lost = isinstance(y, Tensor) and (y.ndim == 0 or len(y) != layout.n)
    if y is None or (isinstance(layout, Dense) and lost):
        raise OperatorError(
            f"`{type(operator).__name__}.decode` must return an answer for each of the {layout.n} "
            f"samples, the sample first, got {_described(y)}. Take no mean over the batch."
        )
    return y


def _tensors(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(found.append, tree)
    return found


def _listed(values: set[Any]) -> str:
    return " and ".join(sorted(map(str, values)))


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"

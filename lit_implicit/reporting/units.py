"""Numbers with units, as people read them."""

from collections.abc import Sequence

_PREFIXES = ((12, "T"), (9, "G"), (6, "M"), (3, "k"), (0, ""), (-3, "m"), (-6, "µ"), (-9, "n"))


def cost_in_words(flops: Sequence[float], seconds: Sequence[float]) -> str:
    """Say what an iteration costs, on the average of the costs behind y_0, y_1, ...

    Example:
        >>> cost_in_words([1e6, 3e6, 5e6], [0.001, 0.003, 0.005])
        'one iteration: 2 MFLOP, 2 ms per sample'
    """
    steps = len(flops) - 1
    operations = with_unit((flops[-1] - flops[0]) / steps, "FLOP")
    time = with_unit((seconds[-1] - seconds[0]) / steps, "s")
    return f"one iteration: {operations}, {time} per sample"


def with_unit(value: float, unit: str) -> str:
    """Write a number with three digits and the prefix of its unit.

    Example:
        >>> with_unit(0.00123, "s")
        '1.23 ms'
    """
    for exponent, prefix in _PREFIXES:
        if abs(value) >= 10**exponent:
            return f"{value / 10**exponent:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"

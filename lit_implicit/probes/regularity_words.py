"""A regularity report in sentences, and as numbers for a file."""

from lit_implicit.probes.contraction import SETTLED
from lit_implicit.probes.regularity_report import RegularityReport
from lit_implicit.probes.statistics import largest_of, mean_of, statistics_of


def say_regularity(report: RegularityReport) -> list[str]:
    """Return what was found, in one to three sentences; numbers are estimates from below."""
    lines = [_contraction(report), _slope(report), _bound(report)]
    return [f"regularity: {line}" for line in lines if line]


def _contraction(report: RegularityReport) -> str:
    n = len(report.factor)
    out = ""
    if report.n_left_out:
        out = (
            f"{report.n_left_out} of {report.n_samples} samples reached no fixed point (relative "
            f"residual above {report.rtol:g}) and are left out"
        )
    if n == 0:
        return out
    words = (
        f"G contracts at the fixed points of {_share(report.contracting)} of {n} samples (largest "
        f"factor {_factor(largest_of(report.factor))})"
    )
    return f"{words}; {out}" if out else words


def _slope(report: RegularityReport) -> str:
    words = []
    if report.grows_at_most_linearly is not None:
        pace = "at most linearly" if report.grows_at_most_linearly else "faster than linearly"
        a, b = report.envelope
        words.append(
            f"slope in x grows {pace} with |z| (exponent {_digits(report.growth_exponent)}; up to "
            f"{_digits(a)} + {_digits(b)} |z|)"
        )
    elif len(report.factor):
        words.append("slope in x not measured, as these data hold no perturbations")
    if report.bounded is not None:
        kind = "bounded" if report.bounded else "unbounded"
        exponent = _digits(report.shell_exponent)
        words.append(f"{kind} towards the singular set (exponent {exponent})")
    elif words and not report.distances:
        words.append("the task states no singular set")
    return "; ".join(words)


def _bound(report: RegularityReport) -> str:
    n = int(report.applicable.sum())
    words = []
    if n:
        words.append(
            f"the bound slope/(1 - factor) on the slope of z* holds for {_share(report.holds)} of "
            f"{n} pairs (median ratio {_digits(statistics_of(report.tightness)['median'])})"
        )
    if report.n_not_applicable:
        words.append(f"no bound for {report.n_not_applicable} pairs, as the factor is 1 or more")
    if report.n_unresolved:
        words.append(f"{report.n_unresolved} pairs not solved accurately enough")
    return "; ".join(words)


def regularity_numbers(report: RegularityReport) -> dict[str, object]:
    """Return the numbers about all samples, ready for JSON."""
    a, b = report.envelope
    return {
        "estimate": "from below, on samples",
        "n_samples": report.n_samples,
        "n_left_out": report.n_left_out,
        "rtol": report.rtol,
        "contraction_factor": statistics_of(report.factor),
        "contraction_factor_settled": mean_of((report.uncertainty <= SETTLED).float()),
        "contracting": report.contracting,
        "contraction_factor_near": {
            f"{radius:g} |z*|": statistics_of(report.factor_near[:, number])
            for number, radius in enumerate(report.radii)
        },
        "spectral_radius": statistics_of(report.spectral_radius),
        "spectral_radius_settled": mean_of(report.spectral_radius.isfinite().float()),
        "lipschitz_x": statistics_of(report.slope_at_fixed_point),
        "growth_exponent": report.growth_exponent,
        "envelope": {"a": a, "b": b},
        "shells": {
            "distance": list(report.distances),
            "slope": report.shell_slope.tolist(),
            "target_slope": report.shell_target_slope.tolist(),
            "exponent": report.shell_exponent,
        },
        "bound": {
            "n_pairs": int(report.applicable.sum()),
            "n_not_applicable": report.n_not_applicable,
            "n_unresolved": report.n_unresolved,
            "holds": report.holds,
            "ratio": statistics_of(report.tightness),
        },
    }


def _share(value: float) -> str:
    """Say a share in per cent: 100 only where it is all, 0 only where it is none."""
    per_cent = 100 * value
    if 0 < per_cent < 1:
        return "less than 1 %"
    if 99 < per_cent < 100:
        return "more than 99 %"
    return f"{per_cent:.0f} %"


def _factor(value: float) -> str:
    """Say a factor so that it is seen whether it is below 1."""
    return f"1 - {1 - value:.1g}" if 0.995 <= value < 1 else _digits(value)


def _digits(value: float) -> str:
    """Say a number; what is left of a zero by rounding is zero."""
    return f"{value + 0.0:.3g}" if abs(value) > 1e-9 else "0"

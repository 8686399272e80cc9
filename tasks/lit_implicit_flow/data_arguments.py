"""What `FlowDataModule` refuses: arguments that no flows can be made by."""

import math
from typing import TYPE_CHECKING, get_args

from lit_implicit.data import check_data_arguments
from lit_implicit_flow.family import Family, Spectrum
from lit_implicit_flow.labels import Labels

if TYPE_CHECKING:
    from lit_implicit_flow.data import FlowDataModule


def check_arguments(data: "FlowDataModule") -> None:
    """Refuse arguments out of range, in one line.

    Args:
        data: The data module, with its arguments as attributes.

    Raises:
        ValueError: If one is.
    """
    family = data.family
    check_data_arguments(
        data,
        {
            **{f"n_{split}": (n, 1) for split, n in data.n_flows.items()},
            "resolution": (data.resolution, 4),
            "peak_wavenumber": (family.peak_wavenumber, 1),
            "max_wavenumber": (family.max_wavenumber, family.peak_wavenumber),
            "frame": (data.frame, 0),
            "stride": (data.stride, 1),
        },
        {
            "labels": (data.labels, get_args(Labels)),
            "family": (family.family, get_args(Family)),
            "spectrum": (family.spectrum, get_args(Spectrum)),
        },
    )
    positive = {"nu": data.nu, "vorticity_rms": data.vorticity_rms, "force_rms": data.force_rms}
    given = {"force_scale": data.force_scale, "vorticity_scale": data.vorticity_scale}
    positive |= {name: scale for name, scale in given.items() if scale is not None}
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise ValueError(f"`FlowDataModule.{name}` must be positive, got {value}.")
    limit = family.max_wavenumber
    if data.folder is None and data.resolution <= 4 * limit:
        raise ValueError(
            f"`FlowDataModule.resolution` {data.resolution} is too low for `max_wavenumber` "
            f"{limit}: advection has wavenumbers up to {2 * limit}, and {data.resolution} points "
            f"hold those below {data.resolution / 2:g}. Take at least {4 * limit + 1} points, or "
            "longer waves."
        )
    for name in ("root", "folder"):
        if getattr(data, name) == "":
            raise ValueError(f"`FlowDataModule.{name}` is empty; give a folder.")
    if "" in data.files:
        raise ValueError(
            f"`FlowDataModule.files` must hold paths, got an empty one in {list(data.files)}; "
            "give them as `--data.files '[a.npy,b.npy]'`."
        )

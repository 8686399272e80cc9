"""What `ImagingDataModule` refuses: arguments that no samples can be made by."""

import math
from typing import TYPE_CHECKING

from lit_implicit.data import check_data_arguments
from lit_implicit_imaging.kernels import KINDS, KernelSettings

if TYPE_CHECKING:
    from lit_implicit_imaging.data import ImagingDataModule


def check_arguments(data: "ImagingDataModule") -> None:
    """Refuse arguments out of range, in one line.

    Args:
        data: The data module, with its arguments as attributes.

    Raises:
        ValueError: If one is.
    """
    least = {
        **{f"n_{split}": (n, 1) for split, n in data.n_photographs.items() if n is not None},
        "crops_per_image": (data.crops_per_image, 1),
        "kernel_size": (data.kernels.size, 1),
    }
    check_data_arguments(data, least, {"crops": (data.crops, ("fixed", "random"))})
    for name, crop in {"crop": data.crop, "eval_crop": data.eval_crop}.items():
        if crop < 8 or crop % 8:
            near = max(8, round(crop / 8) * 8)
            raise ValueError(
                f"`ImagingDataModule.{name}` must be a multiple of 8, as denoisers halve an image "
                f"three times, got {crop}; {near} is one."
            )
    if data.root is not None and not data.root:
        raise ValueError(
            "`ImagingDataModule.root` is empty; give a folder of photographs, or null for those of "
            "scikit-image."
        )
    if data.kernels.size % 2 == 0:
        raise ValueError(
            "`ImagingDataModule.kernel_size` must be odd, to have a middle, got "
            f"{data.kernels.size}."
        )
    if not 0 < data.kernels.width < math.inf:
        raise ValueError(
            f"`ImagingDataModule.kernel_width` must be positive, got {data.kernels.width}."
        )
    if data.kernel_per_image and data.kernels.kernel != "motion":
        raise ValueError(
            "`ImagingDataModule.kernel_per_image` draws motion kernels; `kernel` "
            f"{data.kernels.kernel!r} is always the same one."
        )
    _check_kernel_of_a_file(data.kernels)
    if len(data.noise) not in (1, 2) or not all(0 <= n < math.inf for n in data.noise):
        raise ValueError(
            "`ImagingDataModule.noise` must be a standard deviation of at least 0, or two (the "
            f"least and the greatest), got {list(data.noise)}."
        )
    if data.noise[0] > data.noise[-1]:
        raise ValueError(
            "`ImagingDataModule.noise` must be the least and then the greatest standard deviation, "
            f"got {list(data.noise)}."
        )
    if "" in data.files:
        raise ValueError(
            f"`ImagingDataModule.files` must hold paths, got an empty one in {list(data.files)}; "
            "give them as `--data.files '[a.jpg,b.jpg]'`."
        )


def _check_kernel_of_a_file(kernels: KernelSettings) -> None:
    """Refuse settings of kernels in files where the kernel is made."""
    if kernels.kernel not in KINDS:
        return
    for name, value, unset in (
        ("kernel_index", kernels.index, None),
        ("normalize_kernel", kernels.normalize, False),
    ):
        if value != unset:
            raise ValueError(
                f"`ImagingDataModule.{name}` is for a kernel in a file, got {value} with `kernel` "
                f"{kernels.kernel!r}; leave it out."
            )

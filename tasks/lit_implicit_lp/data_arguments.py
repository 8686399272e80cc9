"""What `LPDataModule` refuses: arguments that no linear programs can be made by."""

import math
from typing import TYPE_CHECKING

from lit_implicit.data import check_data_arguments
from lit_implicit_lp.generator import FAMILIES, MODES

if TYPE_CHECKING:
    from lit_implicit_lp.data import LPDataModule


def check_arguments(data: "LPDataModule") -> None:
    """Refuse arguments out of range, in one line.

    Args:
        data: The data module, with its arguments as attributes.

    Raises:
        ValueError: If one is.
    """
    check_data_arguments(data, {f"n_{split}": (n, 1) for split, n in data.n_programs.items()})
    if not data.root:
        raise ValueError("`LPDataModule.root` is empty; give a folder, as data/lp.")
    if not data.sizes:
        raise ValueError("`LPDataModule.sizes` is empty; the paper's is [[10, 50, 100]].")
    for size in data.sizes:
        if len(size) != 3 or min(size) < 1 or size[2] > size[0] * size[1]:
            raise ValueError(
                "`LPDataModule.sizes` must hold (constraints, variables, nonzeros) of at least "
                f"1, with at most constraints * variables nonzeros, got {size}; the paper's is "
                "[[10, 50, 100]]."
            )
    families = {"family": data.family, "train_family": data.train_family}
    for name, family in families.items():
        if family not in FAMILIES:
            raise ValueError(
                f"`LPDataModule.{name}` must be one of {', '.join(FAMILIES)}, got {family!r}."
            )
    odd = [size for size in data.sizes if size[2] % size[0]]
    if odd and set(families.values()) != {"paper"}:
        raise ValueError(
            "`LPDataModule.sizes` must hold equally many nonzeros for each constraint, except "
            f"in the family 'paper', got {odd[0]}; 10 a row are [[50, 250, 500]]."
        )
    if not 0 < data.perturb_norm < math.inf:
        raise ValueError(f"`LPDataModule.perturb_norm` must be positive, got {data.perturb_norm}.")
    if "" in data.files:
        raise ValueError(
            f"`LPDataModule.files` must hold paths, got an empty one in {list(data.files)}; "
            "give them as `--data.files '[a.mps,b.mps]'`."
        )
    for name, given, allowed in (
        ("perturb_modes", data.perturb_modes, MODES),
        ("perturb_splits", data.perturb_splits, ("val", "test")),
    ):
        if unknown := set(given) - set(allowed):
            raise ValueError(
                f"`LPDataModule.{name}` may hold {', '.join(allowed)}, got {sorted(unknown)}."
            )

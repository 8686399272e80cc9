"""The data of runs that are compared: read from their configs, and the same for all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from lit_implicit.errors import ConfigError, DataError
from lit_implicit.reporting.config_differences import differences
from lit_implicit_imaging.data import ImagingDataModule

# What leaves the test photographs and their observations as they are.
_FREE = (
    "batch_size", "eval_batch_size", "num_workers", "n_train", "n_val", "crop", "crops",
    "crops_per_image", "files", "dtype",
)  # fmt: skip


def data_settings(folder: Path) -> dict[str, Any]:
    """Return all arguments of a run's `ImagingDataModule`, those it left out included.

    Args:
        folder: The run directory.

    Raises:
        DataError: If it has no config, or one of another task or version.
    """
    path, name = folder / "config.yaml", f"{str(folder)!r} is no run of the task `imaging`"
    if not path.is_file():
        raise DataError(f"{name}: it has no config.yaml.")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        section = config["data"]
    except (OSError, UnicodeError, yaml.YAMLError) as err:
        reason = " ".join(str(err).split())
        raise DataError(f"{name}: its config.yaml cannot be read: {reason}.") from err
    except (TypeError, KeyError) as err:
        raise DataError(f"{name}: its config.yaml has no section `data`.") from err
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImagingDataModule, "data", required=True)
    try:
        found = parser.parse_object({"data": section}).data
    except (ArgumentError, TypeError, ValueError, KeyError) as err:
        reason = " ".join(str(err).split())
        raise DataError(f"{name}: the `data` of its config.yaml do not fit: {reason}") from err
    settings: dict[str, Any] = found.init_args.as_dict()
    if settings["eval_crop"] is None:
        settings["eval_crop"] = settings["crop"]
    return settings


def data_of(folder: Path, settings: Mapping[str, Any]) -> ImagingDataModule:
    """Return the data of a run, in the precision of models that `load` makes.

    Raises:
        DataError: If a setting is out of range.
    """
    try:
        return ImagingDataModule(**{**settings, "files": (), "dtype": "float32"})
    except ValueError as err:
        raise DataError(f"The data of {str(folder)!r} cannot be made: {err}") from err


def refuse_other_data(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse runs whose test photographs, or what is observed of them, differ.

    Args:
        settings: Arguments of the data by run, complete.

    Raises:
        ConfigError: If some differ; the message names the settings.
    """
    compared = [{k: v for k, v in s.items() if k not in _FREE} for s in settings.values()]
    found = differences(compared)
    if found:
        listed = "; ".join(f"`data.{key}` {', '.join(row)}" for key, row in found.items())
        raise ConfigError(
            f"The data of {', '.join(map(repr, settings))} differ, in this order: {listed}. "
            "`--any_data` compares on that of the first all the same."
        )

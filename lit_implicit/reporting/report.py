"""report.json: what was run, on what, and what came out; enough to compare runs and repeat one."""

import json
import math
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lit_implicit.files import replace_whole

_VERSIONS = ("lit-implicit", "lightning", "torchmetrics")


def environment(device: torch.device) -> dict[str, Any]:
    """Say where a run takes place: device, versions, commit.

    Args:
        device: The device of the model.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in _VERSIONS:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "device": f"{device.type}: {name}",
        "versions": versions,
        "commit": _git("rev-parse", "HEAD"),
        "changed_since_commit": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def count_parameters(module: nn.Module) -> int:
    """Count the parameters that are trained, a complex one as two."""
    trained = (p for p in module.parameters() if p.requires_grad)
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in trained)


def write_json(content: Any, path: Path) -> None:
    """Write valid JSON: infinities and NaN, which it has no numbers for, become texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(content), indent=2, allow_nan=False)
    with replace_whole(path) as file:
        file.write((text + "\n").encode())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    return value


def _git(*args: str) -> str | None:
    """The answer of git about the current folder; None where there is no repository or no git."""
    try:
        done = subprocess.run(["git", *args], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

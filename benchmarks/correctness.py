"""Ask several libraries for implicit layers the same questions; print what each answers.

uv run --group peers python benchmarks/correctness.py
"""

import platform
import traceback
import warnings
from importlib import import_module
from typing import Any

import torch

from cases import CASES
from problem import NotOffered

ADAPTERS = ("with_lit_implicit", "with_torchdeq", "with_deepinv", "with_silva")


def ask(question: Any, library: Any) -> str:
    """Return the outcome of a case, whatever happens in it."""
    torch.manual_seed(0)
    try:
        return str(question(library))
    except NotOffered as missing:
        return f"n/a ({missing})"
    except Exception as problem:
        place = traceback.extract_tb(problem.__traceback__)[-1].name
        return f"crashes ({type(problem).__name__} in {place})"


def main() -> None:
    """Print the table as Markdown."""
    warnings.simplefilter("ignore")
    libraries: list[Any] = []
    absent: dict[str, str] = {}
    for name in ADAPTERS:
        try:
            libraries.append(import_module(name))
        except ImportError as problem:
            absent[name] = str(problem)
    heads = [f"{library.NAME} {library.VERSION}" for library in libraries]
    print("| case | " + " | ".join(heads) + " |")
    print("| --- |" + " --- |" * len(heads))
    for title, question in CASES.items():
        print(f"| {title} | " + " | ".join(ask(question, lib) for lib in libraries) + " |")
    for name, reason in absent.items():
        print(f"\n{name}: n/a, not installable ({reason})")
    print(f"\ntorch {torch.__version__}, Python {platform.python_version()}, CPU, float64")


if __name__ == "__main__":
    main()

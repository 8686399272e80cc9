"""Drawing and solving linear programs in bulk: all that determines labels, and the labels."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lit_implicit_lp.generator import (
    VERSION,
    Family,
    Size,
    draw_perturbation,
    draw_program,
    perturbed,
)
from lit_implicit_lp.label_arrays import PROGRAM_FIELDS, Arrays, fields, kind
from lit_implicit_lp.oracle import TOLERANCE, LPOracle, LPStatus
from lit_implicit_lp.problem import LinearProgram

CHUNK = 256
"""Candidates per chunk: what a kill can cost, a fraction of a second for 10 x 50."""


@dataclass(frozen=True)
class LabelSettings:
    """All that determines the labelled programs of one stream.

    Args:
        seed: Seed of the data set.
        stream: Number of the split.
        sizes: Sizes (constraints, variables, nonzeros) that are drawn from.
        modes: The perturbations that are labelled too, of "A", "b", "c", "l" and "u".
        perturb_norm: Their 2-norm.
        family: The law that programs are drawn from.
    """

    seed: int
    stream: int
    sizes: tuple[Size, ...]
    modes: tuple[str, ...] = ()
    perturb_norm: float = 1e-4
    family: Family = "paper"

    def n_bytes(self, n: int) -> int:
        """Return about how many bytes `n` labelled programs take."""
        total = 0
        for n_constraints, n_variables, n_nonzeros in self.sizes:
            lengths = {"constraints": n_constraints, "variables": n_variables, "programs": 1,
                       "nonzeros": n_nonzeros}  # fmt: skip
            for name, dtype in fields(self.modes).items():
                total += lengths[kind(name)] * np.dtype(dtype).itemsize
        return n * total // len(self.sizes)

    def describe(self) -> dict[str, Any]:
        """Return all that the labels depend on, as plain values.

        The order of the modes is none of it: each has draws of its own.
        """
        settings = {
            "generator": VERSION,
            "chunk": CHUNK,
            "tolerance": TOLERANCE,
            "seed": self.seed,
            "stream": self.stream,
            "sizes": [list(size) for size in self.sizes],
            "modes": sorted(set(self.modes)),
            "perturb_norm": self.perturb_norm if self.modes else None,
        }
        # Caches of the paper's programs are older than this choice and stay what they were.
        return settings if self.family == "paper" else {**settings, "family": self.family}

    def program(self, index: int) -> LinearProgram:
        """Draw the candidate of that number."""
        return draw_program(self.seed, self.stream, index, self.sizes, self.family)

    def key(self) -> str:
        """Return the name of the content: equal settings, equal key."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def label_chunk(
    settings: LabelSettings, number: int, check: Callable[[], None] = lambda: None
) -> Arrays:
    """Draw and solve the candidates of chunk `number`; keep those that have a solution.

    Args:
        settings: What is labelled.
        number: Number of the chunk.
        check: Called before each candidate; what it raises breaks the work off.

    Returns:
        Flat arrays. Per program: `index`, `objective`, `degenerate` (more than one solution) and
        the three `n_*`; per variable, constraint or nonzero the fields of `LinearProgram` and
        `target`; per mode `delta_<mode>`, `target_<mode>` (that of the unperturbed program where
        the perturbed one has none) and `valid_<mode>`. `status_counts` counts the candidates by
        `LPStatus`.
    """
    oracle = LPOracle()
    counts = np.zeros(len(LPStatus), np.int64)
    records: list[dict[str, Any]] = []
    for index in range(number * CHUNK, (number + 1) * CHUNK):
        check()
        program = settings.program(index)
        answer = oracle.solve(program)
        counts[answer.status] += 1
        if answer.status is LPStatus.OPTIMAL:
            record = {name: getattr(program, name) for name in PROGRAM_FIELDS}
            record |= {
                "index": index,
                "n_variables": program.n_variables,
                "n_constraints": program.n_constraints,
                "n_nonzeros": len(program.coefficients),
                "objective": answer.objective,
                "degenerate": oracle.is_degenerate(program, answer),
                "target": answer.y,
            }
            for mode in settings.modes:
                delta = draw_perturbation(
                    program, mode, settings.perturb_norm, settings.seed, settings.stream, index
                )
                moved = oracle.solve(perturbed(program, mode, delta))
                valid = moved.status is LPStatus.OPTIMAL
                record[f"delta_{mode}"] = delta
                record[f"target_{mode}"] = moved.y if valid else answer.y
                record[f"valid_{mode}"] = valid
            records.append(record)
    # An empty array of each type in front: a chunk without any program has the same form.
    chunk = {
        name: np.concatenate([np.zeros(0, dtype), *(np.atleast_1d(r[name]) for r in records)])
        for name, dtype in fields(settings.modes).items()
        if name != "status_counts"
    }
    return {**chunk, "status_counts": counts}

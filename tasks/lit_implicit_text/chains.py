"""How many iterations an answer takes by the length of its chain, on the built-in corpus.

`python -m lit_implicit_text.chains RUN_DIR/checkpoints/best.ckpt --output FOLDER`
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lit_implicit.errors import ConfigError, DataError, ResourceError
from lit_implicit.loading import load
from lit_implicit.module import ImplicitLightningModule
from lit_implicit.predictions import write_table
from lit_implicit.probes.iterates import iterates
from lit_implicit.scripts import run_script
from lit_implicit_text.corpus import ask
from lit_implicit_text.encoding import TextBatch, encode_sample, make_batch
from lit_implicit_text.find_tokenizer import tokenizer_in
from lit_implicit_text.measures import exact_match
from lit_implicit_text.phrasings import DIRECT, LENGTHS, LINKS, PERSONAL
from lit_implicit_text.samples import TextSample
from lit_implicit_text.senses import senses
from lit_implicit_text.vocabulary import AbstractTokenizer

BEYOND = 2
"""Links by which the longest chain here is longer than those of training."""

_STREAM = 2**31 - 1
"""Of the generator of links: far from the streams of the corpus, which are small numbers."""

_BATCH_SIZE = 128


def questions(n_links: int | None, seed: int = 0) -> list[TextSample]:
    """Return each sense in each phrasing of the test split, behind chains of one length.

    Args:
        n_links: Links of each chain; None means the questions that name a domain or a trade.
        seed: Seed of the links that are drawn.
    """
    stream = np.random.default_rng((seed, _STREAM, len(LINKS) if n_links is None else n_links))
    phrasings = (DIRECT["test"] if n_links is None else ()) + PERSONAL["test"]
    found = []
    for sense in senses():
        for phrasing in phrasings:
            links = None if n_links is None else stream.choice(list(LINKS), n_links).tolist()
            prompt = ask(phrasing, sense.word, sense.domain, links)
            found.append(TextSample(prompt, sense.explanation))
    return found


@torch.no_grad()
def exact_matches(
    model: ImplicitLightningModule, batches: Sequence[TextBatch], n_iter: int
) -> list[float]:
    """Return the exact match of all batches together at t = 1..n_iter.

    Args:
        model: The model.
        batches: Questions whose answers are known.
        n_iter: Most iterations.

    Raises:
        DataError: If a question is longer than the model's context, or holds an unknown token.
    """
    right = torch.zeros(n_iter, dtype=torch.float64)
    for batch in batches:
        steps = iterates(model.test_equilibrium, model.objective.inputs(batch), n_iter)
        next(steps)  # t = 0 is the start
        right += torch.stack([exact_match(step.y, batch).double().sum().cpu() for step in steps])
    return (right / sum(len(batch.samples) for batch in batches)).tolist()


def measure(checkpoint: Path, output: Path, n_iter: int = 64) -> Path:
    """Write exact match by length of the chain and by t, as `chains.csv` and `chains.png`.

    Args:
        checkpoint: A checkpoint of a looped transformer, trained on the built-in corpus.
        output: Folder of what is written; made if missing.
        n_iter: Most iterations.

    Returns:
        The folder.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or is none of text.
        ConfigError: If `n_iter` is below 1.
        DataError: If the model has no iterations, or its context is too short.
        ResourceError: If the folder cannot be written.
    """
    if n_iter < 1:
        raise ConfigError(f"`--n_iter` must be at least 1, got {n_iter}.")
    model, tokenizer = load(checkpoint), tokenizer_in(checkpoint)
    if not isinstance(model, ImplicitLightningModule):
        raise DataError(f"The model in {str(checkpoint)!r} does not iterate.")
    lengths = (None, *range(max(LENGTHS) + BEYOND + 1))
    asked = {_title(n): _batches(questions(n), tokenizer) for n in lengths}
    found = {title: exact_matches(model, batches, n_iter) for title, batches in asked.items()}
    rows = [{"t": t + 1, **{k: f"{v[t]:.4f}" for k, v in found.items()}} for t in range(n_iter)]
    try:
        write_table(rows, output / "chains.csv")
        _draw(found, output / "chains.png")
    except OSError as err:
        raise ResourceError(f"`--output` {str(output)!r} cannot be written: {err}.") from err
    return output


def _title(n_links: int | None) -> str:
    if n_links is None:
        return "domain or trade named"
    beyond = ", untrained" if n_links > max(LENGTHS) else ""
    return f"{n_links} link{'' if n_links == 1 else 's'}{beyond}"


def _batches(samples: Sequence[TextSample], tokenizer: AbstractTokenizer) -> list[TextBatch]:
    encoded = [encode_sample(sample, tokenizer, sys.maxsize) for sample in samples]
    numbers = range(len(encoded))
    parts = (slice(first, first + _BATCH_SIZE) for first in numbers[::_BATCH_SIZE])
    return [make_batch(encoded[part], numbers[part], tokenizer) for part in parts]


def _draw(found: dict[str, list[float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for title, values in found.items():
        style = "--" if "untrained" in title else "-"
        axes.plot(range(1, len(values) + 1), values, style, marker=".", label=title)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks := [2**k for k in range(len(values).bit_length())], map(str, ticks))
    axes.set_xlabel("iterations t")
    axes.set_ylabel("exact match, held-out phrasings")
    axes.set_ylim(0, 1.02)
    axes.legend(title="links to who is meant", fontsize=8)
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="lit_implicit_text.chains", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output", type=Path, default=Path("chains"))
    parser.add_argument("--n_iter", type=int, default=64)
    given = parser.parse_args(arguments)
    return run_script(lambda: measure(given.checkpoint, given.output, given.n_iter))


if __name__ == "__main__":
    sys.exit(main())

"""What a data module reads its samples from: the corpus, questions, pairs, or plain text."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from lit_implicit.errors import DataError
from lit_implicit_text.corpus import corpus_length, corpus_sample
from lit_implicit_text.encoding import Encoded, encode_sample
from lit_implicit_text.readers import read_questions, read_text
from lit_implicit_text.samples import TextSample
from lit_implicit_text.vocabulary import AbstractTokenizer

SPLITS = ("train", "val", "test")
_SHARES = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}


class AbstractSource(ABC):
    """Samples by split; all that is drawn is a function of (seed, epoch, index)."""

    has_answers = True
    """Whether marks of a tokenizer come between prompts and answers: plain text has neither."""

    @abstractmethod
    def length(self, split: str, tokenizer: AbstractTokenizer, context: int) -> int:
        """Return the number of samples of a split in an epoch."""

    @abstractmethod
    def get(
        self, split: str, index: int, epoch: int, tokenizer: AbstractTokenizer, context: int
    ) -> Encoded:
        """Return a sample as tokens, at most `context` of them."""

    @abstractmethod
    def texts(self) -> Iterator[str]:
        """Yield the texts of training: what a tokenizer is trained on."""


class CorpusSource(AbstractSource):
    """The built-in corpus.

    Args:
        seed: Seed of what is drawn.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def length(self, split: str, tokenizer: AbstractTokenizer, context: int) -> int:
        return corpus_length(split)

    def get(
        self, split: str, index: int, epoch: int, tokenizer: AbstractTokenizer, context: int
    ) -> Encoded:
        sample = corpus_sample(split, index, self.seed, epoch if split == "train" else 0)
        return encode_sample(sample, tokenizer, context)

    def texts(self) -> Iterator[str]:
        for index in range(corpus_length("train")):
            sample = corpus_sample("train", index, self.seed)
            yield sample.prompt
            yield sample.answer or ""


class SampleSource(AbstractSource):
    """Samples as they stand in files.

    Args:
        samples: The samples by split.
    """

    def __init__(self, samples: Mapping[str, Sequence[TextSample]]) -> None:
        self.samples = samples

    def length(self, split: str, tokenizer: AbstractTokenizer, context: int) -> int:
        return len(self.samples.get(split, ()))

    def get(
        self, split: str, index: int, epoch: int, tokenizer: AbstractTokenizer, context: int
    ) -> Encoded:
        return encode_sample(self.samples[split][index], tokenizer, context)

    def texts(self) -> Iterator[str]:
        for sample in self.samples.get("train", ()):
            yield sample.prompt
            yield sample.answer or ""


class PassageSource(AbstractSource):
    """Plain text in windows of `context` tokens: all of a window is learned, none is an answer.

    In training each window begins where (seed, epoch, index) draws it; those of validation and test
    follow one another.

    Args:
        texts: The text of each split.
        seed: Seed of what is drawn.
    """

    has_answers = False

    def __init__(self, texts: Mapping[str, str], seed: int) -> None:
        self._texts, self.seed = texts, seed
        self._tokens: dict[str, list[int]] = {}
        self._of: AbstractTokenizer | None = None

    def length(self, split: str, tokenizer: AbstractTokenizer, context: int) -> int:
        return max(1, len(self._tokens_of(split, tokenizer)) // context)

    def get(
        self, split: str, index: int, epoch: int, tokenizer: AbstractTokenizer, context: int
    ) -> Encoded:
        tokens = self._tokens_of(split, tokenizer)
        start = index * context
        if split == "train":
            stream = np.random.default_rng((self.seed, epoch, index))
            start = int(stream.integers(max(1, len(tokens) - context + 1)))
        window = tokens[start : start + context]
        n_prompt = max(1, len(window) // 2)  # what is asked to go on
        text = TextSample(tokenizer.decode(window[:n_prompt]), origin=f"the {split} text")
        return Encoded(text, window, n_prompt, 1)

    def texts(self) -> Iterator[str]:
        yield self._texts["train"]

    def _tokens_of(self, split: str, tokenizer: AbstractTokenizer) -> list[int]:
        if self._of is not tokenizer:  # a checkpoint may bring its own
            self._of, self._tokens = tokenizer, {}
        if split not in self._tokens:
            self._tokens[split] = tokenizer.encode(self._texts[split])
        return self._tokens[split]


def find_source(root: str | None, seed: int) -> AbstractSource:
    """Return the source that `data.root` names.

    Args:
        root: None for the corpus; a JSONL file, split by a hash of each prompt; or a folder, with
            train.jsonl, val.jsonl and test.jsonl or with text files (.txt), the beginning of each
            of which is trained on, its last two tenths validated and tested on.
        seed: Seed of what is drawn.

    Raises:
        DataError: If there is nothing to read, or it cannot be read.
    """
    if root is None:
        return CorpusSource(seed)
    path = Path(root).expanduser()
    if path.is_file():
        return SampleSource(_by_hash(read_questions(path), path))
    if not path.is_dir():
        raise DataError(
            f"`data.root` {root!r} does not exist. Give a JSONL file, a folder, or null for the "
            "built-in corpus."
        )
    if (path / "train.jsonl").is_file():
        return SampleSource({split: read_questions(path / f"{split}.jsonl") for split in SPLITS})
    return PassageSource(_passages(path), seed)


def _passages(folder: Path) -> dict[str, str]:
    """Return the text of each split: its share of each file."""
    files = sorted(folder.rglob("*.txt"))
    whole = [text for text in map(read_text, files) if text.strip()]
    if not whole:
        raise DataError(
            f"`data.root` {str(folder)!r} holds neither train.jsonl nor a .txt file with text."
        )
    texts = {
        split: "\n".join(t[int(first * len(t)) : int(last * len(t))] for t in whole)
        for split, (first, last) in _SHARES.items()
    }
    if empty := [split for split, text in texts.items() if not text.strip()]:
        n, names = sum(map(len, whole)), ", ".join(repr(str(file)) for file in files[:3])
        raise DataError(
            f"{names}{' and others' if len(files) > 3 else ''}: {n} characters are too few, none "
            f"falls into {' and '.join(empty)}. Each file gives 80 % of its text for training, "
            "10 % each for validation and test. Give longer ones."
        )
    return texts


def _by_hash(samples: Sequence[TextSample], path: Path) -> dict[str, list[TextSample]]:
    """Split by prompts, so that a new line moves none of the others."""
    splits: dict[str, list[TextSample]] = {split: [] for split in SPLITS}
    for sample in samples:
        place = int.from_bytes(sha256(sample.prompt.encode()).digest()[:4]) / 2**32
        splits[next(split for split, (_, last) in _SHARES.items() if place < last)].append(sample)
    empty = [split for split, found in splits.items() if not found]
    if empty:
        raise DataError(
            f"{str(path)!r} has too few lines: none falls into {' and '.join(empty)}. Give more, "
            "or a folder with train.jsonl, val.jsonl and test.jsonl."
        )
    return splits

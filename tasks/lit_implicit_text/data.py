"""Texts for training, validation and test, and prompts to be answered."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from lit_implicit.data import EpochDataLoader, batch_options, check_data_arguments
from lit_implicit_text.agreement import check_model
from lit_implicit_text.arranging import by_length
from lit_implicit_text.encoding import Encoded, TextBatch, make_batch
from lit_implicit_text.find_tokenizer import read_tokenizer
from lit_implicit_text.readers import read_pairs
from lit_implicit_text.samples import TextSample
from lit_implicit_text.sources import AbstractSource, SampleSource, find_source
from lit_implicit_text.vocabulary import (
    AbstractTokenizer,
    ByteTokenizer,
    tokenizer_of,
    train_bpe,
)


class TextDataModule(LightningDataModule):
    """Questions with answers, plain text, or prompts alone, as tokens.

    Of questions the answer alone is learned, of plain text every token. Everything drawn is a
    function of (seed, epoch, index). The tokenizer goes into every checkpoint, and a run that
    begins with a checkpoint takes the one in it, whatever its data are.

    Args:
        root: What is learned: null for the built-in corpus, words of several senses; a JSONL file
            with `{"prompt": ..., "answer": ...}` in each line, split by a hash of the prompts; or a
            folder, with such files train.jsonl, val.jsonl and test.jsonl, or with text files
            (*.txt), of each of which 80 % are trained on and 10 % each validated and tested on.
        pairs: A CSV file with pairs of prompts, columns `input 1` and `input 2`, to test and
            predict on in place of what `root` has for it. Their answers are not known: error and
            loss are those of the prompts themselves.
        prompts: Prompts to answer, for `predict` alone.
        tokenizer: `bpe`, trained on the texts; `bytes`; or a tokenizer.json, its folder, or a name
            on the hub.
        tokenizer_revision: Branch, tag or commit of a tokenizer on the hub; null means its main
            branch.
        vocab_size: Most tokens of a `bpe` that is trained, at least 258.
        stop_tokens: Ids that end an answer, for a tokenizer.json.
        context: Most tokens of a sample, prompt and answer together; of plain text, all windows'.
        n_train: Most samples to train on in an epoch; null means all.
        n_val: Most samples to validate on.
        n_test: Most samples to test and predict on.
        seed: Seed of what is drawn and of the order of training, at least 0.
        batch_size: Samples in a batch of training, per process.
        sorted_batches: Batches of training that share their samples out by length, so that texts of
            like length are together: with 8, batches of the built-in corpus have a fifth fewer
            positions, as less is padding. 1 leaves samples as they were drawn.
        eval_batch_size: Samples in a batch of validation, test and prediction.
        num_workers: Processes that make batches; tokens of a small corpus take no time.

    Raises:
        ValueError: If an argument is out of range, or a revision is given without a hub.
    """

    def __init__(
        self,
        root: str | None = None,
        pairs: str | None = None,
        prompts: Sequence[str] = (),
        tokenizer: str = "bpe",
        tokenizer_revision: str | None = None,
        vocab_size: int = 512,
        stop_tokens: Sequence[int] = (),
        context: int = 96,
        n_train: int | None = None,
        n_val: int | None = None,
        n_test: int | None = None,
        seed: int = 0,
        batch_size: int = 64,
        sorted_batches: int = 1,
        eval_batch_size: int = 128,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.root, self.pairs = root, pairs
        self.prompts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
        self.tokenizer_name, self.tokenizer_revision = tokenizer, tokenizer_revision
        self.vocab_size = vocab_size
        self.stop_tokens, self.context = tuple(stop_tokens), context
        self.n_samples = {"train": n_train, "val": n_val, "test": n_test}
        self.seed, self.num_workers = seed, num_workers
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.sorted_batches = sorted_batches
        least = {f"n_{split}": (n, 1) for split, n in self.n_samples.items() if n is not None}
        least |= {"vocab_size": (vocab_size, 258), "context": (context, 2)}
        least |= {"sorted_batches": (sorted_batches, 1)}
        check_data_arguments(self, least)
        if tokenizer_revision is not None and (
            tokenizer in ("bpe", "bytes") or Path(tokenizer).expanduser().exists()
        ):
            raise ValueError(
                f"`TextDataModule.tokenizer_revision` {tokenizer_revision!r} is of tokenizers on "
                f"the hub, got `tokenizer` {tokenizer!r}, which is not there. Leave it out."
            )
        self._source: AbstractSource | None = None
        self._tokenizer: AbstractTokenizer | None = None

    @property
    def tokenizer(self) -> AbstractTokenizer:
        """The tokenizer: made when first asked for, or that of the checkpoint."""
        if self._tokenizer is None:
            self._tokenizer = self._make_tokenizer()
        return self._tokenizer

    @property
    def source(self) -> AbstractSource:
        """What the samples of training, validation and test are read from."""
        if self._source is None:
            self._source = find_source(self.root, self.seed)
        return self._source

    def setup(self, stage: str | None = None) -> None:
        """Read what the stage needs.

        Raises:
            ConfigError: If the model has fewer tokens, or a shorter context.
            DataError: If files cannot be read, or hold what they must not.
        """
        restored = stage in ("validate", "test", "predict") and self._has_checkpoint()
        if not restored:  # else it is the checkpoint's, which comes after this
            self._check_model()
        if stage in ("predict", "test") and self.pairs:
            self._asked(stage)

    def state_dict(self) -> dict[str, Any]:
        """Return the tokenizer: a checkpoint is nothing without it."""
        return {"tokenizer": self.tokenizer.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the tokenizer of a checkpoint."""
        own, self._tokenizer = self._tokenizer, tokenizer_of(state_dict["tokenizer"])
        if own is not None and own.state() != state_dict["tokenizer"]:
            rank_zero_info("The tokenizer is that of the checkpoint, not the one of these data.")
        self._check_model()

    def train_dataloader(self) -> Any:
        """Return the training batches, in an order that is a function of (seed, epoch)."""
        samples, arrange = self._samples(self.source, "train"), None
        if self.sorted_batches > 1:
            arrange = partial(by_length, samples, self.batch_size, self.sorted_batches, self.seed)
        return EpochDataLoader(
            samples,
            self.batch_size,
            seed=self.seed,
            trainer=self.trainer,
            with_epoch=True,
            arrange=arrange,
            **batch_options(self.num_workers),
        )

    def val_dataloader(self) -> Any:
        """Return the validation batches, always in the same order."""
        return self._loader(self._samples(self.source, "val"))

    def test_dataloader(self) -> Any:
        """Return the test batches, always in the same order."""
        return self._loader(self._samples(self._asked("test"), "test"))

    def predict_dataloader(self) -> Any:
        """Return the prompts, where there are any, else the pairs, else the test batches."""
        return self._loader(self._samples(self._asked("predict"), "test"))

    def _asked(self, stage: str) -> AbstractSource:
        """Return what is tested, or answered."""
        if self.prompts and stage == "predict":
            numbered = enumerate(self.prompts, start=1)
            asked = [TextSample(p, origin=f"number {i} of `data.prompts`") for i, p in numbered]
            return SampleSource({"test": asked})
        if self.pairs:
            return SampleSource({"test": read_pairs(Path(self.pairs).expanduser())})
        return self.source

    def _make_tokenizer(self) -> AbstractTokenizer:
        if self.tokenizer_name == "bytes":
            return ByteTokenizer(self.source.has_answers)
        if self.tokenizer_name == "bpe":
            return train_bpe(self.source.texts(), self.vocab_size, self.source.has_answers)
        return read_tokenizer(self.tokenizer_name, self.stop_tokens, self.tokenizer_revision)

    def _has_checkpoint(self) -> bool:
        return self.trainer is not None and self.trainer.ckpt_path is not None

    def _check_model(self) -> None:
        if self.trainer is not None:
            check_model(self.trainer.lightning_module, self.tokenizer.vocab_size, self.context)

    def _samples(self, source: AbstractSource, split: str) -> "TextSamples":
        most = self.n_samples[split]
        return TextSamples(source, split, self.tokenizer, self.context, most, self.seed)

    def _loader(self, samples: "TextSamples") -> Any:
        return DataLoader(
            samples, batch_size=self.eval_batch_size, **batch_options(self.num_workers)
        )


class TextSamples(Dataset[TextBatch]):
    """The samples of a split, made into batches.

    Args:
        source: Where they are from.
        split: The split.
        tokenizer: What makes tokens of them.
        context: Most tokens of a sample.
        most: Most samples; None means all. Which, the seed tells.
        seed: Seed of the choice.
    """

    def __init__(
        self,
        source: AbstractSource,
        split: str,
        tokenizer: AbstractTokenizer,
        context: int,
        most: int | None = None,
        seed: int = 0,
    ) -> None:
        self.source, self.split = source, split
        self.tokenizer, self.context = tokenizer, context
        n = source.length(split, tokenizer, context)
        self.numbers = list(range(n))
        if most is not None and most < n:
            self.numbers = sorted(np.random.default_rng(seed).permutation(n)[:most].tolist())
        if isinstance(source, SampleSource):  # a line that is wrong is told before training
            for index in range(len(self)):
                self._get(index, 0)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitems__(self, items: Sequence[Any]) -> TextBatch:
        """Return samples, by index or by (epoch, index), as a batch."""
        pairs = [item if isinstance(item, tuple) else (0, item) for item in items]
        encoded = [self._get(index, epoch) for epoch, index in pairs]
        return make_batch(encoded, [index for _, index in pairs], self.tokenizer, self.context)

    def __getitem__(self, item: Any) -> TextBatch:
        return self.__getitems__([item])

    def n_tokens(self, index: int, epoch: int) -> int:
        """Return the length of a sample."""
        return len(self._get(index, epoch).tokens)

    def _get(self, index: int, epoch: int) -> Encoded:
        number = self.numbers[index]
        return self.source.get(self.split, number, epoch, self.tokenizer, self.context)

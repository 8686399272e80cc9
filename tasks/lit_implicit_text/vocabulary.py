"""Tokenizers: from text to tokens and back, with what comes between a prompt and its answer.

A model is nothing without the tokenizer that it was trained with: `state` is all there is of one,
as plain values for a checkpoint, and `tokenizer_of` makes it again.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lit_implicit.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ANSWER, END = "<|answer|>", "<|end|>"
"""Between a prompt and its answer, and behind the answer."""


class AbstractTokenizer(ABC):
    """Text to tokens and back.

    Args:
        vocab_size: Number of tokens; ids are below it.
        stop_tokens: Ids that end an answer.
        separates: Whether a mark stands between a prompt and its answer.
    """

    vocab_size: int
    stop_tokens: tuple[int, ...]
    separates: bool

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text alone."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; special ones have none."""

    @abstractmethod
    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a prompt, with all that stands before its answer."""

    def answer(self, text: str) -> list[int]:
        """Return the tokens of an answer, with the one that ends it, if there is one."""
        return self.encode(text) + list(self.stop_tokens[:1])

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what `tokenizer_of` makes the tokenizer of: plain values."""


class ByteTokenizer(AbstractTokenizer):
    """The bytes of UTF-8, and two marks, 256 and 257: needs no library, knows every text.

    Args:
        marks: Whether the marks are used; plain text has none, and its model never sees them.
    """

    vocab_size = 258

    def __init__(self, marks: bool = True) -> None:
        self.separates = marks
        self.stop_tokens = (257,) if marks else ()

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(token for token in tokens if token < 256).decode(errors="replace")

    def prompt(self, text: str) -> list[int]:
        return [*self.encode(text), 256] if self.separates else self.encode(text)

    def state(self) -> dict[str, Any]:
        return {"kind": "bytes", "marks": self.separates}


class LibraryTokenizer(AbstractTokenizer):
    """A tokenizer of the tokenizers library: trained here, or from a `tokenizer.json`.

    Where it knows the two tokens of this module, they separate and end; else a prompt stands as the
    library makes it (with a first token, if its file asks for one), and `stop_tokens` end.

    Args:
        tokenizer: The library's.
        stop_tokens: Ids that end an answer, the first behind each in training; none means that of
            this module, if the tokenizer has it.
    """

    def __init__(self, tokenizer: "Tokenizer", stop_tokens: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = max(tokenizer.get_vocab().values()) + 1
        end = tokenizer.token_to_id(END)
        self.stop_tokens = tuple(stop_tokens) or (() if end is None else (end,))
        if any(not 0 <= token < self.vocab_size for token in self.stop_tokens):
            raise DataError(
                f"`data.stop_tokens` must be ids from 0 to {self.vocab_size - 1}, the tokenizer's, "
                f"got {list(self.stop_tokens)}."
            )
        separator = tokenizer.token_to_id(ANSWER)
        self._separator = [] if separator is None else [separator]
        self.separates = separator is not None
        if self.separates:  # written in a text, the marks are text: nobody can forge them
            tokenizer.encode_special_tokens = True

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def prompt(self, text: str) -> list[int]:
        return [*self.tokenizer.encode(text).ids, *self._separator]

    def state(self) -> dict[str, Any]:
        return {
            "kind": "library",
            "json": self.tokenizer.to_str(),
            "stop_tokens": list(self.stop_tokens),
        }


def train_bpe(texts: Iterable[str], vocab_size: int, marks: bool = True) -> LibraryTokenizer:
    """Train byte-pair encoding over bytes, so that every text has tokens and comes back whole.

    The same texts, in the same order, give the same tokenizer.

    Args:
        texts: What it is trained on.
        vocab_size: Most tokens, at least 258: the bytes and the two special ones.
        marks: Whether it has the special ones; a model of plain text would never see them.

    References:
        Sennrich et al. (2016), arXiv:1508.07909.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[ANSWER, END] if marks else [],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return LibraryTokenizer(tokenizer)


def tokenizer_of(state: Mapping[str, Any]) -> AbstractTokenizer:
    """Make the tokenizer whose `state` this is."""
    if state["kind"] == "bytes":
        return ByteTokenizer(state.get("marks", True))  # of old checkpoints: with them
    from tokenizers import Tokenizer

    return LibraryTokenizer(Tokenizer.from_str(state["json"]), state["stop_tokens"])

"""Where a tokenizer is from: a file, a folder, the hub, or the checkpoint of a run."""

from collections.abc import Sequence
from pathlib import Path

from lit_implicit.checkpoint_io import read_checkpoint
from lit_implicit.errors import CheckpointError, DataError
from lit_implicit_text.vocabulary import AbstractTokenizer, LibraryTokenizer, tokenizer_of

_FILE = "tokenizer.json"


def tokenizer_in(checkpoint: str | Path) -> AbstractTokenizer:
    """Return the tokenizer that a model was trained with, out of its checkpoint.

    Args:
        checkpoint: A checkpoint of `lit-implicit fit` on text.

    Raises:
        CheckpointError: If it cannot be read, or is that of another task.

    Example:
        >>> model, tokenizer = lit_implicit.load("best.ckpt"), tokenizer_in("best.ckpt")
        >>> tokenizer.prompt("What is charge in physics?")
    """
    state = read_checkpoint(checkpoint).get("TextDataModule")  # Lightning's name for its state
    if state is None:
        raise CheckpointError(
            f"Checkpoint {str(checkpoint)!r} holds no tokenizer: it was not trained on text by "
            "`lit-implicit fit`."
        )
    return tokenizer_of(state["tokenizer"])


def read_tokenizer(
    place: str, stop_tokens: Sequence[int] = (), revision: str | None = None
) -> AbstractTokenizer:
    """Read a `tokenizer.json`.

    Args:
        place: The file, a folder that holds it, or a name on the hub such as `owner/model`.
        stop_tokens: Ids that end an answer.
        revision: Branch, tag or commit on the hub; None means its main branch.

    Raises:
        DataError: If there is none, it cannot be fetched, or is no tokenizer.
    """
    from tokenizers import Tokenizer

    path = _find(place, revision)
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as err:  # the library raises nothing narrower
        raise DataError(
            f"{str(path)!r} is no tokenizer of the tokenizers library: {_line(err)}."
        ) from err
    return LibraryTokenizer(tokenizer, stop_tokens)


def _find(place: str, revision: str | None) -> Path:
    path = Path(place).expanduser()
    if path.is_dir():
        path = path / _FILE
        if not path.is_file():
            raise DataError(f"`data.tokenizer`: there is no {_FILE!r} in the folder {place!r}.")
        return path
    if path.is_file():
        return path
    if place.count("/") != 1 or path.suffix == ".json" or place.startswith((".", "~", "/")):
        raise DataError(
            f"`data.tokenizer` {place!r} is neither 'bpe' nor 'bytes', and no such file or folder "
            "exists. Give a tokenizer.json, its folder, or a name on the hub as 'owner/model'."
        )
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(place, _FILE, revision=revision))
    except Exception as err:  # no network, no such name, no leave: many kinds of errors
        raise DataError(
            f"`data.tokenizer`: {_FILE!r} of {place!r} could not be fetched from the hub "
            f"({_line(err)}). Put it into a folder by yourself, and give that folder."
        ) from err


def _line(err: Exception) -> str:
    return (str(err).strip() or type(err).__name__).splitlines()[0].rstrip(".")

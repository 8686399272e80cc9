"""A model's folder: one on disk, or a name on the Hugging Face hub."""

import re
from pathlib import Path

from lit_implicit.errors import CheckpointError

_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILES = ["config.json", "*.safetensors", "*.safetensors.index.json"]


def model_folder(path: str, revision: str | None = None) -> Path:
    """Return the folder of a model, fetched from the hub where `path` is a name there.

    What was fetched once is not fetched again, and found without a network.

    Args:
        path: A folder, or a name on the hub such as `owner/model`.
        revision: Branch, tag or commit on the hub; None means its main branch.

    Raises:
        CheckpointError: If there is no such folder, and it cannot be fetched.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or not _NAME.fullmatch(path):
        raise CheckpointError(
            f"{path!r} is no folder. Give the folder that holds the model's config.json and its "
            "*.safetensors, or a name on the hub as 'owner/model'."
        )
    from huggingface_hub import snapshot_download  # slow to import

    try:
        return Path(snapshot_download(path, revision=revision, allow_patterns=_FILES))
    except Exception as err:  # no network, no such name, no leave: many kinds of errors
        reason = (str(err).strip() or type(err).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"No folder {path!r} exists, and the hub gave no model of that name ({reason}). On a "
            f"machine with a network run `hf download {path} --local-dir FOLDER`, which fetches "
            "config.json and *.safetensors; bring FOLDER here and give it in place of the name."
        ) from err

"""What torch, Lightning and the system raise, and the line that becomes of it."""

import errno

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lit_implicit.cli.mistakes import as_mistake
from lit_implicit.errors import ConfigError, DataError, ResourceError


def raised_by(function):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function()
    return caught.value


@pytest.mark.parametrize(
    ("err", "kind", "words"),
    [
        (MisconfigurationException("no such device"), ConfigError, "no such device"),
        (OSError(errno.ENOSPC, "No space", "a/b"), ResourceError, "The disk is full: 'a/b'"),
        (OSError(errno.ENOSPC, "No space"), ResourceError, "The disk is full: 'runs/x'"),
        (PermissionError(errno.EACCES, "No", "runs/x/a"), ResourceError, "Writing is not allowed"),
        (torch.OutOfMemoryError("Tried to allocate 2 GiB"), ResourceError, "Lower the batch size"),
        (RuntimeError("gloo: Connection closed by peer"), ResourceError, "process of this run"),
        (torch.distributed.DistNetworkError("timed out"), ResourceError, "cannot be reached"),
    ],
)
def test_mistakes_of_others_become_ours(tmp_path, err, kind, words):
    mistake = as_mistake(err, type(tmp_path)("runs/x"))
    assert isinstance(mistake, kind)
    assert words in str(mistake)


def test_allocation_that_fails():
    err = raised_by(lambda: torch.empty(10**15))
    assert "not enough memory" in str(as_mistake(err, None))


@pytest.mark.parametrize(
    "err", [DataError("said"), ValueError("a bug"), PermissionError(errno.EACCES, "No", "/data")]
)
def test_what_is_no_mistake_stays_as_it_is(err):
    assert as_mistake(err, None) is None

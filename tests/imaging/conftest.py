import pytest

from lit_implicit_imaging import folders, own_photographs


@pytest.fixture
def told(monkeypatch):
    """Lines that the data tell; other tests may have muted the logger that prints them."""
    lines = []
    for module in (folders, own_photographs):
        monkeypatch.setattr(module, "rank_zero_info", lines.append)
    return lines

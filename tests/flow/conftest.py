import pytest

from lit_implicit_flow import cache, forces, sources


@pytest.fixture
def told(monkeypatch):
    """Lines that the data tell; other tests may have muted the logger that prints them."""
    lines = []
    for module in (cache, forces, sources):
        monkeypatch.setattr(module, "rank_zero_info", lines.append)
    return lines

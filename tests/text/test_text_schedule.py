"""The learning rate by hand, and beyond its end."""

import pytest
import torch

from lit_implicit_text.schedule import WarmupCosineLR


def rates(n, **steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    schedule = WarmupCosineLR(optimizer, **steps)
    found = []
    for _ in range(n):
        found.append(optimizer.param_groups[0]["lr"] / 2)
        optimizer.step()
        schedule.step()
    return found


def test_it_rises_falls_and_stays():
    found = rates(9, warmup=2, total=6)
    assert found[:3] == pytest.approx([0.04, 0.52, 1.0])
    assert found[4] == pytest.approx(0.505)  # half way down
    assert found[6:] == pytest.approx([0.01] * 3)  # longer than planned
    assert rates(1, warmup=0, total=1) == [1.0]


@pytest.mark.parametrize(("warmup", "total"), [(-1, 3), (3, 3)])
def test_steps_out_of_range_are_refused(warmup, total):
    with pytest.raises(ValueError, match=f"got {warmup} and {total}"):
        rates(1, warmup=warmup, total=total)

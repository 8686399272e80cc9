"""Probes over several processes, of which some may have seen no sample."""

import os

import pytest
import torch
from affine_task import AffineObjective, AffineOperator

from lit_implicit import Equilibrium, Implicit, Picard
from lit_implicit.errors import NoSamplesError
from lit_implicit.probes import (
    EquilibriumAuditProbe,
    LipschitzCurveProbe,
    RegularityProbe,
    TestTimeCurveProbe,
)

W = 0.5
PROBES = {
    "audit": lambda: EquilibriumAuditProbe(5, Implicit(), Picard(), n_starts=2),
    "lipschitz": lambda: LipschitzCurveProbe(
        3, AffineObjective().modes, estimators=("pairs", "jacobian", "worst_pair"),
        worst_pair_steps=1,
    ),
    "regularity": lambda: RegularityProbe(AffineObjective().modes, n_steps=3),
    "test_time": lambda: TestTimeCurveProbe(3),
}  # fmt: skip
NUMBERS = {
    "audit": lambda found: found.error_mean.tolist(),
    "lipschitz": lambda curve: curve.slopes["input"].tolist(),
    "regularity": lambda report: report.factor.tolist(),
    "test_time": lambda curve: curve.error_mean.tolist(),
}
each_probe = pytest.mark.parametrize("name", PROBES)


def measured(name, n_batches=1, dtype=torch.float64):
    probe = PROBES[name]()
    layer = Equilibrium(AffineOperator(W).to(dtype), Picard())
    for number in range(n_batches):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(number)).to(dtype)
        probe.update(layer, AffineObjective(), (x, 2 * x))
    return probe


@each_probe
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_process_without_a_sample_agrees_with_the_others_on_what_is_gathered(name, dtype):
    def gathered(probe):
        """The gathers of a process, in their order: all must match, or the others wait for ever."""
        calls = []

        def gather(tensor, group=None):
            calls.append((tensor.dtype, tuple(tensor.shape[1:]), tensor.ndim))
            return [tensor]

        probe.sync(dist_sync_fn=gather, distributed_available=lambda: True)
        return calls

    some = gathered(measured(name, 2, dtype))
    assert len(some) >= 5
    assert gathered(measured(name, 0)) == some


@each_probe
def test_no_sample_at_all_is_said_and_spoils_no_later_measurement(name):
    probe = measured(name, 0)
    with (
        pytest.warns(UserWarning, match="before"),
        pytest.raises(NoSamplesError, match=f"`{type(probe).__name__}` has measured no sample"),
    ):
        probe.compute()
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    probe.update(Equilibrium(AffineOperator(W).double(), Picard()), AffineObjective(), (x, 2 * x))
    assert NUMBERS[name](probe.compute()) == NUMBERS[name](measured(name).compute())


def work(rank, folder):
    """Rank 0 has two batches and rank 1 none."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    found = {name: NUMBERS[name](measured(name, 2 * (1 - rank)).compute()) for name in PROBES}
    torch.save(found, os.path.join(folder, f"rank{rank}.pt"))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_a_process_without_a_sample_has_the_result_of_all(tmp_path):
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    first, other = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert first == other
    for name in PROBES:
        assert first[name] == pytest.approx(NUMBERS[name](measured(name, 2).compute()))

"""Training over NCCL, on machines that have the GPUs; `pytest -m gpu`."""

import pytest
import torch
from launched import SHORT, ends, outcome, torchrun

LINE = (
    "torchrun --nproc_per_node {n} -m lit_implicit.cli fit --config configs/smoke/scalar.yaml "
    "--trainer.accelerator gpu --trainer.devices {n} --trainer.strategy ddp --run_dir nccl"
)


@pytest.mark.gpu
@pytest.mark.parametrize("n", [1, 2])
def test_fit_over_nccl(tmp_path, n):
    if not torch.cuda.is_available() or torch.cuda.device_count() < n:
        pytest.skip(f"needs {n} CUDA devices, found {torch.cuda.device_count()}")
    if not torch.distributed.is_nccl_available():
        pytest.skip("needs NCCL, which this build of torch lacks")
    flags = [*SHORT, f"--data.batch_size={16 // n}", "--trainer.max_epochs=5"]
    ((code, _, err),) = ends([torchrun(LINE.format(n=n), tmp_path, *flags)])
    assert code == 0, err
    report, weights = outcome(tmp_path / "nccl")
    assert report["n_devices"] == n
    assert report["device"].startswith("cuda")
    assert 0 < report["metrics"]["test"]["error"] < float("inf")
    assert all(weight.isfinite().all() for weight in weights.values())

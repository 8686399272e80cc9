"""`compile` under DDP: each rank compiles for itself, and the steps are those of plain calls."""

import pytest
import torch
from lightning.pytorch import Trainer
from two_ranks import QUIET, dealt, make_module, on_ranks, samples

from lit_implicit.compilation import Compile, CompiledOperator


def work(rank, n_ranks, folder):
    torch.distributed.init_process_group("gloo")
    found = {}
    for name in ("plain", "compiled"):
        module = make_module()
        if name == "compiled":
            module.compiled = CompiledOperator(module.operator, Compile(backend="aot_eager"))
        trainer = Trainer(**QUIET, max_epochs=1, strategy="ddp", devices=2)
        trainer.fit(module, dealt(samples(12), 2, rank, n_ranks))
        found[name] = module.operator.a.detach().clone()
        found["names"] = list(module.state_dict())
    found["n_graphs"] = module.compiled.n_graphs
    return found


@pytest.mark.slow
def test_ranks_that_compile_take_the_steps_of_those_that_do_not(tmp_path):
    ranks = on_ranks(work, tmp_path)
    assert torch.equal(ranks[0]["compiled"], ranks[1]["compiled"])
    torch.testing.assert_close(ranks[0]["compiled"], ranks[0]["plain"], rtol=1e-9, atol=1e-11)
    assert all(0 < rank["n_graphs"] <= 4 for rank in ranks)
    assert "operator.a" in ranks[0]["names"]

"""Mixed precision: it trains, G computes in half, states and parameters stay in float32."""

import warnings

import pytest
import torch
from affine_task import DIM, AffineObjective
from lightning.pytorch import Callback, Trainer
from problems import matrix, random
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from two_ranks import QUIET

from lit_implicit import AbstractOperator, Anderson, Implicit, ImplicitLightningModule

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)


class Linear(AbstractOperator):
    """G(z, x) = tanh(A z + B x); notes the dtype of its products."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        with torch.no_grad():
            self.a.weight.copy_(matrix(DIM, 0.5))
        self.products = set()

    def init_state(self, c, generator=None):
        return torch.zeros_like(c)

    def encode(self, x):
        return self.b(x)

    def forward(self, z, c):
        product = self.a(z)
        self.products.add(product.dtype)
        return torch.tanh(product + c)


class Notes(Callback):
    """Keep the loss and the solution of each step."""

    def __init__(self):
        self.losses, self.solutions = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        self.solutions.append(outputs["solution"])


@pytest.mark.filterwarnings("ignore:You defined a .validation_step.")
@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision(device, precision):
    torch.manual_seed(0)
    operator, notes = Linear(), Notes()
    solver = Anderson(rtol=1e-2, max_iter=50)
    module = ImplicitLightningModule(operator, AffineObjective(), solver, Implicit())
    module.configure_optimizers = lambda: torch.optim.Adam(module.parameters(), lr=0.03)
    x = random(16, DIM).float()
    settings = {**QUIET, "accelerator": device, "devices": 1, "precision": precision}
    with warnings.catch_warnings():
        # On a CPU there is no float16 to mix in: Lightning takes bfloat16, and says so.
        warnings.filterwarnings("ignore", "You passed .*16-mixed")
        trainer = Trainer(**settings, max_epochs=40, callbacks=[notes])
    trainer.fit(module, DataLoader(TensorDataset(x, (x / 2).tanh()), batch_size=16))
    half = torch.float16 if (device, precision) == ("cuda", "16-mixed") else torch.bfloat16
    assert operator.products == {half}
    for solution in notes.solutions:
        assert solution.z.dtype == torch.float32
        assert solution.converged.all()  # to 1e-2: bfloat16 has 8 bits
        assert solution.adjoint.status.max() <= 1
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert notes.losses[-1] < 0.1 * notes.losses[0]

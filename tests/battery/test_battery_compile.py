"""`torch.compile` traces G and the step of every solver into one graph, without a break.

The checks run in a process of their own: what checks shapes in the tests cannot be traced.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = ("dense", "ragged")


@pytest.mark.slow
def test_steps_and_g_are_single_graphs_that_give_the_same_numbers():
    path = os.pathsep.join(str(folder) for folder in Path(__file__).parents[:2])
    done = subprocess.run(
        [sys.executable, __file__], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["16", "graphs"]


def check_step(kind, solver):
    """Six steps by one graph, compiled without a break, equal those without."""
    operator, x, _ = batch(kind, parts_of(kind))
    z0 = operator.init_state(x)
    layout = operator.layout(z0, x)

    def iterates(compiled):
        stepper, z, seen = solver.stepper(layout), z0, []
        step = lambda z, gz: stepper.step(Evaluation(layout, z, gz))  # noqa: E731
        if compiled:
            step = torch.compile(step, fullgraph=True, backend="eager")
        for _ in range(6):
            z = step(z, operator(z, x))
            seen.append(z)
        return seen

    with torch.no_grad():
        for a, b in zip(iterates(True), iterates(False), strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


def check_g(kind):
    """G and its gradient in one graph."""
    operator, x, b = batch(kind, parts_of(kind))
    z = operator.init_state(x) + 1.0
    compiled = torch.compile(operator.forward, fullgraph=True, backend="eager")
    expected = torch.autograd.grad(operator(z, x).square().sum(), [operator.gain, b])
    found = torch.autograd.grad(compiled(z, x).square().sum(), [operator.gain, b])
    for p, q in zip(found, expected, strict=True):
        assert torch.allclose(p, q, rtol=1e-12)


if __name__ == "__main__":
    import torch
    from battery_cases import batch, parts_of

    from lit_implicit import Anderson, Auto, Broyden, Picard
    from lit_implicit.solvers import Evaluation

    n_graphs = 0
    for kind in KINDS:
        type_one = Anderson(3, type="I")
        steps = (Picard(), Picard(0.7), Anderson(3), Anderson(3, 0.6), type_one, Broyden(3), Auto())
        for solver in steps:
            torch._dynamo.reset()
            check_step(kind, solver)
            n_graphs += 1
        check_g(kind)
        n_graphs += 1
    print(n_graphs, "graphs")  # noqa: T201

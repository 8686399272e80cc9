"""Compare the deblurring models with deepinv's equilibrium models: same weights, same photographs.

    python benchmarks/imaging.py [--weights FILE] [--device cuda] [--quick] [--output FILE]

Training steps (forward, mean square error, backward to all parameters) and evaluations by HQS and
PGD. deepinv runs at the settings of arXiv:2510.03638: 100 plain iterations forward, at most 20
backward. Ours run at the same settings, and by tolerance: for each solver the loosest one of a
fixed grid whose gradient is as near to the exact one, from solves in float64, as deepinv's is; in
evaluation, whose PSNR is for each image within 0.01 dB of deepinv's and of the fixed point's.
Jacobian-free gradients are held to the Jacobian-free gradient at the fixed point. All take turns,
and ratios are within a turn. H are calls of the denoiser, vjp products with its Jacobian. A CPU's
peak of memory is that of all live tensors; scratch space within kernels is not seen.

Photographs are scikit-image's, so that nothing is downloaded, or those of `--photographs`. Weights
come from a checkpoint (with its step size and noise level for the operator it was trained in) or a
state dict of the denoiser; without any they are random, scaled so that plain iteration converges.
"""

import argparse
import copy
import os
import warnings
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from imaging_case import IMPLICIT, JACOBIAN_FREE, KINDS, Case, read_weights, untrained
from imaging_report import memory_table, part_table, targets
from imaging_rows import evaluation_rows, memory_rows, training_rows
from lit_implicit.reporting.report import count_parameters, environment, write_json
from lit_implicit.tree import map_tensors
from lit_implicit_imaging.batch import ImagingBatch
from lit_implicit_imaging.data import ImagingDataModule
from lit_implicit_imaging.denoiser import ImagingDRUNet
from solvers_report import console, target_table

_QUICK = {"crop": 32, "batch_size": 2, "channels": (4, 4, 8, 8), "rounds": 1, "kernel_size": 9}


def main(args: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write."""
    given = _arguments(args)
    torch.set_num_threads(given.threads)
    out, load_average = console(), [os.getloadavg()[0]]
    rows: list[dict[str, Any]] = []
    memory: list[dict[str, Any]] = []
    cases: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deepinv's own
        for case in _cases(given):
            for kind in (IMPLICIT, JACOBIAN_FREE):
                found = training_rows(case, kind, given.rounds)
                out.print(part_table(found, f"gradient error at most {found[0]['goal']:.1e}"))
                rows += found
            found = evaluation_rows(case, given.rounds)
            out.print(part_table(found, f"PSNR within {found[0]['goal']} dB"))
            rows += found
            memory += memory_rows(case)
            cases[case.name] = _facts(case)
            out.print(f"{case.name}: {cases[case.name]}")
    load_average.append(os.getloadavg()[0])
    where = environment(torch.device(given.device))
    where["versions"]["deepinv"] = version("deepinv")
    content: dict[str, Any] = {
        "date": date.today().isoformat(), **where, "threads": given.threads,
        "rounds": given.rounds, "quick": given.quick, "load_average": load_average,
        "photographs": "named by --photographs" if given.photographs else "scikit-image's",
        "crop": given.crop, "batch_size": given.batch_size, "kernel": Path(given.kernel).name,
        "noise": given.noise, "weights": "trained" if given.weights else "random, scaled",
        "cases": cases, "rows": rows, "memory": memory, "targets": targets(rows, memory),
    }  # fmt: skip
    out.print(memory_table(memory))
    out.print(target_table(content["targets"]))
    out.print(f"{where['device']}, {given.threads} threads; load average "
              f"{load_average[0]:.1f} before, {load_average[1]:.1f} after")  # fmt: skip
    if given.output is not None:
        write_json(content, given.output)
        out.print(str(given.output))
    return content


def _arguments(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--rounds", type=int, default=5, help="turns that are timed")
    parser.add_argument("--quick", action="store_true", help="tiny, one turn: a trial run")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--photographs", help="folder; its test split is taken")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=3)
    parser.add_argument("--kernel", default="motion", help="motion, gaussian or a file")
    parser.add_argument("--kernel_index", type=int, help="of a file of several kernels")
    parser.add_argument("--kernel_size", type=int, default=17, help="of motion and gaussian")
    parser.add_argument("--noise", type=float, default=0.03)
    parser.add_argument("--weights", type=Path, help="checkpoint, or state dict of the denoiser")
    parser.add_argument("--channels", type=int, nargs=4, default=(16, 32, 64, 64))
    parser.add_argument("--n_blocks", type=int, default=1)
    parser.add_argument("--residual", action="store_true", help="with --weights")
    numbers = ("STEPSIZE", "SIGMA")
    parser.add_argument("--hqs", type=float, nargs=2, metavar=numbers, help="default: 4 0.03")
    parser.add_argument("--pgd", type=float, nargs=2, metavar=numbers, help="default: 1 0.03")
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    given = parser.parse_args(args)
    if given.residual and given.weights is None:
        parser.error("--residual needs --weights: random weights are not scaled for it")
    if given.quick:
        vars(given).update(_QUICK)
    return given


def _batch(given: argparse.Namespace) -> ImagingBatch:
    """Return the first photographs of the test split on the device."""
    data = ImagingDataModule(
        root=given.photographs, crop=given.crop, kernel=given.kernel, noise=given.noise,
        kernel_index=given.kernel_index, kernel_size=given.kernel_size,
        n_test=given.batch_size, eval_batch_size=given.batch_size,
    )  # fmt: skip
    data.setup("test")
    batch: ImagingBatch = next(iter(data.test_dataloader()))
    return map_tensors(lambda t: t.to(given.device), batch)  # type: ignore[no-any-return]


def _cases(given: argparse.Namespace) -> list[Case]:
    """Return a case for each operator."""
    batch = _batch(given)
    torch.manual_seed(0)
    denoiser = ImagingDRUNet(given.channels, given.n_blocks, given.residual)
    trained = None
    if given.weights is not None:
        denoiser, trained = read_weights(given.weights, denoiser)
    found = []
    for name in given.kinds:
        kind, numbers = KINDS[name], getattr(given, name)
        operator = kind(copy.deepcopy(denoiser))
        if numbers:
            operator = kind(operator.denoiser, *numbers)
        elif isinstance(trained, kind):
            operator = kind(
                operator.denoiser,
                *(float(p.exp()) for p in (trained.log_stepsize, trained.log_sigma)),
            )
        operator.to(given.device)
        found.append(Case(name, operator if given.weights else untrained(operator, batch), batch))
    return found


def _facts(case: Case) -> dict[str, Any]:
    """Return what a reader must know of a case."""
    return {
        "stepsize": float(case.operator.log_stepsize.exp()),
        "sigma": float(case.operator.log_sigma.exp()),
        "parameters": count_parameters(case.operator),
        "spectral_radius": case.spectral_radius,
        "psnr_of_observation": float(case.psnr(case.batch.x.observation).mean()),
        "psnr_of_fixed_point": float(case.psnr(case.z_star).mean()),
    }


if __name__ == "__main__":
    main()

"""Steady flows for training, validation and test, made when first asked for."""

from collections.abc import Sequence
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from lit_implicit.data import DTYPES, EpochDataLoader, batch_options
from lit_implicit_flow.data_arguments import check_arguments
from lit_implicit_flow.family import Family, FlowFamily, Spectrum
from lit_implicit_flow.labels import FlowSettings, Labels
from lit_implicit_flow.own_forces import read_forces
from lit_implicit_flow.samples import FlowSamples, Scales
from lit_implicit_flow.sources import STREAMS, AbstractFlowSource, MadeFlows, ReadFlows


class FlowDataModule(LightningDataModule):
    """Pairs of a force and the steady flow under it, on the periodic square [0, 2 pi)^2.

    With `labels: exact` the vorticity is drawn and the force follows from the equation, to
    rounding; with `solver` the force is drawn and the flow solved for, and forces whose flow is not
    sure are named and left out. The first run makes them and keeps them under `root`, by a hash of
    the settings; later runs, and runs that ask for more, use what is there. A flow is a function of
    (seed, split, index), the same one at any resolution.

    Networks see forces in units of `force_scale` and answer vorticities in units of
    `vorticity_scale`, fixed numbers that each batch carries.

    Args:
        root: Folder of the flows that are made.
        resolution: Points a side, more than four times `max_wavenumber`.
        n_train: Flows to train on, at least 1.
        n_val: Flows to validate on.
        n_test: Flows to test on, and to predict where no `files` are given.
        nu: Viscosity, in units of the side over 2 pi and the vorticity's unit of time.
        labels: `exact` or `solver`.
        family: What is drawn: a Gaussian field (`random`), one of which half is a shear flow
            (`kolmogorov`), or either by chance (`mixed`).
        spectrum: Variance of a wave vector: `peaked` around `peak_wavenumber`, or `flat`.
        peak_wavenumber: Wavenumber of the peak, and of the shear.
        max_wavenumber: Largest wavenumber that is drawn.
        vorticity_rms: Root mean square of the vorticities that are drawn (`exact`).
        force_rms: Root mean square of the length of the forces that are drawn (`solver`).
        shifts: Shift each training sample by a random number of points in each epoch.
        vorticity_scale: Unit of vorticities in networks; null means their root mean square.
        force_scale: Unit of forces in networks; null means the root mean square of a component.
        folder: Read FNO-DEQ's data (example_*.npy) there in place of making any: the first
            `n_train` files, then `n_val`, and the last `n_test`. Units are the paper's, `nu` is
            0.001 in its data.
        frame: Which frame of an example.
        stride: Every how many of its points are taken.
        seed: Seed of flows, shifts and the order of training, at least 0.
        batch_size: Flows in a batch of training, per process.
        eval_batch_size: Flows in a batch of validation, test and prediction.
        num_workers: Processes that make batches; 0 is fastest, as a batch takes about 1 ms.
        dtype: Precision of batches; with `float64` the weights must have it, too:
            `--trainer.precision 64-true`.
        progress: Show a progress bar while flows are made.
        files: Forces of your own, for `predict` alone: .npy arrays of shape (2, N, N) or
            (n, 2, N, N), in the equation's units.

    Raises:
        ValueError: If an argument is out of range.

    References:
        arXiv:2510.03638, steady Navier-Stokes; data of FNO-DEQ: arXiv:2312.00234.
    """

    def __init__(
        self,
        root: str = "data/flow",
        resolution: int = 64,
        n_train: int = 1000,
        n_val: int = 100,
        n_test: int = 200,
        nu: float = 0.04,
        labels: Labels = "exact",
        family: Family = "random",
        spectrum: Spectrum = "peaked",
        peak_wavenumber: int = 2,
        max_wavenumber: int = 5,
        vorticity_rms: float = 0.33,
        force_rms: float = 0.05,
        shifts: bool = True,
        vorticity_scale: float | None = None,
        force_scale: float | None = None,
        folder: str | None = None,
        frame: int = 3,
        stride: int = 2,
        seed: int = 0,
        batch_size: int = 16,
        eval_batch_size: int = 50,
        num_workers: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
        progress: bool = True,
        files: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.root, self.resolution, self.nu, self.labels = root, resolution, nu, labels
        self.n_flows = {"train": n_train, "val": n_val, "test": n_test}
        self.family = FlowFamily(family, spectrum, peak_wavenumber, max_wavenumber)
        self.vorticity_rms, self.force_rms = vorticity_rms, force_rms
        self.shifts = shifts
        self.vorticity_scale, self.force_scale = vorticity_scale, force_scale
        self.folder, self.frame, self.stride = folder, frame, stride
        self.seed = seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers = num_workers
        self.dtype = dtype
        self.progress = progress
        self.files = (files,) if isinstance(files, str) else tuple(files)
        check_arguments(self)
        self._samples: dict[str, FlowSamples] = {}
        self._own: FlowSamples | None = None
        self._scales: Scales | None = None

    def prepare_data(self) -> None:
        """Make the flows that the command needs and the cache has not. Lightning calls it per node.

        Raises:
            DataError: If the cache cannot be used, or the solver fails for most forces.
        """
        stage = None if self.trainer is None else self.trainer.state.fn
        command = "" if stage is None else stage.value
        needed = {"validate": ("val",), "test": ("test",), "predict": ("test",)}
        splits = needed.get(command, tuple(STREAMS))
        if self.files and command == "predict":
            splits = ()
        self._source.prepare(splits, self.vorticity_scale, progress=self.progress)

    def setup(self, stage: str | None = None) -> None:
        """Load the splits that the stage needs, or read the files; None does both.

        Raises:
            DataError: If a file cannot be read, or holds no forces.
        """
        if self.files and stage in ("predict", None):
            own, own_names = read_forces(self.files, DTYPES[self.dtype])
            self._own = FlowSamples(own, None, self.nu, self.scales, names=own_names)
            if stage == "predict":
                return
        splits = {"fit": ("train", "val"), "validate": ("val",)}.get(stage or "", ("test",))
        for split in tuple(STREAMS) if stage is None else splits:
            if split not in self._samples:
                force, vorticity, names = self._source.read(split, DTYPES[self.dtype])
                shift_seed = self.seed if self.shifts and split == "train" else None
                self._samples[split] = FlowSamples(
                    force, vorticity, self.nu, self.scales, shift_seed=shift_seed, names=names
                )

    @property
    def scales(self) -> Scales:
        """The units of forces and vorticities in networks: functions of the arguments alone.

        With `labels: exact` they depend on family, viscosity and `vorticity_rms`, and not on the
        seed or the resolution; with `solver` the vorticity's is that of the first labels.
        """
        if self._scales is None:
            found = self._source.scales(self.vorticity_scale)
            self._scales = Scales(
                force=found.force if self.force_scale is None else self.force_scale,
                vorticity=found.vorticity if self.vorticity_scale is None else self.vorticity_scale,
            )
        return self._scales

    def train_dataloader(self) -> Any:
        """Return the training batches, in an order that is a function of (seed, epoch)."""
        return EpochDataLoader(
            self._samples["train"],
            self.batch_size,
            seed=self.seed,
            trainer=self.trainer,
            with_epoch=True,
            **batch_options(self.num_workers),
        )

    def val_dataloader(self) -> Any:
        """Return the validation batches, always in the same order."""
        return self._loader(self._samples["val"])

    def test_dataloader(self) -> Any:
        """Return the test batches, always in the same order."""
        return self._loader(self._samples["test"])

    def predict_dataloader(self) -> Any:
        """Return the forces of the files, where there are any; else the test batches."""
        return self.test_dataloader() if self._own is None else self._loader(self._own)

    @property
    def _source(self) -> AbstractFlowSource:
        if self.folder is not None:
            return ReadFlows(self.folder, self.frame, self.stride, self.nu, self.n_flows)
        rms = self.vorticity_rms if self.labels == "exact" else self.force_rms
        settings = FlowSettings(
            self.seed, 0, self.resolution, float(self.nu), self.family, self.labels, float(rms)
        )
        return MadeFlows(self.root, settings, self.n_flows)

    def _loader(self, samples: FlowSamples) -> Any:
        return DataLoader(
            samples, batch_size=self.eval_batch_size, **batch_options(self.num_workers)
        )

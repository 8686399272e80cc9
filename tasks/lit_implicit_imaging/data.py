"""Photographs for training, validation and test, blurred and with noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from lit_implicit.data import DTYPES, EpochDataLoader, batch_options
from lit_implicit.errors import ConfigError
from lit_implicit_imaging.data_arguments import check_arguments
from lit_implicit_imaging.folders import SPLITS, find_splits, read_split
from lit_implicit_imaging.kernels import KernelSettings, find_kernel
from lit_implicit_imaging.own_photographs import OwnPhotographs
from lit_implicit_imaging.photographs import crop_setting, find_files
from lit_implicit_imaging.sample_photographs import sample_photographs
from lit_implicit_imaging.samples import ImagingSamples, SampleSettings


class ImagingDataModule(LightningDataModule):
    """Square crops of photographs, blurred circularly, with Gaussian noise.

    Everything drawn is a function of (seed, split, number of the sample), and in training with
    random crops of the epoch: equal for all batch sizes, workers and processes. Photographs are
    kept in memory as bytes (BSDS500: 230 MB a process).

    Args:
        root: Folder of photographs; folders train, val and test in it, or some levels below as in
            BSDS500, are the splits, any other is split by a hash of the files' names. Null means
            photographs of scikit-image, which need no download.
        crop: Height and width of a sample of training, a multiple of 8; smaller photographs are
            left out.
        eval_crop: The same of validation and test; null means as in training.
        crops: `fixed` cuts one place of each photograph, for all epochs; `random` another one each
            time, flipped and turned by quarters. Validation and test are always fixed.
        crops_per_image: Samples of each photograph in an epoch of training.
        n_train: Most photographs to train on; null means all. Files are sorted by path.
        n_val: Most photographs to validate on.
        n_test: Most photographs to test on, and to predict where no `files` are given.
        kernel: What blurs: `motion`, a path of a shaken camera; `gaussian`; `delta`, nothing, to
            train a denoiser; or a file, an array (.npy) of sum 1 or an image.
        kernel_size: Rows and columns of a motion or Gaussian kernel, odd.
        kernel_width: Standard deviation of a Gaussian kernel (pixels).
        kernel_index: Which kernel of an array's file that holds several, from 0 on.
        normalize_kernel: Divide the kernel of an array's file by its sum.
        kernel_per_image: Draw a motion kernel for each sample; else the seed tells the one of all.
        noise: Standard deviation, where white is 1; or the least and the greatest, between which
            each sample draws its own.
        seed: Seed of crops, kernels, noise and the order of training, at least 0.
        batch_size: Samples in a batch of training, per process.
        eval_batch_size: Samples in a batch of validation, test and prediction.
        num_workers: Processes that make batches; with 0 a batch of three crops of 128 takes 4 ms.
        dtype: Precision of batches; with `float64` the weights must have it, too:
            `--trainer.precision 64-true`.
        files: Blurred photographs of your own, for `predict` alone: paths, folders or patterns as
            'holiday/*.jpg'. Each is a batch by itself, of any size; `kernel` is the kernel that
            blurred them.

    Raises:
        ValueError: If an argument is out of range.

    References:
        arXiv:2510.03638, image deblurring: BSDS500, one fixed crop of 128 a photograph, kernel 1 of
        Levin et al. (2009), noise 0.03.
    """

    def __init__(
        self,
        root: str | None = None,
        crop: int = 128,
        eval_crop: int | None = None,
        crops: Literal["fixed", "random"] = "random",
        crops_per_image: int = 1,
        n_train: int | None = None,
        n_val: int | None = None,
        n_test: int | None = None,
        kernel: str = "motion",
        kernel_size: int = 17,
        kernel_width: float = 1.6,
        kernel_index: int | None = None,
        normalize_kernel: bool = False,
        kernel_per_image: bool = False,
        noise: float | tuple[float, float] = 0.03,
        seed: int = 0,
        batch_size: int = 8,
        eval_batch_size: int = 16,
        num_workers: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
        files: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.root, self.crop, self.crops = root, crop, crops
        self.eval_crop = crop if eval_crop is None else eval_crop
        self.crops_per_image = crops_per_image
        self.n_photographs = {"train": n_train, "val": n_val, "test": n_test}
        self.kernels = KernelSettings(
            kernel, kernel_size, kernel_width, kernel_index, normalize_kernel
        )
        self.kernel_per_image = kernel_per_image
        self.noise = (noise,) if isinstance(noise, int | float) else tuple(noise)
        self.seed = seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers = num_workers
        self.dtype = dtype
        self.files = (files,) if isinstance(files, str) else tuple(files)
        check_arguments(self)
        self._samples: dict[str, ImagingSamples] = {}
        self._own: OwnPhotographs | None = None
        self._files: Mapping[str, list[Path]] | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read the splits that the stage needs, or find the files; None does both.

        Raises:
            ConfigError: If the kernel is larger than a crop, or is not the one of the files.
            DataError: If photographs or the kernel cannot be read.
        """
        if self.files and stage in ("predict", None):
            self._own = self._own_photographs()
            if stage == "predict":
                return
        splits = {"fit": ("train", "val"), "validate": ("val",)}.get(stage or "", ("test",))
        for split in SPLITS if stage is None else splits:
            if split not in self._samples:
                self._samples[split] = self._make(split)

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
        return self._loader(self._samples["val"], self.eval_batch_size)

    def test_dataloader(self) -> Any:
        """Return the test batches, always in the same order."""
        return self._loader(self._samples["test"], self.eval_batch_size)

    def predict_dataloader(self) -> Any:
        """Return the files, each a batch, where there are any; else the test batches."""
        if self._own is not None:
            return self._loader(self._own, 1)
        return self.test_dataloader()

    def _make(self, split: str) -> ImagingSamples:
        kernel = find_kernel(self.kernels)
        rows, columns = kernel(self.seed).shape[-2:]
        crop = self.crop if split == "train" else self.eval_crop
        if max(rows, columns) > crop:
            raise ConfigError(
                f"`data.kernel` {self.kernels.kernel!r} has {rows} x {columns} pixels, more than "
                f"`{crop_setting(split)}` {crop}. Give a larger crop or a smaller kernel."
            )
        most = self.n_photographs[split]
        if self.root is None:
            found = sample_photographs(split, crop)[:most]
        else:
            root = Path(self.root).expanduser()
            if self._files is None:
                self._files = find_splits(root)
            found = read_split(root, self._files, split, crop, most)
        settings = SampleSettings(
            crop,
            (self.noise[0], self.noise[-1]),
            self.seed,
            self.kernel_per_image,
            DTYPES[self.dtype],
        )
        is_training = split == "train"
        return ImagingSamples(
            found,
            split,
            kernel,
            settings,
            n_crops=self.crops_per_image if is_training else 1,
            random=is_training and self.crops == "random",
        )

    def _own_photographs(self) -> OwnPhotographs:
        if self.kernel_per_image or self.kernels.kernel == "motion":
            raise ConfigError(
                "`data.files` are restored by the kernel that blurred them, and `data.kernel` "
                "'motion' is drawn at random. Give the kernel as a file, or 'gaussian'."
            )
        if self.noise[0] != self.noise[-1]:
            raise ConfigError(
                f"`data.files` need one `data.noise`, their own, got {list(self.noise)}."
            )
        kernel = find_kernel(self.kernels)(self.seed)
        return OwnPhotographs(find_files(self.files), kernel, self.noise[0], DTYPES[self.dtype])

    def _loader(self, samples: Dataset[Any], batch_size: int) -> Any:
        return DataLoader(samples, batch_size=batch_size, **batch_options(self.num_workers))

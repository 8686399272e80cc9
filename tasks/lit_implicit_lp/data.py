"""Linear programs for training, validation and test, solved exactly when first asked for."""

from collections.abc import Sequence
from typing import Any, Literal, cast

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from lit_implicit.data import DTYPES, EpochDataLoader, batch_options
from lit_implicit_lp.cache import LabelCache
from lit_implicit_lp.data_arguments import check_arguments
from lit_implicit_lp.generator import Family, Size
from lit_implicit_lp.graph import LPGraphs
from lit_implicit_lp.labels import LabelSettings
from lit_implicit_lp.mps_graphs import MPSGraphs

STREAMS = {"train": 0, "val": 1, "test": 2}
"""Streams of the generator: no two splits share a program."""

LPMode = Literal["A", "b", "c", "l", "u"]
LPSplit = Literal["val", "test"]


class LPDataModule(LightningDataModule):
    """Random linear programs of the paper's kind and their exact solutions.

    A split is the first `n` programs of its stream that have a solution. The first run solves them
    (3,500 take a few seconds) and keeps them under `root`, by a hash of the settings; later runs,
    and runs that ask for more, use what is there. Batches are PyG batches of `LPGraph`.

    Args:
        root: Folder of the solved programs.
        n_train: Programs to train on, at least 1.
        n_val: Programs to validate on.
        n_test: Programs to test on, and to predict where no `files` are given.
        sizes: Sizes (constraints, variables, nonzeros of A); each program draws one.
        seed: Seed of the programs, of their perturbations and of the order of training, at least 0.
        batch_size: Programs in a batch of training, per process.
        eval_batch_size: Programs in a batch of validation, test and prediction.
        num_workers: Processes that make batches; 0 is fastest, as a batch takes about 1 ms.
        perturb_splits: Splits whose perturbed programs are solved too, for Lipschitz curves.
        perturb_modes: Features that are perturbed, one at a time: the nonzeros of A, b, c, the
            lower or the upper bounds.
        perturb_norm: 2-norm of a perturbation.
        drop_degenerate: Leave out programs with more than one solution, which are kept and marked
            by default.
        dtype: Precision of batches; the networks cast to that of their weights.
        progress: Show a progress bar while programs are solved.
        family: Law of the programs: `paper`, or `row_sparse`, equally many nonzeros in each row and
            a feasible point in each program, which has solutions at sizes where the paper's has
            hardly any: [[50, 250, 500]], [[200, 1000, 2000]]; or `mixed`, either by chance.
        train_family: Law of the programs to train on, where it is another one.
        files: Linear programs of your own, for `predict` alone: paths of files in MPS format (also
            .mps.gz), folders of such, or patterns as 'netlib/*.mps'. Each is a batch by itself.

    Raises:
        ValueError: If an argument is out of range.

    References:
        arXiv:2510.03638, linear programming: 2,500 programs for training and 1,000 for test.
    """

    def __init__(
        self,
        root: str = "data/lp",
        n_train: int = 2500,
        n_val: int = 250,
        n_test: int = 1000,
        sizes: Sequence[tuple[int, int, int]] = ((10, 50, 100),),
        seed: int = 0,
        batch_size: int = 64,
        eval_batch_size: int = 250,
        num_workers: int = 0,
        perturb_splits: Sequence[LPSplit] = ("val", "test"),
        perturb_modes: Sequence[LPMode] = ("A", "b", "c", "l", "u"),
        perturb_norm: float = 1e-4,
        drop_degenerate: bool = False,
        dtype: Literal["float32", "float64"] = "float32",
        progress: bool = True,
        family: Family = "paper",
        train_family: Family | None = None,
        files: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.root = root
        self.sizes = tuple(cast(Size, tuple(size)) for size in sizes)
        self.seed = seed
        self.n_programs = {"train": n_train, "val": n_val, "test": n_test}
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers = num_workers
        self.perturb_splits = tuple(perturb_splits)
        self.perturb_modes = tuple(perturb_modes)
        self.perturb_norm = perturb_norm
        self.drop_degenerate = drop_degenerate
        self.dtype = dtype
        self.progress = progress
        self.family: Family = family
        self.train_family: Family = train_family or family
        self.files = (files,) if isinstance(files, str) else tuple(files)
        check_arguments(self)
        self._graphs: dict[str, LPGraphs] = {}
        self._files: MPSGraphs | None = None

    def prepare_data(self) -> None:
        """Solve the programs that are not in the cache. Lightning calls this once per node.

        Not to `predict` on files, which need none of them.
        """
        if self.files and self.trainer is not None and self.trainer.state.fn == "predict":
            return
        for split, n in self.n_programs.items():
            title = f"solving linear programs ({split})" if self.progress else None
            cache = self._cache(split)
            try:
                cache.ensure(n, drop_degenerate=self.drop_degenerate, progress=title)
            except (KeyboardInterrupt, SystemExit):
                rank_zero_info(
                    f"What was solved is kept in {str(cache.folder)!r}: the next run goes on there."
                )
                raise

    def setup(self, stage: str | None = None) -> None:
        """Load the splits that the stage needs, or read the files; None loads all.

        Raises:
            DataError: If a file holds no linear program.
        """
        if self.files and stage in ("predict", None):
            self._files = MPSGraphs.read(self.files, DTYPES[self.dtype])
            for file in self._files.files:
                for note in file.notes:
                    rank_zero_info(f"{file.path}: {note}.")
            if stage == "predict":
                return
        splits = {"fit": ("train", "val"), "validate": ("val",)}.get(stage or "", ("test",))
        for split in tuple(STREAMS) if stage is None else splits:
            if split not in self._graphs:
                cache = self._cache(split)
                n = self.n_programs[split]
                programs = cache.load(n, drop_degenerate=self.drop_degenerate)
                n_degenerate = int(programs.arrays["degenerate"].sum())
                if n_degenerate:
                    rank_zero_info(
                        f"{n_degenerate} of {n} linear programs ({split}) have more than one "
                        "solution; `data.drop_degenerate: true` leaves them out."
                    )
                self._graphs[split] = LPGraphs(programs, DTYPES[self.dtype])

    def train_dataloader(self) -> Any:
        """Return the training batches, in an order that is a function of (seed, epoch)."""
        return EpochDataLoader(
            self._graphs["train"],
            self.batch_size,
            seed=self.seed,
            trainer=self.trainer,
            **batch_options(self.num_workers),
        )

    def val_dataloader(self) -> Any:
        """Return the validation batches, always in the same order."""
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> Any:
        """Return the test batches, always in the same order."""
        return self._loader("test", self.eval_batch_size)

    def predict_dataloader(self) -> Any:
        """Return the files, each a batch, where there are any; else the test batches."""
        if self._files is not None:
            return DataLoader(self._files, batch_size=1, **batch_options(self.num_workers))
        return self.test_dataloader()

    def _loader(self, split: str, batch_size: int) -> Any:
        return DataLoader(
            self._graphs[split], batch_size=batch_size, **batch_options(self.num_workers)
        )

    def _cache(self, split: str) -> LabelCache:
        modes = self.perturb_modes if split in self.perturb_splits else ()
        family = self.train_family if split == "train" else self.family
        settings = LabelSettings(
            self.seed, STREAMS[split], self.sizes, modes, float(self.perturb_norm), family
        )
        return LabelCache(self.root, settings)

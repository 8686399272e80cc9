"""When a callback that costs time has its turn in validation."""

from lightning.pytorch import Trainer


def is_due(trainer: Trainer, every_n_epochs: int) -> bool:
    """Say whether the validation that is running is one to measure.

    Outside `fit` each is; in `fit`, that of every n-th epoch and of the last, but no sanity check.

    Args:
        trainer: The trainer.
        every_n_epochs: Epochs from one turn to the next; 0 means none in `fit`.
    """
    if trainer.sanity_checking:
        return False
    if trainer.state.fn != "fit":
        return True
    epoch = trainer.current_epoch + 1
    return every_n_epochs > 0 and (epoch == trainer.max_epochs or epoch % every_n_epochs == 0)

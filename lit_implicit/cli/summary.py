"""What a run begins with: the parts of the model and their parameters."""

from typing import Any

from lightning.pytorch.callbacks import ModelSummary


class RunSummary(ModelSummary):
    """Show the parts of the model by name, without what Lightning keeps beside them.

    The module's metrics have no parameters, and Lightning counts operations only for modules with
    an `example_input_array`.
    """

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Print one table."""
        from rich.console import Console
        from rich.table import Table

        columns = dict(summary_data)
        table = Table("part", "class")
        table.add_column("parameters", justify="right")
        for row in zip(*(columns[name] for name in ("Name", "Type", "Params")), strict=True):
            if not row[0].startswith("_"):
                table.add_row(*(cell.strip() for cell in row))
        table.add_section()
        frozen = total_parameters - trainable_parameters
        note = f"{frozen:,} of them frozen" if frozen else ""
        table.add_row("all", note, f"{total_parameters:,}")
        Console(highlight=False).print(table)

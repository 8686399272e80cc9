"""The command line `lit-implicit`.

`entry` and all that it imports at module level answer `--help`, `--version` and `tasks` without
torch; `app` holds the LightningCLI that the other commands need.
"""

from lit_implicit.cli.entry import main

__all__ = ["main"]

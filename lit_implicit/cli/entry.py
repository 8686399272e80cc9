"""Entry point of `lit-implicit`: which command, and what becomes of an error."""

import os
import sys
import traceback
from collections.abc import Sequence

import lit_implicit
from lit_implicit.cli.first_pass import COMMANDS, first_pass
from lit_implicit.errors import LitImplicitError

_HELP = """\
usage: lit-implicit COMMAND [--config FILE] [--task NAME] [options]

Train, measure and explain implicit models: networks whose output is a fixed point z* = G(z*, x).

commands:
{commands}
  tasks      List the installed tasks; `--check [NAME...]` also imports all that they name.
  report     Compare runs: `lit-implicit report RUN_DIR... [--output FOLDER]`.

options of all commands but `tasks` and `report`:
  --config FILE     Settings in YAML; given several times, later files win.
  --task NAME       Take data, objective and operator from an installed task.
  --ckpt_path FILE  Weights to start from; they never change a setting.
  --run_dir FOLDER  Where everything is written (default: runs/<task>/<time>).
  --print_config    Print all settings as YAML and stop.
  --debug           Show the traceback of an error.
  --help            Show all options of a command: `lit-implicit fit --help`.
  --version         Print the version.

Command line beats YAML beats the task's defaults.
Example: lit-implicit fit --task lp --model.solver.max_iter 30 --trainer.max_epochs 5"""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: The arguments without the program's name; None means those of the process.

    Returns:
        The exit code: 0 if all went well, 2 for an error that its user can repair, 130 after
        Ctrl-C, 143 after SIGTERM. Any other error is raised.
    """
    argv = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in argv
    argv = [arg for arg in argv if arg != "--debug"]
    try:
        return _run(argv)
    except LitImplicitError as err:
        if debug:
            traceback.print_exception(err)
        print(f"error: {' '.join(str(err).split())}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130  # the shells' number for it
    except SystemExit as err:  # argparse leaves this way after --help and --print_config
        if err.code is None:  # and Lightning this way after SIGTERM
            return 143
        if not isinstance(err.code, int):  # a text, for stderr
            print(f"error: {err.code}", file=sys.stderr)  # noqa: T201
        return err.code if isinstance(err.code, int) else 1


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        lines = (f"  {name:<10} {text}" for name, text in COMMANDS.items())
        print(_HELP.format(commands="\n".join(lines)))  # noqa: T201
        return 0
    if argv[0] == "--version":
        print(f"lit-implicit {lit_implicit.__version__}")  # noqa: T201
        return 0
    if argv[0] == "tasks":
        from lit_implicit.cli.listing import list_tasks

        return list_tasks(argv[1:])
    if argv[0] == "report":
        from lit_implicit.cli.comparing import compare_runs

        return compare_runs(argv[1:])
    # First, because what can be wrong here is told in a moment; torch takes seconds to import.
    request = first_pass(argv)
    # OpenMP's threads otherwise spin while they wait: on a machine shared with others, small models
    # then run many times slower. It must be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from lit_implicit.cli.run import execute

    return execute(request)

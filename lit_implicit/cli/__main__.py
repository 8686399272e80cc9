"""The command line by `python -m lit_implicit.cli`, as `torchrun -m` wants it."""

import sys

from lit_implicit.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""Nothing of lit_implicit is imported here: the shape checks of jaxtyping must come first."""

import os
import sys
from pathlib import Path

# The tensors of tests are tiny: more threads only wait for each other, above all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Containers like to be asked for no bytecode beside the sources; but then each worker, each rank
# and each command that a test starts compiles torch and lightning anew, for many seconds. Keep it
# where pytest keeps its own cache.
if sys.dont_write_bytecode and os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    folder = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = folder
    sys.dont_write_bytecode = False

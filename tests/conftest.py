"""Nothing of lit_implicit is imported here: the shape checks of jaxtyping must come first."""

import os

# The tensors of tests are tiny: more threads only wait for each other, above all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

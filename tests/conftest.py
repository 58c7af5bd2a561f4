"""For all tests, and the processes that they start."""

import os

# The models are tiny: more threads only wait for each other, many times longer on a busy machine. Set before
# anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

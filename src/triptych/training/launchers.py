"""What `accelerate launch` and torchrun leave in the environment of the processes that they start."""

import os

import psutil  # type: ignore[import-untyped]

# torchrun sets the first, accelerate the second, also where it starts one process alone.
MARKS = ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION")
THREADS = "OMP_NUM_THREADS"
OPTIONS = ("--num_cpu_threads_per_process", "--num-cpu-threads-per-process")


def is_launched() -> bool:
    """Says whether a launcher has started this process."""
    return any(mark in os.environ for mark in MARKS)


def wished_threads() -> int | None:
    """
    Returns the number of threads that the user has asked for with OMP_NUM_THREADS; None: nothing was asked for.

    Both launchers set OMP_NUM_THREADS=1 where the user has set nothing, which would leave all cores but one idle. So a
    1 in a launched process is looked up in the environment and in the command of the launcher, which the system keeps
    as they were at its start. Where the system does not show them, that 1 does not count as the user's.
    """
    text = os.environ.get(THREADS, "")
    if not text.isdigit() or int(text) < 1:
        return None
    return int(text) if int(text) > 1 or not is_launched() or launcher_was_told() else None


def launcher_was_told() -> bool:
    """Says whether the user has given the number of threads to the launcher of this process."""
    try:
        launcher = psutil.Process(os.getppid())
        told = any(word.partition("=")[0] in OPTIONS for word in launcher.cmdline())
        return told or THREADS in launcher.environ()
    except (psutil.Error, OSError, NotImplementedError):
        return False

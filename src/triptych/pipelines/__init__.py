"""`triptych.pipeline`: transformers' pipelines, and the tasks on texts that transformers v5 removed.

`restore()` gives these tasks to `transformers.pipeline` itself, `withdraw()` takes them back.

transformers' own pipelines are imported at the first call, so that importing this package is fast.
"""

from .factory import pipeline
from .restoring import restore, withdraw

__all__ = ["pipeline", "restore", "withdraw"]

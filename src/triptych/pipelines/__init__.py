"""`triptych.pipeline`: transformers' pipelines, and the tasks on texts that transformers v5 removed.

transformers' own pipelines are imported at the first call, so that importing this package is fast.
"""

from .factory import pipeline

__all__ = ["pipeline"]

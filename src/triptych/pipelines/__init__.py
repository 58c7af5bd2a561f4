"""`triptych.pipeline`: transformers' pipelines, and the text-to-text tasks that transformers v5 removed.

transformers' own pipelines are imported at the first call, so that importing this package stays cheap.
"""

from .factory import TEXT_TO_TEXT_TASKS, pipeline

__all__ = ["TEXT_TO_TEXT_TASKS", "pipeline"]

"""Sizes that fit the data and the machine: the plan, the forecast, and what `--dry_run` prints.

docs/training/sizes.md has the table, and says how it came about.
"""

from .dry_run import dry_run as dry_run
from .forecast import forecast as forecast
from .forecast import measure as measure
from .forecast import warnings as warnings
from .plan import Plan as Plan
from .plan import given_options as given_options
from .plan import make_plan as make_plan
from .plan import recorded_plan as recorded_plan
from .table import Resources as Resources
from .tokens import estimated_tokens as estimated_tokens

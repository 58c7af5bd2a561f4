"""Sizes that fit the data and the machine: the plan, the forecast, and what `--dry_run` prints.

docs/training/sizes.md has the table, and says how it came about.
"""

from .dry_run import dry_run as dry_run
from .forecast import forecast as forecast
from .forecast import measure as measure
from .forecast import warnings as warnings
from .of_run import check_fields as check_fields
from .of_run import plan_of_run as plan_of_run
from .plan import Plan as Plan
from .plan import given_options as given_options

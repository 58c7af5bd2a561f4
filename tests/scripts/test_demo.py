"""The demo gives its data, its time and what is reported; everything else is what every run gets."""

import importlib.util
from pathlib import Path

from triptych.training.plan.plan import planned_types
from triptych.training.script import read_options
from triptych.training.tasks.translation import TranslationTask

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"


def test_the_demo_uses_nothing_that_a_run_would_not_choose():
    spec = importlib.util.spec_from_file_location("demo", SCRIPT)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    words = [*demo.TRAINING.split(), "--output_dir", "run"]
    arguments, _, config_fields, given, _ = read_options(TranslationTask, args=words)
    assert config_fields == {}
    assert not given & {*planned_types(), "preset", "model", "recipe"}
    reported = {"keep_checkpoints", "evaluation_pairs"}
    assert given - reported == {"corpus", "max_minutes", "output_dir"}
    assert arguments.corpus == "en-de"

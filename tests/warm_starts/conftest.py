"""The tiny models of tests/modeling, for the tests of warm starts."""

import importlib.util
from pathlib import Path

MODELING = Path(__file__).parents[1] / "modeling" / "conftest.py"
spec = importlib.util.spec_from_file_location("triptych_modeling_fixtures", MODELING)
modeling = importlib.util.module_from_spec(spec)
spec.loader.exec_module(modeling)

one_thread = modeling.one_thread
family, make_config, make_model = modeling.family, modeling.make_config, modeling.make_model
words, close, gradients, logits_of = modeling.words, modeling.close, modeling.gradients, modeling.logits_of

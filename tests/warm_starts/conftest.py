"""Tiny models, and comparisons of their outputs, for the tests of warm starts."""

from fixtures import close, family, gradients, logits_of, make_config, make_model, words

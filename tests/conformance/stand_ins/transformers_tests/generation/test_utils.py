"""Not in transformers' source distribution. Generation is tested in tests/modeling/test_generation.py."""


class GenerationTesterMixin:
    pass

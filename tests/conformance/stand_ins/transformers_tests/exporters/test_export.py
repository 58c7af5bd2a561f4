"""Not in transformers' source distribution. Exporting our models is tested in tests/ecosystem."""


class ExportTesterMixin:
    pass

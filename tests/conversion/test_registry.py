"""Every table of an architecture is found, stands alone, and is complete in the names of its classes."""

import ast
from pathlib import Path

import pytest
import transformers

import triptych
from triptych.conversion import CannotExpress, architectures, find_architecture, known_architectures

TABLES = sorted(path for path in Path(architectures.__path__[0]).glob("*.py") if path.stem != "__init__")


def test_every_module_has_a_table_that_is_found():
    found = {known.model_type for known in known_architectures()}
    for path in TABLES:
        named = {
            keyword.value.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call)
            for keyword in node.keywords
            if keyword.arg == "model_type" and isinstance(keyword.value, ast.Constant)
        }
        assert named <= found, path


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_no_table_imports_another(path):
    """What several tables share lies in conversion/shared/."""
    siblings = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level == 1
    ]
    assert not siblings


def test_every_class_exists_on_both_sides():
    for known in known_architectures():
        for head, name in known.heads.items():
            assert issubclass(getattr(transformers, head), transformers.PreTrainedModel)
            assert getattr(triptych, name).config_class is known.config_class


def test_an_architecture_is_found_by_its_configuration_its_name_or_its_class():
    t5 = find_architecture(transformers.T5Config(), "T5EncoderModel")
    assert t5 is find_architecture("t5", "T5EncoderModel")
    assert t5 in known_architectures(triptych.TriptychEncoderConfig)
    assert t5 not in known_architectures(triptych.TriptychConfig)
    assert known_architectures(model_type="unheard-of") == []
    with pytest.raises(CannotExpress, match="there is no table for the architecture 'unheard-of'"):
        find_architecture("unheard-of")

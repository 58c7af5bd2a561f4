import argparse

import pytest

from triptych import TriptychConfig
from triptych.training.command_line import add_config_options, run_script


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.names = add_config_options(parser, TriptychConfig)
    return parser


def test_every_field_is_an_option_but_those_of_the_tokenizer(parser):
    assert {"hidden_size", "encoder_layers", "residual", "rope_parameters", "tie_word_embeddings"} <= set(parser.names)
    assert not {"vocab_size", "pad_token_id", "is_encoder_decoder", "return_dict"} & set(parser.names)
    assert vars(parser.parse_args([])) == {}


def test_values_have_the_types_of_the_fields(parser):
    line = "--hidden_size 64 --dropout 0.3 --positions none --head_dim none --attention_bias True --embedding_scale 2"
    values = vars(parser.parse_args([*line.split(), "--rope_parameters", '{"rope_type": "default"}']))
    assert values == {
        "hidden_size": 64,
        "dropout": 0.3,
        "positions": "none",
        "head_dim": None,
        "attention_bias": True,
        "embedding_scale": 2,
        "rope_parameters": {"rope_type": "default"},
    }
    TriptychConfig(**values)


def test_an_expected_error_is_one_line(capsys):
    def main():
        TriptychConfig(hidden_size=-1)

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == 2
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert "hidden_size" in output
    assert output.count("\n") == 1


def test_a_mistake_of_ours_is_not_hidden():
    def main():
        raise KeyError("surprise")

    with pytest.raises(KeyError):
        run_script(main)

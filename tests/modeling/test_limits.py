"""`max_position_embeddings` ends a table of positions, and nothing else."""

import pytest
import torch
from transformers.generation import stopping_criteria

from triptych import TriptychConfig, TriptychDecoderConfig

pytestmark = pytest.mark.filterwarnings("ignore:Using the model-agnostic default")
LIMIT, END = 12, 3
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "factor": 4.0,
    "original_max_position_embeddings": 12,
}


def test_the_limit_of_a_configuration():
    for positions in ("none", "sinusoidal", "rotary", "relative"):
        assert TriptychDecoderConfig(positions=positions).position_limit is None
    assert TriptychDecoderConfig(positions="learned", max_position_embeddings=77).position_limit == 77
    overrides = {"positions": "learned", "max_position_embeddings": 9}
    config = TriptychConfig(decoder_overrides=overrides)
    assert config.position_limit is None
    assert config.stack_config("decoder.").position_limit == config.get_text_config(decoder=True).position_limit == 9


@torch.no_grad()
def test_any_length_without_learned_positions(make_model, family, scheme, words, logits_of):
    """A model that was made for 12 tokens computes 40 as one that was made for 40."""
    if scheme["positions"] == "learned":
        return
    for rope in [None, DYNAMIC, LONGROPE] if scheme == {"positions": "rotary"} else [None]:
        short, long = (
            make_model(family, **scheme, rope_parameters=rope, max_position_embeddings=n) for n in (LIMIT, 40)
        )
        ids = words(1, 40)
        found = logits_of(short, ids, None, ids)
        assert found.isfinite().all()
        if rope is None:
            assert torch.equal(found, logits_of(long, ids, None, ids))


def test_learned_positions_are_refused_beyond_their_table(make_model, family, words, logits_of):
    model, ids = make_model(family, positions="learned", max_position_embeddings=LIMIT), words(1, LIMIT + 1)
    assert logits_of(model, ids[:, 1:], None, ids[:, 1:]).shape[1] == LIMIT
    with pytest.raises(IndexError, match=r"position_ids.*max_position_embeddings"):
        logits_of(model, ids, None, ids)


@pytest.mark.parametrize("positions", ["none", "sinusoidal", "rotary", "relative"])
def test_generation_beyond_the_limit_of_nothing(make_model, causal_family, words, monkeypatch, positions):
    """A prompt longer than that, without any length asked for; and an output longer than that, without a warning."""
    warned = []
    monkeypatch.setattr(stopping_criteria.logger, "warning_once", warned.append)
    model = make_model(causal_family, positions=positions, max_position_embeddings=LIMIT)
    ids, options = words(1, 2 * LIMIT), {"do_sample": False, "suppress_tokens": [END]}
    begun = 1 if causal_family == "encoder_decoder" else 2 * LIMIT
    assert model.generate(ids, **options).shape[1] == begun + 20  # transformers' default
    assert model.generate(ids[:, :3], **options, max_new_tokens=3 * LIMIT).shape[1] > 3 * LIMIT
    if causal_family == "encoder_decoder":
        assert model.generate(ids, **options, max_length_beyond_source=5).shape[1] == 1 + 2 * LIMIT + 5
    assert not warned


@pytest.mark.parametrize("field", ["positions", "decoder_overrides"])
def test_generation_ends_with_learned_positions(make_model, words, field):
    """The decoder's own, where the sides differ: the output ends with the table."""
    learned = {"positions": "learned", "max_position_embeddings": LIMIT}
    fields = learned if field == "positions" else {"positions": "rotary", "decoder_overrides": learned}
    model, source = make_model("encoder_decoder", **fields), words(1, LIMIT)
    options = {"do_sample": False, "suppress_tokens": [END]}
    assert model.generate(source, **options).shape[1] == LIMIT
    assert model.generate(source, **options, max_length_beyond_source=50).shape[1] == 1 + LIMIT
    decoder = make_model("decoder", **learned)
    assert decoder.generate(words(1, 5), **options).shape[1] == LIMIT

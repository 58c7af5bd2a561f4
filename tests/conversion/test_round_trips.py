"""There and back: bit-equal weights, equal configurations, the same ties, through memory and through files."""

import copy
import json

import pytest
import torch

import triptych

BOOKKEEPING = ("_name_or_path", "architectures", "dtype", "transformers_version")


def without_bookkeeping(config) -> dict:
    return {name: value for name, value in config.to_dict().items() if name not in BOOKKEEPING}


def test_theirs_come_back_as_they_were(theirs, back_of, assert_equal_weights, ties):
    back = back_of(theirs)
    assert type(back) is type(theirs)
    assert_equal_weights(back, theirs)
    assert without_bookkeeping(back.config) == without_bookkeeping(theirs.config)
    assert ties(back) == ties(theirs)


def test_ours_come_back_as_they_were(theirs, ours_of, back_of, assert_equal_weights, ties):
    ours = ours_of(theirs)
    again = triptych.from_hf(back_of(theirs))
    assert type(again) is type(ours)
    assert_equal_weights(again, ours)
    assert without_bookkeeping(again.config) == without_bookkeeping(ours.config)
    assert ties(again) == ties(ours)


def test_a_model_that_never_was_theirs_can_become_one(theirs, ours_of, reload, assert_equal_weights):
    ours = ours_of(theirs)
    ours.config.origin = None
    written = reload(triptych.to_hf(ours, theirs.config.model_type))
    assert_equal_weights(triptych.from_hf(written), ours)


def test_the_source_stays_and_shares_no_memory(theirs):
    """Not with the result; and within itself a model shares only what is tied."""
    before = copy.deepcopy(theirs.state_dict())
    ours = triptych.from_hf(theirs)
    back = triptych.to_hf(ours)
    places = [[p.data_ptr() for p in model.parameters()] for model in (theirs, ours, back)]
    assert all(len(set(own)) == len(own) for own in places)
    assert not {*places[0]} & {*places[1]}
    assert not {*places[1]} & {*places[2]}
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())


def test_directories_in_shards(theirs, ours_of, tmp_path, assert_equal_weights):
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="4KB")
    ours = triptych.from_hf(tmp_path / "theirs")
    assert_equal_weights(ours, ours_of(theirs))
    ours.save_pretrained(tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"].startswith("triptych")
    loaded = type(ours).from_pretrained(tmp_path / "ours")
    assert_equal_weights(loaded, ours)
    assert without_bookkeeping(triptych.to_hf(loaded).config) == without_bookkeeping(theirs.config)


def test_generation_options_are_kept(generator, reload):
    """But for the package's own, of which transformers knows nothing."""
    generator.generation_config.update(num_beams=3, length_penalty=0.7, max_length=17, bad_words_ids=[[7]])
    ours = triptych.from_hf(generator)
    own = {"gnmt_length_penalty": 0.6, "max_length_beyond_source": 50}
    for name, value in own.items():
        setattr(ours.generation_config, name, value)
    back = reload(triptych.to_hf(ours))
    assert {name: getattr(ours.generation_config, name) for name in own} == own
    assert not own.keys() & {*back.generation_config.to_dict(), *vars(back.generation_config)}
    for name in own:
        delattr(ours.generation_config, name)
    for model in (ours, back):
        kept, given = model.generation_config.to_dict(), generator.generation_config.to_dict()
        assert {n for n, v in kept.items() if v != given.get(n)} <= {"_from_model_config", "transformers_version"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_precision_is_kept(generator, dtype, assert_equal_weights):
    ours = triptych.from_hf(generator.to(dtype))
    assert {p.dtype for p in ours.parameters()} == {dtype}
    assert_equal_weights(triptych.to_hf(ours), generator)

"""Source and target with vocabularies of their own: what `generate` and Trainer do with the tokens of either."""

import pytest
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    WatermarkDetector,
    WatermarkingConfig,
)
from transformers.generation import WatermarkLogitsProcessor

from triptych import TriptychForConditionalGeneration

SIZES = {"larger target": (47, 61), "smaller target": (61, 47), "as many": (53, 53)}
START, END, STEPS = 2, 3, 9


@pytest.fixture(params=SIZES)
def sizes(request):
    return SIZES[request.param]


@pytest.fixture
def make_two(make_model):
    """A model with so many source and target tokens."""

    def make(source, target, **fields):
        own = {"decoder_vocab_size": target, "share_encoder_decoder_embeddings": False, "logit_scale": 0.3}
        return make_model("encoder_decoder", vocab_size=source, **{**own, **fields})

    return make


# --- transformers' readings of `vocab_size`


MODES = {
    "greedy": {"do_sample": False},
    "sample": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
}


@pytest.mark.parametrize("normalize_logits", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_transition_scores(make_two, sizes, words, mode, normalize_logits):
    """Of each token, what its step gave it: read off the scores of the beam that it continued."""
    model, source = make_two(*sizes), words(2, 6, vocab_size=sizes[0])
    torch.manual_seed(0)
    found = model.generate(
        source, max_new_tokens=STEPS, output_scores=True, return_dict_in_generate=True, **MODES[mode]
    )
    beams = found.get("beam_indices")
    scores = model.compute_transition_scores(found.sequences, found.scores, beams, normalize_logits)
    lengths = []
    for i, tokens in enumerate(found.sequences[:, 1:]):
        rows = [i] * len(tokens) if beams is None else [row for row in beams[i].tolist() if row >= 0]
        lengths.append(len(rows))
        for step, row in enumerate(rows):
            step_scores = found.scores[step][row]
            expected = (step_scores.log_softmax(-1) if normalize_logits else step_scores)[tokens[step]]
            assert scores[i, step].item() == pytest.approx(expected.item(), abs=1e-5)
    assert max(lengths) == scores.shape[1]


@pytest.mark.parametrize("kind", ["lefthash", "selfhash"])
def test_watermark(make_two, sizes, words, kind):
    """As transformers' processor for the target's vocabulary does it; its detector, told of that one, finds it."""
    model, source = make_two(*sizes), words(1, 6, vocab_size=sizes[0])
    mark = WatermarkingConfig(bias=30.0, seeding_scheme=kind)

    def run(**options):
        torch.manual_seed(3)
        return model.generate(source, max_new_tokens=24, do_sample=True, top_k=0, suppress_tokens=[END], **options)

    by_hand = WatermarkLogitsProcessor(vocab_size=sizes[1], device="cpu", **mark.to_dict())
    found = run(watermarking_config=mark)
    assert torch.equal(found, run(logits_processor=LogitsProcessorList([by_hand])))
    detector = WatermarkDetector(model.config.get_text_config(decoder=True), "cpu", mark)
    green = [detector(tokens, return_dict=True).green_fraction.item() for tokens in (found, run())]
    assert green[0] > 0.9
    assert green[1] < 0.6


@pytest.mark.parametrize("do_sample", [False, True])
def test_prompt_lookup(make_two, sizes, words, do_sample):
    model, source = make_two(*sizes, logit_scale=3.0), words(1, 6, vocab_size=sizes[0])
    options = {"max_new_tokens": 20, "suppress_tokens": [END], "do_sample": do_sample}
    if do_sample:
        options |= {"top_k": 1}  # one choice: what is drawn is known
    expected = model.generate(source, **options)
    assert torch.equal(model.generate(source, **options, prompt_lookup_num_tokens=3), expected)


@pytest.mark.parametrize("do_sample", [False, True])
def test_assistant(make_two, sizes, words, do_sample):
    model, source = make_two(*sizes), words(1, 6, vocab_size=sizes[0])
    options = {"max_new_tokens": 12, "suppress_tokens": [END], "do_sample": do_sample}
    if do_sample:
        options |= {"top_k": 1}
    expected = model.generate(source, **options)
    assert torch.equal(model.generate(source, **options, assistant_model=make_two(*sizes, seed=1)), expected)


def test_an_assistant_with_another_target_is_no_match(make_two, words):
    """Their sources are alike, which is all that transformers compares."""
    model, other = make_two(47, 61), make_two(47, 60)
    with pytest.raises(ValueError, match="main and assistant models have different tokenizers"):
        model.generate(words(1, 6, vocab_size=47), assistant_model=other, max_new_tokens=5, do_sample=False)


def test_padding_is_found_by_the_token_of_the_sources(make_two, make_ragged):
    """Outputs can be padded with another token, which is a word in the source."""
    model, rows = make_two(97, 61), make_ragged(6, 4)
    ids, mask = rows.padded("right")
    word = int(rows.rows[0][2])
    options = {"max_new_tokens": STEPS, "do_sample": False}
    expected = model.generate(ids, attention_mask=mask, pad_token_id=word, **options)
    assert torch.equal(model.generate(ids, pad_token_id=word, **options), expected)


# --- options that look for the source's tokens in the output


OPTIONS = {"encoder_repetition_penalty": 1.4, "encoder_no_repeat_ngram_size": 2, "token_healing": True}


@pytest.mark.parametrize("place", ["argument", "config", "model"])
@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_one_vocabulary_are_refused(make_two, sizes, words, name, place):
    model, source = make_two(*sizes), words(1, 6, vocab_size=sizes[0])
    ran = []
    model.model.encoder.register_forward_hook(lambda *_: ran.append(1))
    options = {"max_new_tokens": 3, "do_sample": False}
    own, given = model.generation_config, GenerationConfig(**options, **{name: OPTIONS[name]})
    arguments = {"argument": {**options, name: OPTIONS[name]}, "config": {"generation_config": given}, "model": {}}
    if place == "model":
        model.generation_config = given
    with pytest.raises(ValueError, match=rf"{name}={OPTIONS[name]} .*source.*decoder_vocab_size={sizes[1]}.*leave"):
        model.generate(source, **arguments[place])
    assert not ran
    off = {"encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0}
    model.generation_config = own
    assert model.generate(source, **options, **off).shape[1] <= 4


def test_two_matrices_over_one_vocabulary_take_them(make_two, words):
    """decoder_vocab_size=None: one vocabulary, whichever way it is embedded."""
    model, source = make_two(53, None), words(1, 6, vocab_size=53)
    options = {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": [END]}
    plain = model.generate(source, **options)
    drawn = model.generate(source, **options, encoder_repetition_penalty=5.0)
    assert not torch.equal(drawn, plain)
    assert model.generate(source, **options, encoder_no_repeat_ngram_size=2).shape == plain.shape


# --- Trainer's processing_class


def make_tokenizer(size, **specials):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    vocabulary = {f"w{i}": i for i in range(size)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="w1"))
    names = {f"{role}_token": f"w{index}" for role, index in specials.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w1", **names)


def train(model, tokenizer, directory):
    rows = [{"input_ids": [5, 6, 7, 3], "labels": [8, 9, 3]}] * 2
    arguments = Seq2SeqTrainingArguments(
        str(directory), max_steps=1, report_to="none", use_cpu=True, save_strategy="no", disable_tqdm=True
    )
    Seq2SeqTrainer(
        model,
        arguments,
        train_dataset=rows,
        data_collator=lambda batch: {name: torch.tensor([row[name] for row in batch]) for name in batch[0]},
        processing_class=tokenizer,
    ).train()


@pytest.mark.parametrize("role", ["eos", "bos", "pad"])
def test_trainer_does_not_give_the_target_the_tokens_of_the_source(make_two, sizes, role, tmp_path):
    model = make_two(*sizes)
    special = [f"{kind}_token_id" for kind in ("eos", "bos", "pad")]
    before = [[getattr(holder, name) for name in special] for holder in (model.config, model.generation_config)]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    foreign = make_tokenizer(sizes[0], **{"eos": END, "bos": START, "pad": 0, role: 11})
    with pytest.raises(ValueError, match=rf"{role}_token_id=11 would replace .*processing_class.*target's tokenizer"):
        train(model, foreign, tmp_path)
    after = [[getattr(holder, name) for name in special] for holder in (model.config, model.generation_config)]
    assert after == before
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_trainer_with_the_tokenizer_of_the_target_or_with_none(make_two, sizes, tmp_path):
    model = make_two(*sizes)
    tokens = [model.config.eos_token_id, model.config.bos_token_id, model.config.pad_token_id]
    for tokenizer in (None, make_tokenizer(sizes[1], eos=END, bos=START, pad=0)):
        train(model, tokenizer, tmp_path)
        config, options = model.config, model.generation_config
        assert [config.eos_token_id, config.bos_token_id, config.pad_token_id] == tokens
        assert options.eos_token_id == END or options.eos_token_id == [END]


def test_special_tokens_can_be_set_where_they_are(make_two, make_model):
    model = make_two(47, 61)
    model.config.eos_token_id = 9
    assert model.config.get_text_config().eos_token_id == 9
    single = make_model("encoder_decoder")
    single.config.get_text_config().eos_token_id = 11  # one vocabulary: as transformers
    assert single.config.eos_token_id == 11


def test_what_tools_see_has_the_fields_of_the_configuration_itself(make_two, tmp_path):
    model = make_two(47, 61)
    seen = model.config.get_text_config()
    assert vars(seen) is vars(model.config)
    assert isinstance(seen, type(model.config))
    assert seen.to_dict() == model.config.to_dict()
    seen.vocab_size = 50
    assert model.config.vocab_size == 50
    seen.vocab_size = 47
    resized = model.resize_token_embeddings(55)
    assert (resized.num_embeddings, model.config.vocab_size, model.config.decoder_vocab_size) == (55, 55, 61)
    model.save_pretrained(tmp_path)
    again = TriptychForConditionalGeneration.from_pretrained(tmp_path)
    assert (again.config.vocab_size, again.config.decoder_vocab_size) == (55, 61)

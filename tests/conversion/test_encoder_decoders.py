"""What encoder-decoders alone have: two vocabularies, sinusoids, ties that weights decide, and what is refused."""

import json

import pytest
import torch
import transformers

import triptych
from triptych.conversion import CannotExpress, find_architecture
from triptych.modeling import TriptychEncoderForTokenClassification, TriptychForConditionalGeneration

WORDS = {"vocab_size": 53, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
TINY = {
    **WORDS,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
}
FSMT = {**{name: value for name, value in TINY.items() if name != "vocab_size"}, "tgt_vocab_size": 53}
GPTJ = {"vocab_size": 53, "n_embd": 16, "n_layer": 2, "n_head": 2, "rotary_dim": 4}
T5 = {**WORDS, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 1, "num_heads": 2}
SOURCE = torch.tensor([[5, 6, 7, 8, 9, 10, 2]])
TARGET = torch.tensor([[2, 11, 12, 13, 14]])


def make(name, **fields):
    """A random model of transformers, whose tokens differ enough for their maps to the vocabulary to matter."""
    torch.manual_seed(0)
    their_class = getattr(transformers, name)
    model = their_class(their_class.config_class(**fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.ndim > 1 and parameter.std() < 0.1:
                parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize(
    ("name", "fields", "named"),
    [
        ("MarianModel", {**TINY, "decoder_vocab_size": 61}, "decoder_vocab_size=61"),
        ("M2M100Model", {**TINY, "decoder_start_token_id": 0}, "decoder_start_token_id=0"),
        (
            "FSMTForConditionalGeneration",
            {**FSMT, "src_vocab_size": 61, "tie_word_embeddings": True},
            "src_vocab_size",
        ),
        ("FSMTForConditionalGeneration", {**FSMT, "src_vocab_size": 61, "decoder_start_token_id": 0}, "pad_token_id"),
        ("FSMTModel", {**FSMT, "src_vocab_size": 61}, "FSMTModel has no counterpart"),
        ("BartForCausalLM", TINY, "BartForCausalLM has no counterpart"),
        ("MBartForSequenceClassification", TINY, "MBartForSequenceClassification has no counterpart"),
        ("UMT5Model", T5, "a table of relative positions in every layer"),
    ],
)
def test_what_ours_lack_is_named(name, fields, named):
    their_class = getattr(transformers, name)
    with pytest.raises(CannotExpress, match=named):
        triptych.from_hf(their_class(their_class.config_class(**fields)))


TABLES = [  # of which transformers makes a parameter
    ("MarianModel", {**TINY, "max_position_embeddings": 20}),
    ("MarianMTModel", {**TINY, "max_position_embeddings": 20}),
    ("FSMTForConditionalGeneration", {**FSMT, "src_vocab_size": 53, "max_position_embeddings": 20}),
]


@pytest.mark.parametrize("sides", [("encoder",), ("decoder",), ("encoder", "decoder")])
@pytest.mark.parametrize(("name", "fields"), TABLES)
def test_positions_that_were_trained_are_learned(name, fields, sides, tmp_path, reload, assert_equal_weights):
    """Also of one side only; from memory, from a file, and back, where the table is saved, too."""
    theirs = make(name, **fields)
    with torch.no_grad():
        for side in sides:
            theirs.base_model.get_submodule(f"{side}.embed_positions").weight[2:] += 0.01 * torch.randn(1, 16)
    theirs._keys_to_ignore_on_save = set()  # as in checkpoints that hold the table
    theirs.save_pretrained(tmp_path / "theirs")
    inputs = {"input_ids": SOURCE, "decoder_input_ids": TARGET}
    labelled = inputs | ({"labels": TARGET} if name.startswith("FSMT") else {})  # else its decoder sees the future
    for source in (theirs, tmp_path / "theirs"):
        ours = reload(triptych.from_hf(source))
        assert ours.config.positions == "learned"
        back = reload(triptych.to_hf(ours))
        assert_equal_weights(back, theirs)
        with torch.no_grad():
            expected, returned, actual = theirs(**labelled), back(**labelled), ours(**inputs)
        kind = "logits" if "logits" in actual else "last_hidden_state"
        torch.testing.assert_close(actual[kind], expected[kind], rtol=1e-5, atol=1e-5)
        assert torch.equal(returned[kind], expected[kind])
        other = type(theirs)(theirs.config).eval()  # the same model but for the table
        other.load_state_dict(
            {k: v for k, v in theirs.state_dict().items() if "embed_positions" not in k}, strict=False
        )
        assert not torch.allclose(other(**labelled)[kind], expected[kind], atol=1e-4)


@pytest.mark.parametrize("change", [0.0, 1e-5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "fields"), TABLES[1:])
def test_a_table_is_sinusoids_up_to_the_rounding_of_its_numbers(name, fields, dtype, change):
    theirs = make(name, **fields).to(dtype)
    theirs.model.encoder.embed_positions.weight.data[7, 3] += change
    trained = change > torch.finfo(dtype).eps
    assert triptych.from_hf(theirs).config.positions == ("learned" if trained else "sinusoidal")


def test_a_table_of_zeros_is_no_table_of_sinusoids():
    theirs = make("MarianMTModel", **TINY, max_position_embeddings=20)
    theirs.model.encoder.embed_positions.weight.data.zero_()
    assert triptych.from_hf(theirs).config.positions == "learned"


@pytest.mark.parametrize(
    ("name", "fields", "buffer"),
    [
        ("M2M100ForConditionalGeneration", TINY, "model.encoder.embed_positions.weights"),
        ("GPTJModel", {**GPTJ, "n_positions": 900}, "h.1.attn.embed_positions"),
    ],
)
def test_a_changed_table_that_no_checkpoint_holds_is_refused(name, fields, buffer):
    theirs = make(name, **fields)
    assert triptych.from_hf(theirs).config.positions != "learned"
    theirs.get_buffer(buffer)[7, 3] += 0.01
    with pytest.raises(CannotExpress, match=f"other numbers than the sinusoids in {buffer}"):
        triptych.from_hf(theirs)


def test_two_matrices_that_should_be_one_are_refused():
    theirs = make("BartForConditionalGeneration", **TINY)
    theirs.model.encoder.embed_tokens.weight = torch.nn.Parameter(torch.randn(53, 16))
    with pytest.raises(ValueError, match="but in a Triptych model both are the same tensor"):
        triptych.from_hf(theirs)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("MarianMTModel", {**TINY, "max_position_embeddings": 700}),
        ("M2M100ForConditionalGeneration", TINY),
        ("FSMTForConditionalGeneration", {**FSMT, "src_vocab_size": 53}),
    ],
)
def test_texts_of_hundreds_of_tokens_have_the_same_positions(name, fields, assert_close):
    theirs_class = getattr(transformers, name)
    torch.manual_seed(0)
    theirs = theirs_class(theirs_class.config_class(**fields)).eval()
    source, target = torch.randint(5, 53, (2, 600)), torch.randint(5, 53, (2, 500))
    inputs = {"input_ids": source, "attention_mask": torch.ones_like(source), "decoder_input_ids": target}
    with torch.no_grad():
        expected = theirs(**inputs, labels=target).logits
        actual = triptych.from_hf(theirs)(**inputs).logits
    assert_close(actual, expected)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("BartForConditionalGeneration", TINY),
        ("MarianMTModel", TINY),
        ("M2M100ForConditionalGeneration", TINY),
        ("T5ForConditionalGeneration", T5),
    ],
)
def test_the_input_of_the_decoder_is_made_from_labels_alike(name, fields, assert_close):
    theirs = make(name, **fields)
    labels = torch.tensor([[11, 12, 13, -100, -100]])
    with torch.no_grad():
        expected, actual = (m(input_ids=SOURCE, labels=labels) for m in (theirs, triptych.from_hf(theirs)))
    assert_close(actual.logits[:, :3], expected.logits[:, :3])
    assert_close(actual.loss, expected.loss)


LABELS = {
    "whole rows": [[11, 12, 13, 14, 2, 9], [21, 22, 23, 24, 2, 8]],
    "ignored at the end": [[11, 12, 13, 2, 9, -100], [21, 22, 2, 8, -100, -100]],
    "ignored inside": [[11, -100, 13, 2, 9, -100], [21, 22, 23, -100, 2, 8]],
    "ignored at the beginning": [[-100, -100, 13, 2, 9, 4], [0, 22, 23, 5, 2, 8]],
    "padding inside": [[11, 0, 13, 2, 9, 0], [21, 22, 23, 0, 2, 8]],
    "one row": [[11, 12, 13, 2, 9, -100]],
}
SHIFTING = [
    ("BartForConditionalGeneration", TINY),
    ("MBartForConditionalGeneration", {**TINY, "decoder_start_token_id": None}),
    ("MarianMTModel", {**TINY, "decoder_start_token_id": 0}),
    ("T5ForConditionalGeneration", {**T5, "decoder_start_token_id": 0}),
    ("MT5ForConditionalGeneration", {**T5, "decoder_start_token_id": 0}),
]


@pytest.mark.parametrize(("name", "fields"), SHIFTING, ids=[name for name, _ in SHIFTING])
def test_labels_alone_make_the_same_loss(name, fields, reload, assert_close):
    theirs = make(name, **fields)
    ours = reload(triptych.from_hf(theirs))
    back = reload(triptych.to_hf(ours))
    for labels in map(torch.tensor, LABELS.values()):
        expected = theirs.prepare_decoder_input_ids_from_labels(labels)
        assert torch.equal(ours.prepare_decoder_input_ids_from_labels(labels), expected)
        with torch.no_grad():
            losses = [m(input_ids=SOURCE.expand(len(labels), -1), labels=labels).loss for m in (theirs, ours, back)]
        assert_close(losses[1], losses[0])
        assert_close(losses[2], losses[0])


def test_fsmt_starts_with_the_last_label(reload):
    """Its own forward reads the source in the decoder when labels are all it is given; a collator asks as here."""
    theirs = make("FSMTForConditionalGeneration", **FSMT, src_vocab_size=61)
    ours = reload(triptych.from_hf(theirs))
    for labels in map(torch.tensor, LABELS.values()):
        expected = theirs.prepare_decoder_input_ids_from_labels(labels.clone())  # which writes into its argument
        assert torch.equal(ours.prepare_decoder_input_ids_from_labels(labels), expected)


def test_a_last_label_needs_padding_and_one_document_a_row():
    theirs = make("MBartForConditionalGeneration", **TINY)
    ours, labels = triptych.from_hf(theirs), torch.tensor(LABELS["one row"])
    with pytest.raises(ValueError, match=r"decoder_start='last_label'.* packed documents"):
        ours(input_ids=SOURCE, labels=labels, decoder_document_ids=torch.tensor([[0, 0, 0, 1, 1, 1]]))
    ours.config.pad_token_id = None
    with pytest.raises(ValueError, match="decoder_start='last_label' needs a padding token"):
        ours.prepare_decoder_input_ids_from_labels(labels)


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize(
    ("name", "fields", "options"),
    [
        ("BartForConditionalGeneration", TINY, {"forced_bos_token_id": 7, "forced_eos_token_id": 2}),
        (
            "MarianMTModel",
            {**TINY, "eos_token_id": 3, "decoder_start_token_id": 0},
            {"bad_words_ids": [[0]], "forced_eos_token_id": 3},
        ),
        ("M2M100ForConditionalGeneration", TINY, {"forced_bos_token_id": 9, "bad_words_ids": [[0]]}),
    ],
)
def test_what_a_checkpoint_forces_is_forced(name, fields, options, num_beams):
    theirs = make(name, **fields)
    theirs.generation_config.update(**options, num_beams=num_beams, max_new_tokens=6, no_repeat_ngram_size=2)
    ours = triptych.from_hf(theirs)
    expected, actual = theirs.generate(SOURCE), ours.generate(SOURCE)
    assert torch.equal(actual, expected)
    assert actual[0, 0] == fields["decoder_start_token_id"]
    assert actual[0, 1] == options.get("forced_bos_token_id", actual[0, 1])
    assert 0 not in actual[0, 1:]


def published(theirs, directory, **fields):
    """The directory of a checkpoint whose configuration says what it said when it was published."""
    theirs.save_pretrained(directory)
    path = directory / "config.json"
    config = {name: value for name, value in json.loads(path.read_text()).items() if name != "scale_decoder_outputs"}
    path.write_text(json.dumps({**config, **fields}))
    return directory


@pytest.mark.parametrize(("says_tied", "is_tied"), [(True, True), (False, False), (True, False), (False, True)])
def test_t5_is_tied_and_scaled_as_its_checkpoint_is(tmp_path, says_tied, is_tied, assert_close):
    """What configurations call tying decides on scaling alone; the weights decide whether they are tied."""
    model = make("T5ForConditionalGeneration", **T5, feed_forward_proj="gated-gelu")
    if not is_tied:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(53, 16))
        model.all_tied_weights_keys.pop("lm_head.weight")
    directory = published(model, tmp_path, tie_word_embeddings=says_tied)
    theirs, ours = transformers.T5ForConditionalGeneration.from_pretrained(directory), triptych.from_hf(directory)
    assert ours.config.logit_scale == (0.25 if says_tied else 1.0)
    assert torch.equal(ours.lm_head.weight, ours.model.embed_tokens.weight) == is_tied
    with torch.no_grad():
        expected = theirs(input_ids=SOURCE, decoder_input_ids=TARGET).logits
        actual, back = (m(input_ids=SOURCE, decoder_input_ids=TARGET).logits for m in (ours, triptych.to_hf(ours)))
    assert_close(actual, expected)
    assert torch.equal(back, expected)


def test_an_encoder_of_t5_is_another_family_than_t5():
    assert find_architecture("t5").config_class is triptych.TriptychConfig
    assert find_architecture("t5", "T5Model").config_class is triptych.TriptychConfig
    assert find_architecture("t5", "T5EncoderModel").config_class is triptych.TriptychEncoderConfig
    with pytest.raises(CannotExpress, match=r"T5Stack has no counterpart.*T5Model.*T5EncoderModel"):
        find_architecture("t5", "T5Stack")
    encoder = triptych.from_hf(make("T5EncoderModel", **T5, num_decoder_layers=3))
    assert type(encoder) is triptych.TriptychEncoderModel
    assert triptych.to_hf(encoder).config.num_decoder_layers == 3


OURS = {"vocab_size": 53, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "encoder_layers": 1}
OURS |= {"decoder_layers": 2, "eos_token_id": 3, "embedding_scale": 1.0}
BIASES = {"attention_bias": True, "attention_output_bias": True}
NO_BIASES = {**dict.fromkeys(BIASES, False), "feed_forward_bias": False}
LEARNED = {**BIASES, "positions": "learned", "position_offset": 2, "embedding_norm": True, "head_bias": True}
RELATIVE = {**NO_BIASES, "positions": "relative", "residual": "pre", "norm": "rms", "attention_scale": 1.0}
TENSOR2TENSOR = {**BIASES, "sinusoid_layout": "tensor2tensor", "position_offset": 1, "embedding_scale": None}


@pytest.mark.parametrize(
    ("model_type", "fields"),
    [
        ("bart", LEARNED),
        ("mbart", {**LEARNED, "residual": "pre", "activation": "gelu"}),
        ("marian", {**BIASES, "sinusoid_layout": "concatenated", "head_bias": True}),
        (
            "marian",
            {
                **BIASES,
                "sinusoid_layout": "concatenated",
                "head_bias": True,
                "share_encoder_decoder_embeddings": False,
                "decoder_vocab_size": 61,
            },
        ),
        ("marian", {**BIASES, "positions": "learned", "head_bias": True}),
        ("m2m_100", {**TENSOR2TENSOR, "residual": "pre"}),
        ("fsmt", TENSOR2TENSOR),
        ("fsmt", {**TENSOR2TENSOR, "positions": "learned", "sinusoid_layout": "interleaved"}),
        ("t5", {**RELATIVE, "logit_scale": 0.25, "max_position_embeddings": 256}),
        ("t5", {**RELATIVE, "tie_word_embeddings": False, "feed_forward": "gated", "activation": "gelu"}),
        *(
            (model_type, {**fields, "tie_word_embeddings": False, "share_encoder_decoder_embeddings": False})
            for model_type, fields in (
                ("bart", LEARNED),
                ("mbart", {**LEARNED, "residual": "pre"}),
                ("marian", {**BIASES, "sinusoid_layout": "concatenated", "head_bias": True}),
                ("pegasus", {**BIASES, "sinusoid_layout": "concatenated", "head_bias": True, "residual": "pre"}),
                ("m2m_100", {**TENSOR2TENSOR, "residual": "pre"}),
                ("fsmt", {**TENSOR2TENSOR, "decoder_vocab_size": 53}),
            )
        ),
        ("mt5", {**RELATIVE, "tie_word_embeddings": False, "feed_forward": "gated", "activation": "gelu_new"}),
    ],
)
def test_models_of_ours_become_public_ones(model_type, fields, reload, assert_close):
    torch.manual_seed(0)
    config = triptych.TriptychConfig(**{**OURS, **fields})
    ours = TriptychForConditionalGeneration(config).eval()
    theirs = reload(triptych.to_hf(ours, model_type))
    assert theirs.config.model_type == model_type
    inputs = {"input_ids": SOURCE, "decoder_input_ids": TARGET}
    inputs["labels"] = TARGET  # without which FSMT's decoder sees the future
    with torch.no_grad():
        expected, actual = (m(**inputs).logits for m in (ours, theirs))
    assert_close(actual, expected)


def test_an_encoder_of_ours_becomes_t5s(reload, assert_close):
    torch.manual_seed(0)
    sizes = {name: value for name, value in OURS.items() if "layers" not in name}
    fields = {**sizes, **RELATIVE, "num_hidden_layers": 2, "type_vocab_size": 0, "embedding_norm": False}
    config = triptych.TriptychEncoderConfig(**fields, pooler="none", num_labels=3, max_position_embeddings=512)
    ours = TriptychEncoderForTokenClassification(config).eval()
    theirs = reload(triptych.to_hf(ours, "t5"))
    assert type(theirs) is transformers.T5ForTokenClassification
    with torch.no_grad():
        assert_close(theirs(input_ids=SOURCE).logits, ours(input_ids=SOURCE).logits)


@pytest.mark.parametrize(
    ("model_type", "fields", "named"),
    [
        ("m2m_100", {**TENSOR2TENSOR, "residual": "pre", "position_offset": 2}, "position_offset=2"),
        ("m2m_100", {**TENSOR2TENSOR, "residual": "pre", "positions": "learned"}, "positions='learned'"),
        ("bart", {"embedding_norm": False}, "embedding_norm=False"),
        ("t5", {**RELATIVE, "norm": "layer"}, "norm='layer'"),
    ],
)
def test_what_theirs_lack_is_named(model_type, fields, named):
    config = triptych.TriptychConfig(**{**OURS, "max_position_embeddings": 512, **fields})
    ours = TriptychForConditionalGeneration(config)
    with pytest.raises(CannotExpress, match=named):
        triptych.to_hf(ours, model_type)

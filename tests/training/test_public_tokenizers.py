"""Translators trained with tokenizers of public sequence-to-sequence models, and with others that lack something."""

import json

import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartTokenizer,
    ByT5Tokenizer,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MBart50Tokenizer,
    MBartTokenizer,
    NllbTokenizer,
    PreTrainedTokenizerFast,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import import_protobuf

import triptych
from triptych.data import tokenize_pairs
from triptych.tokenization import load_tokenizers, special_token_config
from triptych.training import LoopArguments
from triptych.training.tasks.translation import TranslationArguments, TranslationTask
from triptych.training.training import Training
from triptych.training.translate import translate

CONFIG = {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
LOOP = {"max_steps": 2, "warmup_steps": 2, "report_to": "none", "cpu_threads": 1, "cpu": True, "save_steps": 100}
PAIRS = {"source": ["abc de", "fab", "bad cab"], "target": ["de abc", "baf", "cab bad"]}
LETTERS = ["▁", *"abcdefg"]
FAIRSEQ = ["<s>", "<pad>", "</s>", "<unk>"]

needs_sentencepiece = pytest.mark.integrations("sentencepiece")
needs_sacremoses = pytest.mark.integrations("sacremoses")


def ids_of(*tokens):
    return {token: number for number, token in enumerate(tokens)}


def sentencepiece_file(path, letters=LETTERS):
    """A unigram model with the pieces <unk> <s> </s> and the letters."""
    proto = import_protobuf().ModelProto()
    for piece, kind in [("<unk>", 2), ("<s>", 3), ("</s>", 3), *((letter, 1) for letter in letters)]:
        proto.pieces.add(piece=piece, score=-float(len(proto.pieces)), type=kind)
    proto.trainer_spec.model_type = 1
    proto.normalizer_spec.name = "identity"
    path.write_bytes(proto.SerializeToString())
    return str(path)


def json_file(path, tokens):
    path.write_text(json.dumps(ids_of(*tokens)))
    return str(path)


def nllb(directory, **options):
    letters = {letter: number for number, letter in enumerate([*FAIRSEQ, *LETTERS])}
    return NllbTokenizer(vocab=letters, merges=[], src_lang="eng_Latn", tgt_lang="deu_Latn", **options)


def nllb_legacy(directory):
    return nllb(directory, legacy_behaviour=True)


def scored(*tokens):
    return [(token, -float(number)) for number, token in enumerate(tokens)]


def mbart(directory):
    codes = ["ar_AR", "de_DE", "en_XX"]
    vocabulary = scored(*FAIRSEQ, *LETTERS, *codes, "<mask>")
    return MBartTokenizer(vocab=vocabulary, src_lang="en_XX", tgt_lang="de_DE")


def mbart50(directory):
    return MBart50Tokenizer(vocab=scored("<unk>", "<s>", "</s>", *LETTERS), src_lang="en_XX", tgt_lang="de_DE")


def t5(directory):
    return T5Tokenizer(vocab=scored("<pad>", "</s>", "<unk>", *LETTERS), extra_ids=3)


def byt5(directory):
    return ByT5Tokenizer()


def bart(directory):
    return BartTokenizer(vocab=ids_of(*FAIRSEQ, *"abcdefgĠ"), merges=[], pad_token="<pad>")


def m2m100(directory, **options):
    from transformers import M2M100Tokenizer

    vocabulary = json_file(directory / "vocab.json", [*FAIRSEQ, *LETTERS])
    languages = {"src_lang": "en", "tgt_lang": "de"} | options
    return M2M100Tokenizer(vocabulary, sentencepiece_file(directory / "spm.model"), **languages)


def marian(directory):
    """Two SentencePiece models (the target's knows no "g"), one vocabulary."""
    from transformers import MarianTokenizer

    source, target = sentencepiece_file(directory / "s.spm"), sentencepiece_file(directory / "t.spm", LETTERS[:-1])
    return MarianTokenizer(source, target, json_file(directory / "vocab.json", ["</s>", "<unk>", *LETTERS, "<pad>"]))


def marian_separate(directory):
    from transformers import MarianTokenizer

    source, target = sentencepiece_file(directory / "s.spm"), sentencepiece_file(directory / "t.spm")
    special = ["</s>", "<unk>", "<pad>"]
    vocabularies = (
        json_file(directory / "vocab.json", [*special, *LETTERS]),
        json_file(directory / "target.json", [*special, *reversed(LETTERS), "h", "i"]),
    )
    return MarianTokenizer(source, target, *vocabularies, separate_vocabs=True)


def fsmt(directory):
    from transformers import FSMTTokenizer

    words = [letter + end for letter in "abcdefg" for end in ("", "</w>")] + ["ba"]
    (directory / "merges.txt").write_text("b a\n")
    vocabularies = (
        json_file(directory / "s.json", [*FAIRSEQ, *words]),
        json_file(directory / "t.json", [*FAIRSEQ, *reversed(words)]),
    )
    return FSMTTokenizer(["en", "de"], *vocabularies, str(directory / "merges.txt"))


PUBLIC = {  # builder → start of the decoder, first token of every translation
    nllb: ("</s>", "deu_Latn"),
    nllb_legacy: ("deu_Latn", None),
    mbart: ("de_DE", None),
    mbart50: ("</s>", "de_DE"),
    t5: ("<pad>", None),
    byt5: ("<pad>", None),
    bart: ("</s>", "<s>"),
    m2m100: ("</s>", "__de__"),
    marian: ("<pad>", None),
}
SPLIT = {marian_separate: "<pad>", fsmt: "<s>"}
MARKS = {**dict.fromkeys((m2m100, marian, marian_separate), needs_sentencepiece), fsmt: needs_sacremoses}


def marked(builders, slow=()):
    marks = {b: [*([MARKS[b]] if b in MARKS else []), *([pytest.mark.slow] if b in slow else [])] for b in builders}
    return [pytest.param(b, marks=marks[b], id=b.__name__) for b in builders]


def saved(build, tmp_path):
    (tmp_path / "parts").mkdir()
    build(tmp_path / "parts").save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


@pytest.fixture
def train_file(tmp_path):
    path = tmp_path / "train.tsv"
    rows = zip(PAIRS["source"], PAIRS["target"], strict=True)
    path.write_text("source\ttarget\n" + "".join(f"{s}\t{t}\n" for s, t in rows))
    return path


def training(train_file, output_dir, tokenizer, loop=None, config=None, **options):
    AcceleratorState._reset_state(True)
    options = {"max_tokens": 400, "preset": "tiny", "tokenizer": str(tokenizer)} | options
    task = TranslationTask(TranslationArguments(train_file=str(train_file), **options), CONFIG | (config or {}))
    return Training(task, LoopArguments(output_dir=str(output_dir), **(LOOP | (loop or {}))))


@pytest.mark.parametrize("build", marked(PUBLIC))
def test_labels_are_those_of_text_target_and_the_configuration_fits(build, tmp_path):
    tokenizer, none = load_tokenizers(saved(build, tmp_path))
    assert none is None
    rows = tokenize_pairs(Dataset.from_dict(PAIRS), tokenizer)
    assert rows["input_ids"][:] == tokenizer(PAIRS["source"])["input_ids"]
    assert rows["labels"][:] == tokenizer(text_target=PAIRS["target"])["input_ids"]
    fields = special_token_config(tokenizer)
    start, _ = PUBLIC[build]
    assert all(fields["eos_token_id"] in row for row in rows["labels"])
    assert fields["decoder_start_token_id"] == tokenizer.convert_tokens_to_ids(start)
    assert (fields["pad_token_id"], fields["eos_token_id"]) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert fields["vocab_size"] > max(max(row) for name in ("labels", "input_ids") for row in rows[name])


@pytest.mark.parametrize("build", marked([nllb, mbart, t5, byt5, m2m100, marian]))
def test_targets_that_are_cut_are_cut_as_targets(build, tmp_path):
    tokenizer, _ = load_tokenizers(saved(build, tmp_path))
    options = {"max_source_length": 5, "max_target_length": 4, "overlong": "truncate"}
    rows = tokenize_pairs(Dataset.from_dict(PAIRS), tokenizer, **options)
    labels = tokenizer(text_target=PAIRS["target"], truncation=True, max_length=4)["input_ids"]
    assert rows["labels"][:] == labels
    assert {len(row) for row in labels} == {4}
    assert rows["target_length"][:] == [4, 4, 4]


@pytest.mark.parametrize("build", marked(PUBLIC, slow=PUBLIC.keys() - {nllb, mbart, bart}))
def test_a_trained_directory_translates_as_it_was_trained(build, tmp_path, train_file):
    run = training(train_file, tmp_path / "run", saved(build, tmp_path), test_file=str(train_file))
    [batch] = next(run.train_batches.updates())
    expected = sorted(run.task.tokenizer(text_target=PAIRS["target"])["input_ids"])
    assert sorted([i for i in row if i != -100] for row in batch["labels"].tolist()) == expected
    run.run()
    assert run.test()["bleu"] >= 0
    start, first = (run.task.tokenizer.convert_tokens_to_ids(t) if t else None for t in PUBLIC[build])

    loaded = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert loaded(PAIRS["source"])["input_ids"] == run.task.tokenizer(PAIRS["source"])["input_ids"]
    assert (
        loaded(text_target=PAIRS["target"])["input_ids"]
        == run.task.tokenizer(text_target=PAIRS["target"])["input_ids"]
    )
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run")
    assert model.generation_config.forced_bos_token_id == first
    assert model.generation_config.eos_token_id == run.task.tokenizer.eos_token_id
    pipe = triptych.pipeline("translation", model=str(tmp_path / "run"))
    ids = pipe("abc", return_tensors=True)[0]["translation_token_ids"].tolist()
    assert ids[0] == start
    assert first is None or ids[1] == first
    assert pipe("abc")[0]["translation_text"].strip() == translate(model, loaded, ["abc"])[0]


@pytest.mark.parametrize("build", marked(SPLIT))
def test_a_tokenizer_with_two_vocabularies_is_the_source_s_and_the_target_s(build, tmp_path, train_file):
    whole = AutoTokenizer.from_pretrained(saved(build, tmp_path))
    run = training(train_file, tmp_path / "run", tmp_path / "tokenizer", test_file=str(train_file))
    target_ids = getattr(whole, "target_encoder", None) or {token: i for i, token in whole.decoder.items()}
    assert run.task.target_tokenizer.get_vocab().items() >= target_ids.items()
    rows = tokenize_pairs(Dataset.from_dict(PAIRS), run.task.tokenizer, run.task.target_tokenizer)
    assert rows["input_ids"][:] == whole(PAIRS["source"])["input_ids"]
    for ids, text in zip(rows["labels"][:], PAIRS["target"], strict=True):
        for tokenizer in (whole, run.task.target_tokenizer):
            assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert ids[-1] == target_ids["</s>"]
    if build is marian_separate:
        assert rows["labels"][:] == whole(text_target=PAIRS["target"])["input_ids"]
    assert (run.task.config.vocab_size, run.task.config.decoder_vocab_size) == (len(whole), len(target_ids))
    assert run.task.config.decoder_start_token_id == target_ids[SPLIT[build]]
    run.run()
    run.test()
    pipe = triptych.pipeline("translation", model=str(tmp_path / "run"))
    assert pipe.target_tokenizer(PAIRS["target"])["input_ids"] == rows["labels"][:]
    assert isinstance(pipe("abc")[0]["translation_text"], str)
    resumed = training(train_file, tmp_path / "run", tmp_path / "tokenizer", loop={"resume": True, "max_steps": 3})
    assert resumed.run().step == 3


@needs_sentencepiece
def test_a_pipeline_finds_both_sides_in_a_tokenizer_that_holds_both(tmp_path):
    whole = AutoTokenizer.from_pretrained(saved(marian_separate, tmp_path))
    fields = CONFIG | special_token_config(whole)
    model = triptych.TriptychForConditionalGeneration(triptych.TriptychConfig.from_preset("tiny", **fields)).eval()
    model.save_pretrained(tmp_path / "tokenizer")
    loaded = triptych.pipeline("translation", model=str(tmp_path / "tokenizer"), max_new_tokens=4)
    live = triptych.pipeline("translation", model=model, tokenizer=whole, max_new_tokens=4)
    assert loaded(PAIRS["source"]) == live(PAIRS["source"])
    with pytest.raises(ValueError, match="no target tokenizer was given"):
        triptych.pipeline("translation", model=model, tokenizer=t5(None))


@needs_sacremoses
def test_fsmt_s_tokenizer_alone_makes_no_labels(tmp_path):
    with pytest.raises(ValueError, match=r"encodes only sources; .*load_tokenizers also gives"):
        tokenize_pairs(Dataset.from_dict(PAIRS), fsmt(tmp_path))


@needs_sentencepiece
def test_m2m100_s_languages_have_rows_and_are_left_out_of_translations(tmp_path, train_file):
    run = training(train_file, tmp_path / "run", saved(m2m100, tmp_path))
    assert run.task.config.vocab_size == max(run.task.tokenizer.lang_code_to_id.values()) + 1
    run.run()
    loaded, _ = load_tokenizers(tmp_path / "run")
    assert loaded.decode(loaded(text_target="abc")["input_ids"], skip_special_tokens=True) == "abc"


def test_languages_are_chosen_by_options_saved_and_part_of_the_run(tmp_path, train_file):
    directory = saved(nllb, tmp_path)
    languages = {"source_lang": "fra_Latn", "target_lang": "ita_Latn"}
    run = training(train_file, tmp_path / "run", directory, **languages)
    french, italian = run.task.tokenizer.convert_tokens_to_ids(["fra_Latn", "ita_Latn"])
    [batch] = next(run.train_batches.updates())
    assert set(batch["input_ids"][:, 0].tolist()) == {french}
    assert set(batch["labels"][:, 0].tolist()) == {italian}
    assert "languages   fra_Latn → ita_Latn" in run.summary()
    run.run()
    loaded, _ = load_tokenizers(tmp_path / "run")
    assert (loaded.src_lang, loaded.tgt_lang) == ("fra_Latn", "ita_Latn")
    with pytest.raises(ValueError, match=r"languages was 'fra_Latn → ita_Latn', now 'fra_Latn → deu_Latn'"):
        training(train_file, tmp_path / "run", directory, {"resume": True}, source_lang="fra_Latn").run()


@pytest.mark.parametrize(
    ("build", "languages", "message"),
    [
        (lambda _: NllbTokenizer(), {}, r"target_lang is missing: .* 202 languages, e\.g\. ace_Arab"),
        (lambda _: MBartTokenizer(), {"source_lang": "en_XX"}, "target_lang is missing"),
        (lambda _: NllbTokenizer(), {"target_lang": "deu_Latin"}, r"'deu_Latin' is none .*did you mean .*deu_Latn"),
        (nllb, {"source_lang": "</s>"}, "source_lang='</s>' is none of the 202 languages"),
        (t5, {"target_lang": "de"}, "target_lang='de': the tokenizer .* has no languages to set; leave it out"),
        pytest.param(lambda d: m2m100(d, tgt_lang=None), {}, "target_lang is missing", marks=needs_sentencepiece),
    ],
)
def test_languages_that_are_missing_or_unknown(build, languages, message, tmp_path, train_file):
    with pytest.raises(ValueError, match=message):
        training(train_file, tmp_path / "run", saved(build, tmp_path), **languages)
    assert not (tmp_path / "run").exists()


def test_languages_without_a_named_tokenizer():
    with pytest.raises(ValueError, match="codes of a tokenizer: name one with --tokenizer"):
        TranslationArguments(train_file="x.tsv", target_lang="de")


def public_nllb(**languages):
    """A model of transformers' own, which nothing in its files ties to a language."""
    tokenizer = NllbTokenizer(**languages)
    config = M2M100Config(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=len(tokenizer), decoder_start_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    return M2M100ForConditionalGeneration(config).eval(), tokenizer


def test_translations_of_a_public_model_are_in_the_tokenizer_s_target_language(monkeypatch):
    model, tokenizer = public_nllb(tgt_lang="deu_Latn")
    outputs = []
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda **options: outputs.append(generate(**options)) or outputs[-1])
    translate(model, tokenizer, ["a", "b c"], max_new_tokens=2)
    assert set(outputs[0][:, 1].tolist()) == {tokenizer.convert_tokens_to_ids("deu_Latn")}
    with pytest.raises(ValueError, match="knows 202 languages, and neither it nor the model says which"):
        translate(*public_nllb(), ["a"])
    model.generation_config.forced_bos_token_id = tokenizer.convert_tokens_to_ids("ita_Latn")
    assert translate(model, NllbTokenizer(), ["a"], max_new_tokens=2)


def test_pairs_for_a_tokenizer_whose_target_language_is_not_set():
    with pytest.raises(ValueError, match="set its tgt_lang"):
        tokenize_pairs(Dataset.from_dict(PAIRS), NllbTokenizer(src_lang="eng_Latn"))


# --- tokenizers that lack something


def byte_level(template=None, **roles):
    """GPT-2's kind: bytes, and one special token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(ids_of(*alphabet, "<|endoftext|>"), []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    if template:
        backend.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<|endoftext|>", 256)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def gpt2(_=None):
    return byte_level(bos_token="<|endoftext|>", eos_token="<|endoftext|>", padding_side="left")


def test_a_tokenizer_like_gpt2_s_trains_a_translator_that_stops(tmp_path, train_file, caplog):
    loop = {
        "max_steps": 60,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "lr_scheduler": "constant",
        "warmup_steps": 5,
    }
    run = training(train_file, tmp_path / "run", saved(gpt2, tmp_path), loop, {"dropout": 0.0, "hidden_size": 32})
    assert "has no pad_token: it got <pad>, id 257" in caplog.text
    assert "does not end a target: its end token, id 256, is appended" in caplog.text
    [batch] = next(run.train_batches.updates())
    for row in batch["labels"].tolist():
        assert [i for i in row if i != -100][-1] == 256 == run.task.config.eos_token_id
    assert (run.task.config.pad_token_id, run.task.config.vocab_size) == (257, 258)
    run.run()
    assert run.task.model.generation_config.eos_token_id == 256
    pipe = triptych.pipeline("translation", model=str(tmp_path / "run"), batch_size=3)
    assert (pipe.tokenizer.pad_token, pipe.tokenizer.padding_side) == ("<pad>", "right")
    assert [output["translation_text"] for output in pipe(PAIRS["source"])] == PAIRS["target"]
    outputs = pipe(PAIRS["source"], return_tensors=True, batch_size=1)
    assert all(output["translation_token_ids"][-1] == 256 for output in outputs)


def test_a_bare_sentencepiece_model_trains_a_translator(tmp_path, train_file):
    run = training(train_file, tmp_path / "run", sentencepiece_file(tmp_path / "spiece.model"))
    [batch] = next(run.train_batches.updates())
    assert all(
        [i for i in row if i != -100][-1] == 2 == run.task.config.eos_token_id for row in batch["labels"].tolist()
    )
    assert (run.task.tokenizer.pad_token, run.task.config.pad_token_id, run.task.config.vocab_size) == (
        "<pad>",
        11,
        12,
    )
    run.run()
    pipe = triptych.pipeline("translation", model=str(tmp_path / "run"))
    assert pipe.tokenizer(PAIRS["source"])["input_ids"] == run.task.tokenizer(PAIRS["source"])["input_ids"]
    assert isinstance(pipe("abc")[0]["translation_text"], str)


def word_level(unk_token=None, **roles):
    backend = Tokenizer(models.WordLevel(ids_of("<pad>", "</s>", "abc", "de", "fab"), unk_token=unk_token or "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda _: byte_level(), "does not say which token ends a text.*eos_token=.*save_pretrained"),
        (lambda _: word_level(eos_token="</s>"), "fails on characters that it does not know.*unk_token"),
        (
            lambda _: byte_level("<|endoftext|> $A", bos_token="<|endoftext|>", eos_token="<|endoftext|>"),
            "begins each target with its end token.*add_bos_token=False",
        ),
    ],
    ids=["no end", "no unknown token", "begins with the end"],
)
def test_a_tokenizer_that_cannot_do_is_refused_before_anything_is_written(build, message, tmp_path, train_file):
    tokenizer = saved(build, tmp_path)
    with pytest.raises(ValueError, match=message):
        training(train_file, tmp_path / "run", tokenizer)
    assert not (tmp_path / "run").exists()


def test_two_tokenizers_that_pad_differently_are_refused_before_the_data_are_read(tmp_path):
    from triptych.tokenization import save_tokenizers

    save_tokenizers(
        tmp_path / "two", byte_level(pad_token="a", eos_token="b"), byte_level(pad_token="b", eos_token="c")
    )
    with pytest.raises(ValueError, match="the source tokenizer pads with id"):
        training(tmp_path / "there_are_none.tsv", tmp_path / "run", tmp_path / "two")


def test_sources_that_are_cut_leave_the_tokenizer_as_it_is(tmp_path, train_file):
    run = training(train_file, tmp_path / "run", saved(t5, tmp_path), config={"max_position_embeddings": 12})
    state = run.task.tokenizer.backend_tokenizer.to_str()
    with torch.no_grad():
        translate(run.task.model, run.task.tokenizer, ["abc " * 9], max_new_tokens=2)
    assert run.task.tokenizer.backend_tokenizer.to_str() == state

import json
import logging
import os
import re
import subprocess
import sys
import unicodedata

import pytest
from datasets import Dataset
from tokenizers import normalizers
from transformers import PreTrainedTokenizerFast

from triptych.tokenization import FAMILIES, MODELS, NORMALIZATIONS, train_tokenizer

ALL = [(model, family) for model in MODELS for family in FAMILIES]
VOCAB_SIZE = {"bpe": 400, "wordpiece": 400, "unigram": 400, "unigram-bytes": 656, "word": 320, "character": 90}
TEMPLATES = {  # one sequence, two sequences
    "encoder-decoder": ("A </s>", "A </s> B </s>"),
    "encoder": ("[CLS] A [SEP]", "[CLS] A [SEP] B [SEP]"),
    "decoder": ("A", "A B"),
}
LETTERS = ["A B", "B A"] * 20
FOREIGN = "Ünlü 😀 中文字 \u0301 Ω\u200d"


@pytest.fixture(scope="session")
def tokenizers(texts) -> dict[tuple[str, str], PreTrainedTokenizerFast]:
    return {
        (model, family): train_tokenizer([*texts, *LETTERS], model, VOCAB_SIZE[model], family, model_max_length=64)
        for model, family in ALL
    }


def decode(tokenizer, text: str) -> str:
    return tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)


def one_space(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("model", "family"), ALL)
def test_special_tokens_have_the_first_ids(tokenizers, model, family):
    tokenizer = tokenizers[model, family]
    expected = FAMILIES[family].special_tokens
    assert sorted(tokenizer.all_special_ids) == list(range(len(expected)))
    assert [getattr(tokenizer, f"{role}_id") for role in expected] == list(range(len(expected)))
    assert tokenizer.convert_ids_to_tokens(list(range(len(expected)))) == list(expected.values())


@pytest.mark.parametrize(("model", "family"), ALL)
def test_vocabulary_has_the_size_asked_for(tokenizers, texts, model, family):
    tokenizer = tokenizers[model, family]
    characters = len(set("".join([*texts, *LETTERS]))) + len(FAMILIES[family].special_tokens)
    assert len(tokenizer) == (characters if model == "character" else VOCAB_SIZE[model])
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


@pytest.mark.parametrize(("model", "family"), ALL)
def test_template(tokenizers, model, family):
    tokenizer = tokenizers[model, family]
    single, pair = TEMPLATES[family]

    def shown(encoding) -> str:
        return one_space(" ".join(tokenizer.convert_ids_to_tokens(encoding["input_ids"])).replace("▁", ""))

    assert shown(tokenizer("A")) == single
    assert shown(tokenizer("A", "B")) == pair
    if family == "encoder":
        both = tokenizer("A", "B")
        first = both["input_ids"].index(tokenizer.sep_token_id) + 1
        assert both["token_type_ids"] == [0] * first + [1] * (len(both["input_ids"]) - first)
    assert set(tokenizer("A")) == set(FAMILIES[family].model_input_names)


@pytest.mark.parametrize(("model", "family"), ALL)
def test_batches_are_padded_on_the_family_s_side(tokenizers, model, family):
    batch = tokenizers[model, family](["A", "A B A"], padding=True)
    mask = batch["attention_mask"][0]
    assert mask == sorted(mask, reverse=family != "decoder")
    assert 0 in mask
    assert all((token_id == 0) == (kept == 0) for token_id, kept in zip(batch["input_ids"][0], mask, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("bpe", "  two  spaces,\n\ta tab – and an end  "),
        ("bpe", FOREIGN),
        ("character", '  two  spaces – it\'s "all"  '),
        ("unigram", "It's a (small) test: \"all\" – isn't it?"),
        ("unigram", "  two  spaces\tand  a tab  "),
        ("unigram-bytes", f"«{FOREIGN}», it's  (all)! {FOREIGN}"),
        ("unigram-bytes", FOREIGN),
        ("unigram-bytes", "the byte <0x41> written out"),
        ("word", "The window is open, isn't it?"),
        ("word", "Turn on  the\tlight in the living room, please."),
    ],
)
def test_decoding_gives_the_text_back(tokenizers, model, family, text):
    exact = model in ("bpe", "character")
    assert decode(tokenizers[model, family], text) == (text if exact else one_space(text))


TRICKY = (
    " leading and trailing ",
    "▁a▁b ▁ c▁",
    "  two  spaces,\n\ta tab\r\n",
    "   ",
    "▁",
    "\u00a0a\u2003b\u3000",
    "a\u200db\u0301c \x00\x07",
    "Ünlü 😀 中文字 ﬁ １２ ½ İßſ",
    "\\n \" ' ` isn't  it ?",
)
FAITHFUL = {  # what is left of a text of known characters and words
    "bpe": lambda text: text,
    "character": lambda text: text,
    **dict.fromkeys(("unigram", "unigram-bytes", "word"), lambda text: one_space(text.replace("▁", " "))),
    # Its white space comes back in other places, so it is compared without.
    "wordpiece": lambda text: "".join(c for c in text if not c.isspace() and unicodedata.category(c)[0] != "C"),
}


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("model", MODELS)
def test_what_decoding_gives_back_is_what_the_table_of_models_says(model, normalization):
    known = [*TRICKY, *" ".join("".join(TRICKY))] * 2
    sizes = {"bpe": 300, "character": 200, "unigram-bytes": 400}
    tokenizer = train_tokenizer(known, model, sizes.get(model, 250), normalization=normalization)
    normalize = normalizers.Sequence(list(NORMALIZATIONS[normalization])).normalize_str
    shown = FAITHFUL[model] if model == "wordpiece" else str
    for text in TRICKY:
        assert shown(decode(tokenizer, text)) == FAITHFUL[model](normalize(text)), text
    assert decode(tokenizer, "<s> a</s>").strip() == "a"


@pytest.mark.parametrize("family", FAMILIES)
def test_wordpiece_decodes_words_and_ends_of_sentences(tokenizers, family):
    tokenizer = tokenizers["wordpiece", family]
    assert decode(tokenizer, "Turn on the light, please! Überraschung?") == "Turn on the light, please! Überraschung?"
    # Every word of known characters can be spelt, in every position.
    assert tokenizer.unk_token_id not in tokenizer("gnuhcsarrebÜ Bba_,eiD")["input_ids"]


@pytest.mark.parametrize(("model", "family"), ALL)
def test_unknown_characters_do_not_harm_their_neighbours(tokenizers, model, family):
    tokenizer = tokenizers[model, family]
    ids = tokenizer(f"please {FOREIGN} light")["input_ids"]
    assert (tokenizer.unk_token_id in ids) == (model not in ("bpe", "unigram-bytes"))
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert text.startswith("please")
    assert text.endswith("light")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("family", ["encoder-decoder", "encoder"])
def test_mask_stands_for_a_token_with_its_space(tokenizers, model, family):
    tokenizer = tokenizers[model, family]

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    # A character's mask stands for the character alone.
    before, space, hidden, after = (
        ("Turn on ", "", "t", "he light") if model == "character" else ("Turn on", " ", "the", " light")
    )
    behind = ids(f"{before}{space}{hidden}{after}")[len(ids(f"{before}{space}{hidden}")) :]
    assert ids(f"{before}{space}{tokenizer.mask_token}{after}") == [*ids(before), tokenizer.mask_token_id, *behind]


@pytest.mark.parametrize("model", MODELS)
def test_training_is_repeatable(texts, model):
    vocab_size = VOCAB_SIZE[model]
    states = {train_tokenizer(texts, model, vocab_size).backend_tokenizer.to_str() for _ in range(4)}
    assert len(states) == 1


def test_every_tokenizer_loads_in_a_fresh_process_without_the_package(tokenizers, tmp_path):
    text = "Turn on the light, isn't it? 😀"
    for (model, family), tokenizer in tokenizers.items():
        tokenizer.save_pretrained(tmp_path / f"{model}_{family}")
    code = (
        "import json, sys\n"
        "from transformers import AutoTokenizer\n"
        "for name in json.load(sys.stdin):\n"
        "    t = AutoTokenizer.from_pretrained(name)\n"
        f"    e = t([{text!r}, 'A'], padding=True)\n"
        "    print(json.dumps([dict(e), t.decode(e['input_ids'][0]), len(t), t.padding_side, t.model_max_length,\n"
        "                      t.model_input_names, t.special_tokens_map, t.clean_up_tokenization_spaces]))\n"
        "assert not any(name.startswith('triptych') for name in sys.modules)\n"
    )
    names = json.dumps([str(tmp_path / f"{model}_{family}") for model, family in tokenizers])
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input=names,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    for tokenizer, line in zip(tokenizers.values(), ran.stdout.splitlines(), strict=True):
        encoded = tokenizer([text, "A"], padding=True)
        assert json.loads(line) == [
            dict(encoded),
            tokenizer.decode(encoded["input_ids"][0]),
            len(tokenizer),
            tokenizer.padding_side,
            64,
            tokenizer.model_input_names,
            tokenizer.special_tokens_map,
            False,
        ]


def test_texts_may_be_a_column_or_a_generator(texts):
    texts = [f"{number} {text}" for number, text in enumerate(texts * 4)]
    expected = train_tokenizer((text for text in texts), "bpe", 300).get_vocab()
    assert len(texts) % 1000  # a column is read in slices, of which the last is shorter
    column = Dataset.from_dict({"source": texts})["source"]
    assert train_tokenizer(column, "bpe", 300).get_vocab() == expected
    assert train_tokenizer(texts, "bpe", 300).get_vocab() == expected


def test_normalization(texts):
    uncased = train_tokenizer(texts, "wordpiece", 300, "encoder", normalization="uncased")
    assert decode(uncased, "ÜBERRASCHUNG Später") == "uberraschung spater"
    nfkc = train_tokenizer(texts, "character", 100, normalization="nfkc")
    assert decode(nfkc, "ﬁnden spa\u0308ter") == "finden später"


@pytest.mark.parametrize("model", ["wordpiece", "unigram", "character"])
def test_limit_alphabet_drops_the_rarest_characters(texts, model):
    tokenizer = train_tokenizer(texts, model, 200, limit_alphabet=24)
    single = {token for token in tokenizer.get_vocab() if len(token) == 1}
    assert len(single) == 24
    assert {"a", "e", "t"} <= single
    assert "%" not in single
    assert tokenizer.unk_token_id in tokenizer("5 %")["input_ids"]
    assert tokenizer.unk_token_id not in tokenizer("kato tira")["input_ids"]


@pytest.mark.parametrize("model", MODELS)
def test_further_special_tokens_follow_the_family_s(texts, tmp_path, model):
    tokenizer = train_tokenizer(texts, model, 700, extra_special_tokens=["<2de>", "<2en>"])
    tokenizer.save_pretrained(tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for one in (tokenizer, loaded):
        assert one.convert_tokens_to_ids(["<mask>", "<2de>", "<2en>"]) == [4, 5, 6]
        assert one("<2en>A")["input_ids"][0] == 6
        assert {"<2de>", "<2en>"} <= set(one.all_special_tokens)


def test_too_few_texts_for_the_vocabulary_is_said(texts, caplog):
    with caplog.at_level(logging.WARNING):
        tokenizer = train_tokenizer(texts, "bpe", 5000)
    assert 261 < len(tokenizer) < 5000
    assert f"the texts fill {len(tokenizer)} of vocab_size=5000 tokens" in caplog.text


@pytest.mark.parametrize("model", ["bpe", "wordpiece", "unigram", "unigram-bytes", "character"])
def test_smallest_vocabulary(texts, model):
    with pytest.raises(ValueError, match=f"vocab_size=10 is too small for a '{model}' tokenizer") as error:
        train_tokenizer(texts, model, 10)
    smallest = int(re.search(r"at least (\d+)", str(error.value))[1])
    with pytest.raises(ValueError, match="too small"):
        train_tokenizer(texts, model, smallest - 1)
    assert len(train_tokenizer(texts, model, smallest)) == smallest


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"texts": []}, ValueError, "no text to train a tokenizer on"),
        ({"texts": ["", "  \n"]}, ValueError, "no text to train a tokenizer on"),
        ({"texts": "one string"}, TypeError, "texts is one string"),
        ({"texts": ["a", None]}, TypeError, "text 1 is None, not a string"),
        ({"model": "bytes"}, ValueError, "model='bytes' is unknown; choose one of bpe, wordpiece"),
        ({"family": "bert"}, ValueError, "family='bert' is unknown; choose one of encoder-decoder"),
        ({"normalization": "lower"}, ValueError, "normalization='lower' is unknown; choose one of none"),
        ({"extra_special_tokens": ["<x>", "<s>"]}, ValueError, "extra_special_tokens: <s>"),
        ({"limit_alphabet": 9}, ValueError, "limit_alphabet=9: model='bpe' keeps no alphabet"),
        ({"limit_alphabet": 0, "model": "character"}, ValueError, "limit_alphabet=0 must be at least 1"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        train_tokenizer(**{"texts": ["some text"], "model": "bpe", "vocab_size": 300, **arguments})

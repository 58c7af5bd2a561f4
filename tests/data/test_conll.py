"""Sentences of tagged words, in the style of CoNLL 2003 and in CoNLL-U: what is read, and what is refused."""

import gzip

import pytest

from triptych.data import load_pairs
from triptych.data.formats.kinds import Column
from triptych.data.pairs import read_splits
from triptych.data.readers import FileOptions

CONLL_2003 = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
# SYM O O
. . O O

Peter NNP B-NP B-PER
"""
# From the description of the format, with a multi-word token, an empty node and comments.
CONLLU = (
    """# sent_id = 1
# text = vámonos al mar
1-2	vámonos	_	_	_	_	_	_	_	_
1	vamos	ir	VERB	V	_	0	root	_	_
2	nos	nosotros	PRON	P	_	1	obj	_	_
3-4	al	_	_	_	_	_	_	_	_
3	a	a	ADP	_	_	5	case	_	_
4	el	el	DET	_	_	5	det	_	_
5	mar	mar	NOUN	N	_	1	obl	_	_
5.1	mar	mar	NOUN	N	_	_	_	1:obl	_

# text = Sí
1	Sí	sí	INTJ	_	_	0	root	_	SpaceAfter=No
"""
    + "\n"
)


def read(path, tokens="tokens", tags="tags", **options):
    columns = {"tokens_column": Column(tokens, "texts"), "tags_column": Column(tags, "names")}
    rows = read_splits({"train": str(path)}, columns, FileOptions(**options))[0]["train"]
    return list(zip(rows["tokens"][:], rows["tags"][:], strict=True))


def test_conll_2003(tmp_path):
    (tmp_path / "a.conll").write_text(CONLL_2003)
    (tmp_path / "eng.train").write_bytes(CONLL_2003.replace("\n", "\r\n").encode())
    for name, options in (("a.conll", {}), ("eng.train", {"file_format": "conll"})):
        assert read(tmp_path / name, **options) == [
            (["EU", "rejects", "#", "."], ["B-ORG", "O", "O", "O"]),
            (["Peter"], ["B-PER"]),
        ]
    path = tmp_path / "a.conll"
    pos = [["NNP", "VBZ", "SYM", "."], ["NNP"]]
    assert [tags for _, tags in read(path, tags="2")] == [tags for _, tags in read(path, tags="-3")] == pos
    named = {"column_names": ("word", "pos", "chunk", "entity")}
    assert [tags for _, tags in read(path, tags="pos", tokens="word", **named)] == pos


def test_words_may_be_divided_by_tabs_and_stand_in_another_column(tmp_path):
    (tmp_path / "a.conll").write_text("# a comment, of another width\n1\t10\xa0000\tO\n2\tNew York\tB-LOC\n")
    assert read(tmp_path / "a.conll", tokens="2") == [(["10\xa0000", "New York"], ["O", "B-LOC"])]


def test_a_tag_loses_what_nobody_sees_at_its_ends_and_a_word_loses_nothing(tmp_path):
    (tmp_path / "a.conll").write_text("a\u00a0\tO \nb\t\u200bO\n", encoding="utf-8")
    assert read(tmp_path / "a.conll") == [(["a\u00a0", "b"], ["O", "O"])]


def test_conllu(tmp_path):
    words = [["vamos", "nos", "a", "el", "mar"], ["Sí"]]
    (tmp_path / "a.conllu").write_text(CONLLU, encoding="utf-8")
    (tmp_path / "b.conllu.gz").write_bytes(gzip.compress(CONLLU.encode()))
    for name in ("a.conllu", "b.conllu.gz"):
        upos = [["VERB", "PRON", "ADP", "DET", "NOUN"], ["INTJ"]]
        assert read(tmp_path / name) == read(tmp_path / name, tags="UPOS") == list(zip(words, upos, strict=True))
    relations = [["root", "obj", "case", "det", "obl"], ["root"]]
    for tags in ("deprel", "8"):
        assert read(tmp_path / "a.conllu", tags=tags) == list(zip(words, relations, strict=True))
    assert read(tmp_path / "a.conllu", tokens="lemma")[0][0] == ["ir", "nosotros", "a", "el", "mar"]


WRONG = {
    "no such column": ("a.conll", CONLL_2003, {"tags": "5"}, r"no column '5'; it has 1, 2, 3, 4.*--tags_column"),
    "no such name": ("a.conllu", CONLLU, {"tags": "pos"}, r"no column 'pos'; it has 'id', 'form', .*--tags_column"),
    "another width": ("a.conll", "a O\nb\n", {}, r"a\.conll: line 2 has 1 field, but the first .* has 2"),
    "names of another number": (
        "a.conll",
        "a O\n",
        {"column_names": ("a",)},
        "has 2 columns, but --column_names has 1",
    ),
    "blank field": ("a.conll", "a\tO\nb\t \n", {}, r"a\.conll: line 2: 'tags' is blank"),
    "spaces in conllu": (
        "a.conllu",
        CONLLU.replace("\t", " "),
        {},
        r"a\.conllu: line 3 has 1 field, divided by tabs",
    ),
    "no id": ("a.conllu", CONLLU.replace("1\tSí", "x\tSí"), {}, r"line 13 begins with 'x', not with the id of a word"),
    "no blank line": ("a.conllu", CONLLU.replace("\n\n", "\n"), {}, r"line 12 has the id 1, but 6 is next; a blank"),
    "a range that ends before it begins": (
        "a.conllu",
        CONLLU.replace("3-4\t", "3-2\t"),
        {},
        "line 6 has the id 3-2, which ends before it begins",
    ),
    "a range at another place": (
        "a.conllu",
        CONLLU.replace("3-4\t", "2-4\t"),
        {},
        "line 6 has the id 2-4, but 3 is next",
    ),
    "an empty node at another place": (
        "a.conllu",
        CONLLU.replace("5.1\t", "6.1\t"),
        {},
        r"line 10 has the id 6\.1, but 5 is next",
    ),
    "words that would be their own tags": (
        "a.conll",
        "a\nb\n",
        {},
        "tokens_column and tags_column are both column 1 of 1; each needs a column of its own",
    ),
    "no sentence": ("a.conll", "\n\n", {}, r"a\.conll holds no rows"),
    "not read as conll": ("eng.train", CONLL_2003, {}, "a plain text file has one column, .*--file_format"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_sentence_of_tagged_words_is_named_with_the_line(tmp_path, case):
    name, text, options, message = WRONG[case]
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name, **options)


def test_pairs_are_not_read_from_tagged_words(tmp_path):
    (tmp_path / "a.conllu").write_text(CONLLU, encoding="utf-8")
    with pytest.raises(ValueError, match="sentences of tagged words, and no column 'source'"):
        load_pairs(tmp_path / "a.conllu")
    with pytest.raises(ValueError, match="delimiter: only for tsv"):
        read(tmp_path / "a.conllu", delimiter=";")

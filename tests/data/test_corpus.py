import re
import subprocess
import sys
from importlib.resources import files

import pytest

from triptych.data import available_corpora, load_corpus, load_pairs


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("en-de")


def skeletons(texts) -> set[str]:
    """Sentences up to case, punctuation and numbers."""
    return {
        " ".join("0" if word.isdigit() else word for word in re.findall(r"\w+", text.casefold())) for text in texts
    }


def test_splits_columns_and_sizes(corpus):
    assert available_corpora() == ["en-de"]
    assert list(corpus) == ["train", "validation", "test"]
    assert all(rows.column_names == ["source", "target"] for rows in corpus.values())
    assert len(corpus["train"]) > 29_000
    assert all(900 < len(corpus[split]) < 1200 for split in ("validation", "test"))


@pytest.mark.parametrize("held_out", ["validation", "test"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_no_held_out_sentence_is_trained_on(corpus, held_out, side):
    assert not skeletons(corpus[held_out][side]) & skeletons(corpus["train"][side])


def test_validation_and_test_share_nothing(corpus):
    for side in ("source", "target"):
        assert not skeletons(corpus["validation"][side]) & skeletons(corpus["test"][side])


def test_one_target_for_each_source(corpus):
    for rows in corpus.values():
        plain = [" ".join(re.findall(r"\w+", text.casefold())) for text in rows["source"]]
        assert len(set(plain)) == len(plain)


def test_every_pair_is_clean(corpus):
    for rows in corpus.values():
        for source, target in zip(rows["source"], rows["target"], strict=True):
            assert source == " ".join(source.split()) != ""
            assert target == " ".join(target.split()) != ""
            assert source.casefold() != target.casefold()
            assert not re.search(r"[{}<>|“”„]|https?:", source + target)
            assert max(len(source.split()), len(target.split())) <= 12


def test_a_corpus_that_is_written_is_read_as_it_was(corpus, tmp_path):
    """As in the README's first block."""
    assert any('"' in text for text in corpus["validation"]["source"])
    for name, separator in (("a.tsv", "\t"), ("a.csv", ",")):
        corpus["validation"].to_csv(tmp_path / name, sep=separator, index=False)
        assert load_pairs(tmp_path / name)["train"][:] == corpus["validation"][:]


def test_a_shipped_file_is_a_file_like_others(corpus):
    path = files("triptych.data") / "corpora" / "en-de.test.tsv.xz"
    assert load_pairs(test_file=str(path))["test"][:] == corpus["test"][:]


def test_notices_ship_with_the_corpus():
    notice = (files("triptych.data") / "corpora" / "NOTICE").read_text(encoding="utf-8")
    for needed in (
        "Home Assistant Core 2026.11.0",
        "Version 2.0, January 2004",
        "END OF TERMS AND CONDITIONS",
        "Copyright (c) 2026 Auf Deutsch contributors",
        "The above copyright notice and this permission notice shall be included",
    ):
        assert needed in notice


def test_an_unknown_corpus_names_the_known_ones():
    with pytest.raises(ValueError, match="no corpus 'en-fr'; the package ships en-de"):
        load_corpus("en-fr")


def test_importing_the_package_does_not_import_datasets():
    code = "import sys, triptych.data; print('datasets' in sys.modules, triptych.data.shard.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "shard"]


def test_an_unknown_name_is_an_attribute_error():
    import triptych.data

    with pytest.raises(AttributeError, match="no attribute 'load_everything'"):
        _ = triptych.data.load_everything
    assert set(triptych.data.__all__) <= set(dir(triptych.data))

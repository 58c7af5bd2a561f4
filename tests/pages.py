"""The blocks of code that a page of docs/ shows."""

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"


class Block(NamedTuple):
    language: str
    flags: list[str]  # what stands behind the language: "python with-faiss"
    code: str
    shown: str  # the block of kind `text` that follows; "" if there is none


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page that are to be run, in their order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = [(*kind.split(), code) for kind, code in re.findall(r"^```(.+?)\n(.*?)^```$", text, re.M | re.S)]
    blocks = []
    for (language, *flags, code), (following, *_, shown) in zip(found, [*found[1:], ("", "")], strict=True):
        if language != "text":
            blocks.append(Block(language, flags, code, shown if following == "text" else ""))
    return blocks

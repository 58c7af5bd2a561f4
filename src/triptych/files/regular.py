"""Which files of a checkpoint may be opened: regular files of a limited size, which lie in its directory."""

import os
import stat
from pathlib import Path

MEBIBYTE = 2**20
LARGEST_JSON = 32 * MEBIBYTE  # a configuration with a million labels has less
# Names of files that are read into memory as a whole, and may be larger. The largest tokenizers have about 40 MiB, and
# the indices of the largest models 10 MiB.
LARGEST = {"tokenizer.json": 128 * MEBIBYTE}
# What may stand under a name in place of a file: the test of `stat` → the word in the message.
KINDS = {
    stat.S_ISDIR: "a directory",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def may_be_opened(path: Path, root: Path | None = None) -> bool:
    """Whether there is a file of this name; what is there and is not to be opened is refused.

    Args:
        root: the directory of the checkpoint, out of which no link may lead; None: the directory of the file. In the
            cache of huggingface_hub, links lead to the folder `blobs` of the same repository.

    Raises:
        ValueError: it is no regular file (opening a pipe or a device may never end), it is a link that leads out of
            the directory, or it is a JSON file of a size that no such file has.
    """
    if not os.path.lexists(path):
        return False
    try:
        found = path.stat()
    except OSError as error:
        raise ValueError(f"{path} is a link to nothing; put the file itself there, or remove the link") from error
    if not stat.S_ISREG(found.st_mode):
        kind = next((word for is_kind, word in KINDS.items() if is_kind(found.st_mode)), "something else")
        raise ValueError(f"{path} is {kind}, not a file; remove it, or put the file there")
    real, inside = path.resolve(), (root or path.parent).resolve()
    if not any(real.is_relative_to(folder) for folder in (inside, *_blobs(inside))):
        raise ValueError(f"{path} is a link that leads out of {root or path.parent}; put the file itself there")
    limit = LARGEST.get(path.name, LARGEST_JSON)
    if path.suffix == ".json" and found.st_size > limit:
        raise ValueError(f"{path} has {found.st_size} bytes, which is more than {limit}; no such file is so large")
    return True


def _blobs(directory: Path) -> list[Path]:
    """The folder to which links in a cache of huggingface_hub lead: REPOSITORY/snapshots/REVISION is its directory."""
    return [
        place.parent.parent / "blobs"
        for place in (directory, *directory.parents)
        if place.parent.name == "snapshots" and place.parent.parent.name.startswith("models--")
    ]

"""What the tests of the disk share: the content of a directory, and making one."""

from pathlib import Path

from triptych.files import new_directory


def listing(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def make(destination: Path, text: str = "{}", overwrite: bool = False, name: str = "config.json") -> None:
    with new_directory(destination, "me", overwrite) as directory:
        (directory / name).write_text(text)

"""One tokenizer, or a source and a target tokenizer, in the directory of a model."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import cached_file

from ..files import check_tokenizer_files, files_in, is_checkpoint_entry, publish, remove

TARGET_SUBFOLDER = "target_tokenizer"
# tokenizer.json, vocab.txt, spiece.model, source.spm, ...: what tokenizers have been saved as over the years.
_VOCABULARY_FILE = re.compile(r"tokenizer|vocab|tekken|(sentencepiece|spiece).*\.model$|\.spm$|\.tiktoken$")
_WHERE = ("cache_dir", "force_download", "local_files_only", "revision", "token")


def save_tokenizers(
    directory: str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase,
    target_tokenizer: PreTrainedTokenizerBase | None = None,
) -> None:
    """Saves the source (or only) tokenizer in `directory` and the target's in `directory`/target_tokenizer.

    Other files of the directory stay. Each file appears complete, under its final name, or not at all. Without a
    target tokenizer, the files of an earlier one are removed.

    Raises:
        NotADirectoryError: `directory` is a file.
        FileExistsError: the folder of the target tokenizer is a link.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"cannot save a tokenizer in {directory}: it is a file, not a directory")
    if (directory / TARGET_SUBFOLDER).is_symlink():
        raise FileExistsError(f"{directory / TARGET_SUBFOLDER} is a link; move it away")
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer.save_pretrained(temporary)
        if target_tokenizer is not None:
            target_tokenizer.save_pretrained(os.path.join(temporary, TARGET_SUBFOLDER))
        publish(Path(temporary), directory, files_in(Path(temporary)))
    if target_tokenizer is None:  # else an earlier target tokenizer would be taken for this one's
        remove(directory / TARGET_SUBFOLDER, is_checkpoint_entry)


def load_tokenizers(
    directory: str | os.PathLike[str], **kwargs: Any
) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase | None]:
    """The source (or only) tokenizer, and the target's or None, of a directory or a repository of the Hub.

    Args:
        directory: what `save_tokenizers` wrote, or any name that `AutoTokenizer.from_pretrained` knows.
        **kwargs: go to `AutoTokenizer.from_pretrained`.

    Raises:
        FileNotFoundError: a local directory holds no tokenizer.
        ValueError: a file of a local directory is damaged; it is named.
    """
    subfolder = kwargs.pop("subfolder", "")
    path = Path(directory, subfolder)
    if path.is_dir() and not any(_VOCABULARY_FILE.search(file.name) for file in path.iterdir()):
        raise FileNotFoundError(f"{path} holds no tokenizer; train one with scripts/train_tokenizer.py")
    check_tokenizer_files(path)
    tokenizer = AutoTokenizer.from_pretrained(directory, subfolder=subfolder, **kwargs)
    target_subfolder = f"{subfolder}/{TARGET_SUBFOLDER}".lstrip("/")
    has_target = cached_file(
        directory,
        "tokenizer_config.json",
        subfolder=target_subfolder,
        _raise_exceptions_for_missing_entries=False,
        **{name: value for name, value in kwargs.items() if name in _WHERE},
    )
    if has_target is None:
        return tokenizer, None
    return tokenizer, AutoTokenizer.from_pretrained(directory, subfolder=target_subfolder, **kwargs)

"""Saving the tokenizer of a model, or its source and target tokenizers."""

import os
import tempfile
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ..files import files_in, is_checkpoint_entry, publish, remove

TARGET_SUBFOLDER = "target_tokenizer"


def save_tokenizers(
    directory: str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase,
    target_tokenizer: PreTrainedTokenizerBase | None = None,
) -> None:
    """Saves the source (or only) tokenizer in `directory`, and the target tokenizer in `directory`/target_tokenizer.

    Other files of the directory stay. Each file appears complete under its final name, or not at all. Without a target
    tokenizer, the files of an earlier target tokenizer are removed.

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
    if target_tokenizer is None:  # a later load would take an earlier target tokenizer as part of this pair
        remove(directory / TARGET_SUBFOLDER, is_checkpoint_entry)

"""The way of a trained model to the Hub: its repository is there before the training, its files come at the end."""

import shlex
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from ..files import files_in, is_checkpoint_entry, short
from ..modeling.uploading import replaced_weights
from .run_directory.record import CARD_FILE, CURVE_FILE, TEST_METRICS_FILE

BESIDE_THE_MODEL = (CARD_FILE, CURVE_FILE, TEST_METRICS_FILE)


def create_repository(name: str, private: bool) -> str:
    """Creates a repository on the Hub, if there is none of this name; returns its full name.

    Raises:
        ValueError: the name is wrong, or this user may not write there, or the Hub cannot be reached.
    """
    try:
        api = HfApi()
        repository = api.create_repo(name, private=private, exist_ok=True).repo_id
        api.auth_check(repository, write=True)
        return repository
    except Exception as error:  # also those of the HTTP library, which huggingface_hub has changed
        raise ValueError(
            f"--push_to_hub {name}: {short(error)}; `hf auth login` gives this machine a token that may write, and "
            "without --push_to_hub the model stays in --output_dir"
        ) from error


def upload(directory: Path, repository: str, title: str) -> str:
    """Uploads the finished model of a run, its tokenizers, its card and its scores, in one commit.

    The same commit removes weights of an earlier model that would be read in place of the new ones.

    Returns:
        The address of the commit.

    Raises:
        ValueError: the upload failed; the repository is as it was. The message has the command that repeats it.
    """
    names = [name for name in files_in(directory) if is_checkpoint_entry(name) or name in BESIDE_THE_MODEL]
    added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=directory / name) for name in names]
    try:
        removed = replaced_weights(repository, set(names))
        done = HfApi().create_commit(repository, [*removed, *added], commit_message=f"Add a model: {title}")
    except Exception as error:
        included = " ".join(f"--include {shlex.quote(name)}" for name in names)
        command = f"hf upload {shlex.quote(repository)} {shlex.quote(str(directory))} . {included}"
        raise ValueError(
            f"the model is in {directory}, but it could not be uploaded to {repository}: {short(error)}; to upload "
            f"it: {command}"
        ) from error
    return done.commit_url

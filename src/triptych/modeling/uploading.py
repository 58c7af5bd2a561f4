"""Uploading a model to a repository that may hold an earlier one."""

import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from ..files import INDEX, WEIGHTS, files_in

_WEIGHTS = re.compile(r"model(-[0-9]{5}-of-[0-9]{5})?\.safetensors|model\.safetensors\.index\.json")


def replaced_weights(repository: str, written: set[str], **where: Any) -> list[CommitOperationDelete]:
    """What removes the weights of an earlier model from a repository.

    `from_pretrained` takes model.safetensors where there is one, and looks for an index only then. So the file of an
    earlier model would be read in place of new weights that are in several files.

    Args:
        written: the names of the files that a commit writes.
        where: the options `revision` and `token`.
    """
    if not written & {WEIGHTS, INDEX}:
        return []
    there = HfApi().list_repo_files(repository, **where)
    return [CommitOperationDelete(name) for name in there if _WEIGHTS.fullmatch(name) and name not in written]


def upload_changes(
    directory: Path,
    repository: str,
    known: dict[str, float],
    commit_message: str | None = None,
    token: bool | str | None = None,
    create_pr: bool = False,
    revision: str | None = None,
    commit_description: str | None = None,
) -> Any:
    """Uploads the files of a directory in one commit, which also removes the weights of an earlier model.

    Args:
        known: the name of an entry of the directory → the time of the change that is not new; other entries are new.
    """
    names = [
        name
        for name in files_in(directory)
        if os.path.getmtime(directory / (entry := name.partition("/")[0])) > known.get(entry, 0)
    ]
    api = HfApi(library_name="transformers")
    if revision is not None and not create_pr and not revision.startswith("refs/pr"):
        api.create_branch(repository, branch=revision, token=token, exist_ok=True)
    return api.create_commit(
        repository,
        [
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=directory / name) for name in names),
            *replaced_weights(repository, set(names), revision=None if create_pr else revision, token=token),
        ],
        commit_message=commit_message or "Upload model",
        commit_description=commit_description,
        token=token,
        create_pr=create_pr,
        revision=revision,
    )

"""The one way to the disk: names are literal, writing is atomic, and nothing is removed that the package did not
write.

A file appears complete under its name, or not at all. A directory that is written anew replaces the old one by two
renames; a kill at any moment leaves the old or the new one complete, and the next call (`check_destination`) puts the
old one back where neither stands under its name. What a file says never decides alone what is removed: a removal also
demands a name that the package itself uses, inside the directory, and that nothing is a link.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

TEMPORARY = ".tmp"
RECORD = ".triptych-files.json"
AGAIN = "copy or download it again"

INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
_MODEL = (
    r"config\.json|generation_config\.json|model(-[0-9]{5}-of-[0-9]{5})?\.safetensors|model\.safetensors\.index\.json"
)
# All files that `save_pretrained` of transformers' tokenizers writes.
_TOKENIZER = (
    r"tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|chat_template\.(jinja|json)|"
    r"vocab\.(json|txt)|vocab-(src|tgt)\.json|target_vocab\.json|merges\.txt|bpe\.codes|dict\.txt|"
    r"(spiece|sentencepiece|sentencepiece\.bpe|spm|spm_char|tokenizer)\.model|(source|target)\.spm|"
    r"prophetnet\.tokenizer|byte_maps\.json|emoji\.json|normalizer\.json|entity_vocab\.json|"
    r"word_(pronunciation|shape)\.json|additional_chat_templates/([^/]+\.jinja)?"
)
MODEL_FILE = re.compile(_MODEL)
CHECKPOINT_ENTRY = re.compile(rf"{_MODEL}|(target_tokenizer/)?({_TOKENIZER})|target_tokenizer/")

Ours = Callable[[str], bool]  # whether the package uses a path: relative, with slashes, a directory's ends in one


def is_checkpoint_entry(path: str) -> bool:
    """Whether the package (or a tokenizer or model that it saves) writes `path` into a checkpoint's directory."""
    return path == RECORD or CHECKPOINT_ENTRY.fullmatch(path) is not None


def is_plain(name: object) -> bool:
    """Whether `name` is the name of something directly inside a directory, and of nothing else."""
    return isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


# ---- reading --------------------------------------------------------------------------------------------------------


@contextmanager
def reading(path: str | Path, remedy: str = AGAIN) -> Iterator[None]:
    """Gives the name of the file that is read to an error which comes from its content.

    Raises:
        ValueError: the block raised an error of that kind; the message names file, reason and remedy.
        FileNotFoundError: the file is missing; alike.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing; {remedy}") from error
    except OSError:  # names the file itself
        raise
    except (
        *(ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, OverflowError, RecursionError),
        *(MemoryError, SafetensorError),
    ) as error:
        reason = str(error) if isinstance(error, ValueError | RuntimeError | SafetensorError) else repr(error)
        raise ValueError(f"{path} is damaged ({reason}); {remedy}") from error


def read_json(path: Path, remedy: str = AGAIN) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: it is no JSON; the file and the remedy are named.
    """
    with reading(path, remedy):
        return json.loads(path.read_text(encoding="utf-8"))


def read_object(path: Path, remedy: str = AGAIN) -> dict[str, Any]:
    """The content of a JSON file that holds an object.

    Raises:
        ValueError: it holds something else; the file and the remedy are named.
    """
    value = read_json(path, remedy)
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged (it holds {type(value).__name__}, not an object); {remedy}")
    return value


def weight_files(directory: str | Path, remedy: str = AGAIN) -> list[Path]:
    """The files of weights that `from_pretrained` reads: model.safetensors, or else those that its index names.

    Raises:
        FileNotFoundError: there are no weights, or a file that the index names is missing.
        ValueError: the index is damaged, or names a file outside of the directory.
    """
    directory = Path(directory)
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    index = directory / INDEX
    if not index.is_file():
        raise FileNotFoundError(f"{directory} holds no {WEIGHTS} and no {INDEX}; {remedy}")
    places = read_object(index, remedy).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{index} is damaged (it has no weight_map); {remedy}")
    if strange := [name for name in places.values() if not is_plain(name) or not name.endswith(".safetensors")]:
        raise ValueError(f"{index} is damaged (it names {strange[0]!r} as a file of weights); {remedy}")
    files = [directory / name for name in sorted(set(places.values()))]
    if missing := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(f"{directory} lacks {missing[0]}, which {INDEX} names; {remedy}")
    return files


def check_tensors(path: Path, remedy: str = AGAIN) -> None:
    """Reads the header of a safetensors file, which says how long the file must be.

    Raises:
        ValueError: the file is cut off, or it is no safetensors file.
        FileNotFoundError: it is missing.
    """
    with reading(path, remedy), safe_open(path, framework="pt"):
        pass


def _check_fields(path: Path, fields: dict[str, Any]) -> None:
    """Refuses what transformers would use without a check of its own."""
    code, length = fields.get("auto_map", {}), fields.get("model_max_length")
    if not isinstance(code, dict):
        raise ValueError(f"{path} is damaged (auto_map={code!r} is no object); remove auto_map")
    if path.name == "tokenizer_config.json" and not isinstance(length, int | float | None):
        raise ValueError(f"{path} is damaged (model_max_length={length!r} is no number); remove model_max_length")


def check_model_files(directory: str | Path, remedy: str = AGAIN) -> None:
    """Looks at the files of a model's directory without loading them; what is not there is not missed.

    Raises:
        ValueError: config.json, generation_config.json, the index or a file of weights is damaged.
        FileNotFoundError: a file that the index names is missing.
    """
    directory = Path(directory)
    for name in ("config.json", "generation_config.json"):
        if (directory / name).is_file():
            _check_fields(directory / name, read_object(directory / name, remedy))
    if (directory / WEIGHTS).is_file() or (directory / INDEX).is_file():
        for file in weight_files(directory, remedy):
            check_tensors(file, remedy)


def check_tokenizer_files(directory: str | Path, remedy: str = AGAIN) -> None:
    """The same for the JSON files of a tokenizer, and of a target tokenizer in its folder.

    config.json is among them, as AutoTokenizer reads it.
    """
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    for folder in (Path(directory), Path(directory, "target_tokenizer")):
        for name in names:
            if (folder / name).is_file():
                _check_fields(folder / name, read_object(folder / name, remedy))


class CannotLoad(ValueError, RuntimeError):
    """What lies in a directory makes no model or tokenizer. (transformers raises RuntimeError where sizes differ.)"""


def short(error: object, length: int = 300) -> str:
    """The message of an error in one line, or what kind of error it is where it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else f"{text[:length]}..."


@contextmanager
def naming_damage(source: Any, subfolder: str = "", **where: Any) -> Iterator[None]:
    """Around the loading of a model: a damaged file is named, before it is loaded or afterwards.

    Args:
        source: of `from_pretrained`; only a directory is looked at beforehand, a repository only after an error.
        where: the options `cache_dir` and `revision`, under which a repository's files are found again.

    Raises:
        ValueError: see `check_model_files`.
        CannotLoad (a ValueError): what the files say makes no model.
        FileNotFoundError: no directory and no repository that can be read has this name.
    """
    if isinstance(source, str | os.PathLike) and Path(source, subfolder).is_dir():
        check_model_files(Path(source, subfolder))
    try:
        yield
    except OSError as error:
        if not isinstance(source, str | os.PathLike) or os.path.lexists(source):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(
            f"there is no model {os.fspath(source)}: no directory has this name, and no repository of the Hub by this "
            f"name could be read ({reason})"
        ) from error
    except SafetensorError as error:
        from transformers.utils import cached_file  # after an error it may take its time

        for name in (WEIGHTS, INDEX):
            found = cached_file(
                *(source, name),
                subfolder=subfolder,
                local_files_only=True,
                _raise_exceptions_for_connection_errors=False,
                _raise_exceptions_for_missing_entries=False,
                **{key: value for key, value in where.items() if key in ("cache_dir", "revision")},
            )
            if found is not None:
                check_model_files(Path(found).parent, "delete it, so that it is downloaded again")
        raise ValueError(f"the weights of {source} are damaged ({error}); {AGAIN}") from error
    except ValueError as error:
        if "Traceback (most recent call last)" not in str(error):
            raise
        # transformers' pipelines join the tracebacks of all classes that they tried
        reason = re.split(r"^[\w.]+: ", str(error), flags=re.MULTILINE)[-1]
        raise CannotLoad(reason if str(source) in reason else f"{source} cannot be loaded: {short(reason)}") from error
    except Exception as error:
        kinds = (AttributeError, LookupError, OverflowError, RuntimeError, TypeError)
        damaged = type(error) is Exception or isinstance(error, kinds)  # `tokenizers` raises nothing more exact
        if not damaged or isinstance(error, NotImplementedError) or "out of memory" in str(error):
            raise
        if "ignore_mismatched_sizes" in str(error):  # transformers has logged a table of them
            reason = "weights have other sizes than config.json says; ignore_mismatched_sizes=True makes them anew"
        else:
            reason = short(error)
        raise CannotLoad(f"{source} cannot be loaded: {reason}") from error


# ---- writing files --------------------------------------------------------------------------------------------------


def flush_to_disk(path: Path) -> None:
    """fsync of a file, or of a directory with all that is in it."""
    for entry in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if entry.is_dir():
            _flush_entries(entry)
        else:
            with open(entry, "r+b") as file:
                os.fsync(file.fileno())


def _flush_entries(directory: Path) -> None:
    """fsync of the names in a directory, without which a rename may be lost when the machine goes down."""
    with suppress(OSError):  # not every file system lets a directory be opened
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name, which nothing else has, for a new file that takes the place of `path` when the block ends."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        yield temporary
        flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_entries(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces the file by `content` in one step. Into a link or a device, such as /dev/stdout, it is written."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(content)
        return
    with _beside(path) as temporary, open(temporary, "xb") as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Replaces the file by `text` in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replaces the file by `value` as JSON; see `write_bytes`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def files_in(directory: Path) -> list[str]:
    """The regular files under a directory, as relative paths with slashes; links are neither named nor followed."""
    found = []
    for folder, _, names in os.walk(directory):
        paths = (Path(folder, name) for name in names)
        found += [path.relative_to(directory).as_posix() for path in paths if not path.is_symlink() and path.is_file()]
    return sorted(found)


def publish(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copies files of `source`, named by relative paths, into the directory `target`; each appears in one step.

    The index of the weights comes last, so that it never names a file that is not there.
    """
    for name in sorted(names, key=lambda name: (name.endswith(INDEX), name)):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with _beside(target / name) as temporary:
            shutil.copyfile(source / name, temporary)


def check_writable(path: Path) -> None:
    """Asks before long work whether a file or directory can be made at `path`; changes nothing.

    Raises:
        NotADirectoryError: a part of the path is a file.
        PermissionError: the directory where it would be made cannot be written.
    """
    parent = Path(os.path.abspath(path)).parent
    while not parent.exists() and not parent.is_symlink():
        parent = parent.parent
    if not parent.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {parent} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: there is no permission to write in {parent}")


def check_output_file(
    path: Path, inputs: Iterable[str | Path] = (), model: str | Path | None = None, is_ours: Ours = is_checkpoint_entry
) -> None:
    """Asks before long work whether a file can be written at `path`, or at what a link leads to; changes nothing.

    Args:
        inputs: files that are read meanwhile.
        model: a directory of a model that is read meanwhile, if it is one.
        is_ours: whether a path, relative to `model`, belongs to the model.

    Raises:
        ValueError: it is one of the inputs, or a file that belongs to the model.
        IsADirectoryError: it is a directory.
        FileNotFoundError: the directory of the file does not exist.
        NotADirectoryError, PermissionError: see `check_writable`.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; name a file")
    target = path if path.exists() else Path(os.path.realpath(path))  # of a link to nothing, what would be made
    if not target.parent.exists():
        raise FileNotFoundError(f"{path} cannot be written: the directory {target.parent} does not exist")
    check_writable(target)
    if same := [name for name in inputs if _same_file(path, name)]:
        raise ValueError(f"{path} would replace the input {same[0]}; name another file for the output")
    if model is not None and os.path.isdir(model) and _belongs(path, Path(model).resolve(), is_ours):
        raise ValueError(f"{path} would replace a file of the model in {model}; name another file for the output")


def _same_file(path: Path, other: str | Path) -> bool:
    """Whether both are one regular file, also through links."""
    return path.is_file() and os.path.isfile(other) and os.path.samefile(path, other)


def _belongs(path: Path, directory: Path, is_ours: Ours) -> bool:
    """Whether `path` is, or would be, a file in `directory` that is ours; also where a link in it leads elsewhere."""
    for place in (path.parent.resolve() / path.name, path.resolve()):
        if place.is_relative_to(directory) and is_ours(place.relative_to(directory).as_posix()):
            return True
    entries = (Path(folder, name) for folder, _, names in os.walk(directory) for name in names)
    return any(_same_file(path, e) and is_ours(e.relative_to(directory).as_posix()) for e in entries)


# ---- removing and replacing directories -----------------------------------------------------------------------------


def remove(path: Path, is_ours: Ours, name: str | None = None) -> list[str]:
    """Removes a file, or a directory with all in it, as far as it is ours; returns the paths that were left.

    Links are neither followed nor removed. A directory in which something was left stays.

    Args:
        name: the path by which `is_ours` knows it; by default its name.
    """
    name = path.name if name is None else name
    if not os.path.lexists(path):
        return []
    if path.is_symlink():
        return [name]
    if path.is_dir():
        return remove_tree(path, is_ours, f"{name}/") if is_ours(f"{name}/") else [name]
    if not path.is_file() or not is_ours(name):
        return [name]
    path.unlink(missing_ok=True)
    return []


def remove_tree(directory: Path, is_ours: Ours, within: str = "") -> list[str]:
    """`remove` of a directory that is ours itself, in which a path is known as `within` and its path inside."""
    left = []
    for entry in sorted(directory.iterdir(), key=lambda entry: (entry.name == RECORD, entry.name)):  # the record last
        left += remove(entry, is_ours, within + entry.name)
    if not left:
        directory.rmdir()
    return left


def foreign_entries(directory: Path, is_ours: Ours, within: str = "") -> list[str]:
    """What `remove_tree` would leave; changes nothing."""
    left = []
    for entry in sorted(directory.iterdir()):
        path = within + entry.name
        if entry.is_dir() and not entry.is_symlink():
            left += foreign_entries(entry, is_ours, f"{path}/") if is_ours(f"{path}/") else [path]
        elif entry.is_symlink() or not entry.is_file() or not is_ours(path):
            left.append(path)
    return left


def put_in_place(new: Path, final: Path, old: Path, is_ours: Ours) -> None:
    """Gives a completely written directory its final name. The directory there is renamed to `old`, then removed.

    If the new one cannot be renamed, the old one gets its name back.

    Raises:
        FileExistsError: `old` exists.
    """
    flush_to_disk(new)
    replaced = final.is_dir() and any(final.iterdir())
    if replaced:
        if os.path.lexists(old):
            raise FileExistsError(f"{old} is in the way; move it away")
        os.rename(final, old)
    try:
        os.rename(new, final)
    except BaseException:
        if replaced:
            os.rename(old, final)
        raise
    _flush_entries(final.parent)
    if replaced:
        remove_tree(old, is_ours)


def put_back(final: Path, old: Path) -> bool:
    """Gives the directory that a killed `put_in_place` renamed to `old` its name back, if no new one has it."""
    if os.path.lexists(final) or old.is_symlink() or not old.is_dir():
        return False
    os.rename(old, final)
    return True


def record_of(writer: str, directory: Path) -> set[str]:
    """The paths of the files that `writer` recorded in a directory; empty without a record of its own."""
    with suppress(ValueError, OSError):
        record = read_object(directory / RECORD)
        if record.get("writer") == writer and isinstance(record.get("files"), list):
            return {name for name in record["files"] if isinstance(name, str)} | {RECORD}
    return set()


def written_by(writer: str, directory: Path) -> Ours:
    """What `writer` wrote into a directory: what its record names, among the names that the package uses."""
    names = record_of(writer, directory)
    folders = {"/".join(name.split("/")[:depth]) + "/" for name in names for depth in range(1, name.count("/") + 1)}
    return lambda path: is_checkpoint_entry(path) and path in names | folders


def contains(directory: Path, path: Path) -> bool:
    """Whether `path` is `directory` or lies inside; both are resolved. Other names of one directory count as it."""
    return directory.exists() and any(
        parent.exists() and os.path.samefile(directory, parent) for parent in (path, *path.parents)
    )


def check_destination(
    destination: str | Path, writer: str, source: str | Path | None = None, overwrite: bool = False
) -> Path:
    """Says whether `new_directory` may make or replace `destination`, so that it can be asked before long work.

    What a killed call left is put back or removed; nothing else changes.

    Args:
        writer: the name of what writes; each replaces only what it wrote itself.
        source: a directory that is read meanwhile, if it is one.
        overwrite: allow to replace a directory that `writer` made by `new_directory` and that holds nothing else.

    Returns:
        `destination`, resolved.

    Raises:
        ValueError: it is the source, contains it or lies in it.
        FileExistsError: it is a link, a mount, the current or the home directory or contains one of these; or it holds
            something, and `overwrite` is not set; or it holds something that `writer` did not write.
        NotADirectoryError, PermissionError: see `check_writable`.
    """
    if Path(destination).is_symlink():
        raise FileExistsError(f"{destination} is a link; choose another directory, or name the one it leads to")
    path = Path(destination).resolve()
    if source is not None and Path(source).exists():
        read = Path(source).resolve()
        if contains(path, read) and contains(read, path):
            raise ValueError(f"{destination} is the source; choose another directory")
        if contains(read, path):
            raise ValueError(f"{destination} lies in the source {source}; choose another directory")
        parts = [read, *(part.resolve() for part in read.iterdir())] if read.is_dir() else [read]
        if any(contains(path, part) for part in parts):  # a part may be a link
            raise ValueError(f"{destination} exists; choose another directory, as it contains the source {source}")
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{destination} exists; choose another directory, as it is a file")
    for what, place in (("current", "."), ("home", "~")):
        if contains(path, Path(os.path.realpath(os.path.expanduser(place)))):
            raise FileExistsError(f"{destination} is or contains the {what} directory; choose another directory")
    if os.path.ismount(path):
        raise FileExistsError(f"{destination} is a mount; choose a directory in it")
    check_writable(path)
    _recover(path, writer)
    _check_replaceable(path, destination, writer, overwrite)
    return path


def _check_replaceable(path: Path, destination: str | Path, writer: str, overwrite: bool) -> None:
    if not path.exists() or not any(path.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{destination} exists; choose another directory, or allow to overwrite it")
    if foreign := foreign_entries(path, written_by(writer, path)):
        raise FileExistsError(
            f"{destination} exists; choose another directory: it is not replaced, as it holds what was not written "
            f"there by {writer} ({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''})"
        )


def _work_names(path: Path) -> tuple[Path, Path]:
    """Where the new directory is written, and where the old one stands for a moment: beside `path`."""
    return path.with_name(f".{path.name}.triptych-new"), path.with_name(f".{path.name}.triptych-old")


def _recover(path: Path, writer: str) -> None:
    """Puts back or removes what a killed `new_directory` left.

    Raises:
        FileExistsError: another process is at it, or somebody put something there.
    """
    new, old = _work_names(path)
    for directory in (new, old):
        if os.path.lexists(directory) and (directory.is_symlink() or not directory.is_dir()):
            raise FileExistsError(f"{directory} is in the way; move it away")
    left = []
    if new.exists():
        with _locked(new):
            left += remove_tree(new, _is_unfinished)
    if record_of(writer, old) <= {*files_in(old)}:  # not one whose removal had begun
        put_back(path, old)
    if old.exists():
        left += remove_tree(old, written_by(writer, old))
    if left:
        raise FileExistsError(f"{new} or {old} holds what others put there ({', '.join(left[:3])}); move it away")


def _is_unfinished(path: str) -> bool:
    return is_checkpoint_entry(without_temporary(path))


def without_temporary(path: str) -> str:
    """A path as it is when all of it is complete: without the endings of temporary names."""
    return re.sub(rf"(\.[0-9a-f]{{8}}|\.old)?{re.escape(TEMPORARY)}(?=/|$)", "", path)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keeps other processes from the same work, where the system has such locks; a kill releases it."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"another process is writing {directory}; wait for it") from None
        except OSError:
            pass  # some network file systems have no locks
        yield
    finally:
        os.close(descriptor)


@contextmanager
def new_directory(destination: str | Path, writer: str, overwrite: bool = False) -> Iterator[Path]:
    """An empty directory to be filled; when the block ends, it becomes `destination`, at once. Else nothing changes.

    It gets a record of its files, by which a later call knows what it may replace.

    Args:
        writer, overwrite: see `check_destination`, which is asked first.
    """
    path = check_destination(destination, writer, overwrite=overwrite)
    new, old = _work_names(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new.mkdir()
    with _locked(new):
        try:
            yield new
            write_json(new / RECORD, {"writer": writer, "files": files_in(new)})
            _check_replaceable(path, destination, writer, overwrite)  # somebody may have put something there meanwhile
            put_in_place(new, path, old, written_by(writer, path))
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)  # made here, so all in it is ours
            raise

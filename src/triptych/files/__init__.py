"""The one way to the disk: names are literal, writing is atomic, and only what the package wrote is removed.

| module             | what it holds                                                          |
|--------------------|------------------------------------------------------------------------|
| `names`            | the names of the files that the package writes                         |
| `reading`          | reading a file; an error names the file, the reason and the remedy     |
| `regular`          | which files may be opened: regular ones, of limited size, in their place |
| `field_checks`     | checks of fields and numbers that other programs may have written      |
| `checkpoint_files` | checks of the files of a model or a tokenizer, without loading it      |
| `loading`          | errors of loading a model or a tokenizer, in one line                  |
| `writing`          | files that appear complete, or not at all                              |
| `outputs`          | checks, before long work, of where its output goes                     |
| `removal`          | removing only what the package wrote                                   |
| `directories`      | directories that appear complete, or not at all                        |
"""

from .checkpoint_files import PICKLE_REMEDY, check_model_files, check_tokenizer_files, weight_files
from .directories import check_destination, contains, new_directory, put_back, put_in_place
from .field_checks import LARGEST_SIZE, MOST_LAYERS, OBJECT, OF_EVERY_MODEL, Check, has_numbers_as_keys
from .loading import (
    HUB_OPTIONS,
    CannotLoad,
    check_tokenizer,
    downloaded,
    is_directory,
    naming_damage,
    short,
    wrong_field,
)
from .names import (
    CHECKPOINT_ENTRY,
    INDEX,
    MODEL_FILE,
    RECORD,
    TEMPORARY,
    WEIGHTS,
    Ours,
    is_checkpoint_entry,
    is_plain,
    without_temporary,
)
from .outputs import check_output_file, check_writable
from .reading import AGAIN, check_tensors, read_json, read_object, reading
from .removal import foreign_entries, record_of, remove, remove_tree, written_by
from .writing import files_in, flush_to_disk, publish, write_bytes, write_json, write_text

__all__ = [
    "AGAIN",
    "CHECKPOINT_ENTRY",
    "HUB_OPTIONS",
    "INDEX",
    "LARGEST_SIZE",
    "MODEL_FILE",
    "MOST_LAYERS",
    "OBJECT",
    "OF_EVERY_MODEL",
    "PICKLE_REMEDY",
    "RECORD",
    "TEMPORARY",
    "WEIGHTS",
    "CannotLoad",
    "Check",
    "Ours",
    "check_destination",
    "check_model_files",
    "check_output_file",
    "check_tensors",
    "check_tokenizer",
    "check_tokenizer_files",
    "check_writable",
    "contains",
    "downloaded",
    "files_in",
    "flush_to_disk",
    "foreign_entries",
    "has_numbers_as_keys",
    "is_checkpoint_entry",
    "is_directory",
    "is_plain",
    "naming_damage",
    "new_directory",
    "publish",
    "put_back",
    "put_in_place",
    "read_json",
    "read_object",
    "reading",
    "record_of",
    "remove",
    "remove_tree",
    "short",
    "weight_files",
    "without_temporary",
    "write_bytes",
    "write_json",
    "write_text",
    "written_by",
    "wrong_field",
]

"""Only what the package wrote is removed."""

from triptych.files import is_checkpoint_entry, remove, remove_tree

from .conftest import listing


def test_only_what_is_ours_is_removed_and_no_link_is_followed(tmp_path):
    outside, directory = tmp_path / "outside", tmp_path / "ours"
    for path in (outside, directory, directory / "target_tokenizer", directory / "mine"):
        path.mkdir()
    for path in (outside / "config.json", directory / "config.json", directory / "mine" / "config.json"):
        path.write_text("x")
    (directory / "tokenizer.json").symlink_to(outside / "config.json")
    (directory / "additional_chat_templates").symlink_to(outside)
    (directory / "target_tokenizer" / "vocab.json").write_text("x")
    left = remove_tree(directory, is_checkpoint_entry)
    assert left == ["additional_chat_templates", "mine", "tokenizer.json"]
    assert listing(outside) == ["config.json"]
    assert listing(directory) == ["additional_chat_templates", "mine", "mine/config.json", "tokenizer.json"]
    (tmp_path / "link").symlink_to(outside)
    assert remove(tmp_path / "link", lambda path: True) == ["link"]
    assert listing(outside) == ["config.json"]

"""One module for each format of files: its reader yields the rows of one file.

docs/data.md says what each format means. A reader refuses what the format does not allow.
"""

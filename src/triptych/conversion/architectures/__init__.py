"""A module for each architecture, or for a few that differ only in names; the registry finds every module here.

A module is a table, and imports no other table. What several tables share is in `shared/`.
"""

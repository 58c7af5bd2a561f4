"""One module for each architecture, or for a few that differ in names only. A new one is found by being here."""

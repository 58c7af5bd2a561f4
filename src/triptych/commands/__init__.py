"""The commands of `triptych`, a module for each. `--help` shows its docstring, and its function `main` runs it.

`COMMANDS` in `triptych_command.py` lists them. That module lies beside the package, so that the list needs no torch.
"""

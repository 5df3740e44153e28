"""``python -m dkl``: the command line."""

from __future__ import annotations

from dkl.cli.main import main

if __name__ == "__main__":
    main()

"""``python -m gendet_cli``: the same as the ``gendet`` command."""

import sys

from gendet_cli.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m clipclean``: the same as the ``clipclean`` command."""

import sys

from clipclean.cli import main

sys.exit(main())

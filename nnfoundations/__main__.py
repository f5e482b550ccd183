"""`python -m nnfoundations` is the command `nnfoundations`."""

import sys

from nnfoundations.cli import main

sys.exit(main())

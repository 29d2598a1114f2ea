"""``python -m smtpx`` is the command ``smtpx``."""

import sys

from smtpx.cli import main

sys.exit(main())

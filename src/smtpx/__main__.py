"""``python -m smtpx`` is the command ``smtpx``."""

import sys

try:
    from smtpx.cli import main
except KeyboardInterrupt:
    sys.exit(130)

sys.exit(main())

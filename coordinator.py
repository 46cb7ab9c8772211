"""For a checkout: `python coordinator.py --rc=NAME`. It defines nothing: `import coordinator` finds the package."""

import sys
from pathlib import Path

from coordinator.checkout import ensure_dependencies

ensure_dependencies(Path(__file__).resolve().parent)
from coordinator.__main__ import main  # noqa: E402 - what it imports may only be there after the line above

sys.exit(main())

"""`python -m jobs.guard ARGUMENT… FOLDER`: Python for a job whose arguments lie in a folder.

submitit unpickles what its job finds there. So the folder has to be its user's alone, and the
rest of the way is by a handle of it, which nobody can turn elsewhere by renaming folders above.
"""

import os
import sys
from pathlib import Path

from jobs import trust


def main() -> int:
    """Become `python ARGUMENT… FOLDER`, if nobody else can have written to FOLDER."""
    *arguments, folder = sys.argv[1:]
    try:
        handle = trust.open_own(Path(folder))
    except (trust.Untrusted, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    os.set_inheritable(handle, True)
    return os.execv(sys.executable, [sys.executable, *arguments, f"/proc/self/fd/{handle}"])


if __name__ == "__main__":
    raise SystemExit(main())

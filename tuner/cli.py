"""What every command shares: bad input is one line with file, key and remedy, and exit code 2."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.trust import Untrusted
from tuner.space import BadInput

BAD_INPUT = 2


@contextmanager
def private() -> Iterator[None]:
    """What this process writes meanwhile is for its owner's eyes."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn bad or untrusted input into one line on stderr and exit code 2; writes are private."""
    try:
        with private():
            yield
    except BadInput as error:
        where = f"{path}: {error.key}" if error.key else str(path)
        print(f"error: {where}: {error.problem}; {error.remedy}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except Untrusted as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None

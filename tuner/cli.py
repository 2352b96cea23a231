"""What every command shares: how it is asked, and that bad input is one line and exit code 2."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs import doors
from jobs.trust import Untrusted
from tuner.space import BadInput

BAD_INPUT = 2


def parser(command: str, purpose: str | None, *examples: str) -> argparse.ArgumentParser:
    """The parser of `python -m tuner.COMMAND`, whose --help ends with examples."""
    lines = [f"  python -m tuner.{command} {example}" for example in examples]
    return argparse.ArgumentParser(
        f"python -m tuner.{command}", description=purpose,
        epilog="\n".join(["examples:" if len(lines) > 1 else "example:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def parse(given: argparse.ArgumentParser) -> argparse.Namespace:
    """What was typed; a shell that asks how it could go on is answered, and this process ends."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete  # noqa: PLC0415 - for shells alone

        argcomplete.autocomplete(given)
    return given.parse_args()


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn bad or untrusted input into one line on stderr and exit code 2; writes are private."""
    try:
        with doors.masked(path):
            yield
    except BadInput as error:
        where = f"{path}: {error.key}" if error.key else str(path)
        print(f"error: {where}: {error.problem}; {error.remedy}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except Untrusted as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except PermissionError as error:
        closed = error.filename or path
        print(f"error: {closed}: is not open to you; ask its owner", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None

"""Classes and sizes of a data set that only a heavy library can read: asked once, in a child process, then kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bob.core.errors import BobError, DataError
from bob.core.files import digest, write_text
from bob.core.process import module_command
from bob.data.fingerprint import are_links_followed, following_links

TIMEOUT_S = 1800
FOLLOWS = "follow-links"
DESCRIPTION_VERSION = 2  # raised when a description says other things


def description(kind: str, target: str, root: Path, fingerprint: str, *, cache_dir: Path) -> dict[str, Any]:
    """Return what the reader's ``describe(target, root, cache_dir)`` says of data with this fingerprint.

    The child process keeps torch and its like out of this one.

    Raises:
        DataError: The reader's library cannot read the files.
    """
    path = cache_dir / "datasets" / f"described-{digest([kind, target, fingerprint, DESCRIPTION_VERSION])}.json"
    if path.is_file():
        return json.loads(path.read_text())
    answer = _ask(kind, target, root, cache_dir)
    if "error" in answer:
        raise DataError(answer["error"], hint=answer["hint"])
    write_text(path, json.dumps(answer))
    return answer


def _ask(kind: str, target: str, root: Path, cache_dir: Path) -> dict[str, Any]:
    said = [FOLLOWS] if are_links_followed() else []
    command = module_command("bob.data.describe_dataset", kind, target, str(root), str(cache_dir), *said)
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        return json.loads(child.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise DataError(f"reading {root} as {kind} took over {TIMEOUT_S} s.", hint="Is its file system up?") from error
    except (ValueError, IndexError) as error:
        tail = child.stderr.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        raise DataError(f"{root} could not be read as {kind} data: {tail[0]}.", hint="bob doctor") from error


def main(arguments: list[str]) -> None:
    """Write the description, or the error, as one line of JSON to standard output."""
    from bob.data.readers import READERS

    kind, target, root, cache_dir, *said = arguments
    try:
        with following_links(FOLLOWS in said):
            answer = READERS.get(kind).describe(target, Path(root), Path(cache_dir))  # type: ignore[attr-defined]
    except BobError as error:
        answer = {"error": error.message, "hint": error.hint}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m orch.schema NAME` prints a published schema; its file is written anew with it."""

import sys

from orch.schema.published import SCHEMAS, text

USAGE = 2


def main(arguments: list[str]) -> int:
    """Print the schema that is named; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in SCHEMAS:
        sys.stderr.write(f"python -m orch.schema NAME prints a JSON Schema; NAME: {', '.join(SCHEMAS)}\n")
        return USAGE
    sys.stdout.write(text(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

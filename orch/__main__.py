"""`orch`, and `python -m orch`: an interrupt while the program is being loaded ends it without a word."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from orch.main import main as run  # noqa: PLC0415 - loading is what may be interrupted
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run()


if __name__ == "__main__":
    main()

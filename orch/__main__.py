"""`orch`, and `python -m orch`: an interrupt while the program is being loaded ends it without a word.

Who asked for JSON gets a `result` even so.
"""

import signal
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from orch.main import main as run  # noqa: PLC0415 - loading is what may be interrupted
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from orch.commands import early  # noqa: PLC0415 - not before it is needed

        early.print_result(sys.argv[1:], INTERRUPTED, "stopped", "interrupted")
        sys.exit(INTERRUPTED)
    run()


if __name__ == "__main__":
    main()

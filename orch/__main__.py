"""`python -m orch` is `orch`."""

from orch.main import main

if __name__ == "__main__":
    main()

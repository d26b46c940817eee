"""`python -m takt` is `takt`."""

from takt.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()

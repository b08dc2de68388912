"""`python -m pyrometer` is the `pyrometer` command."""

from .cli import main

main()

"""The program. It imports the rest within, since that takes seconds, in which Ctrl-C is pressed, too."""

import sys


def main() -> int:
    try:
        from .cli import main
    except KeyboardInterrupt:
        print("planrt-convert: interrupted", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(main())

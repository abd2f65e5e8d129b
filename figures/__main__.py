"""Redraw the figures: `python -m figures` all of them, `python -m figures arc beam_search` the ones named."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def main() -> int:
    """Write the SVG of each name and say how large it is."""
    parser = argparse.ArgumentParser(prog="python -m figures", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; without one, all")
    parser.add_argument("--to", type=Path, default=FOLDER, metavar="FOLDER", help="where to write (figures/)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in NAMES]:
        parser.error(f"no figure called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    for name in arguments.names or NAMES:
        content = import_module(f"figures.{name}").draw().svg().encode("utf-8")
        (arguments.to / f"{name}.svg").write_bytes(content)
        print(f"{name}.svg  {len(content) / 1024:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

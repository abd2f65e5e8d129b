"""Grade a class of thirty and take the picture of its page that README.md shows: python3 -m tests.grading.classpage"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from course_lib.cli import ROOT
from tests.grading.classroom import class_of

PICTURE = ROOT / "figures" / "class_page.webp"
WIDTH, HEIGHT = 1180, 1305  # down to the second misconception


def main() -> None:
    """Needs Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "class.zip").write_bytes(class_of(30))
        subprocess.run([sys.executable, "-m", "course_lib", "grade", folder / "class.zip", "--assignment", "03", "--seed", "1",
                        "--out", folder / "out"], check=True, cwd=ROOT)
        subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                        f"--user-data-dir={folder / 'browser'}", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={folder / 'page.png'}",
                        (folder / "out" / "class.html").as_uri()],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        Image.open(folder / "page.png").convert("RGB").save(PICTURE, quality=80, method=6)


if __name__ == "__main__":
    main()

"""The picture of the report in docs/images/, from the run folder of the demo.

python -m tests.report.screenshot runs/pocket docs/images
"""

import base64
import sys
import tempfile
from pathlib import Path

from rlhf.report.write import write_report
from tests.browsing import chromium

WIDTH, HEIGHT = 760, 1120  # pixels of a piece
MARGIN = 16  # above its first line
STARTS = ("h1", "h2:text('Samples: evaluation')", "h2:text('Curves: ppo')")


def pieces(browser, report: Path) -> list[bytes]:
    """The report below each of the lines in STARTS, as PNG files."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.goto(report.as_uri())
    found = []
    for start in STARTS:
        top = page.locator(start).first.bounding_box()["y"] - MARGIN
        clip = {"x": 0, "y": top, "width": WIDTH, "height": HEIGHT}
        found.append(page.screenshot(full_page=True, clip=clip))
    return found


def join(browser, pictures: list[bytes], path: Path) -> None:
    """Write the pictures side by side."""
    page = browser.new_page(viewport={"width": WIDTH * len(pictures), "height": HEIGHT})
    images = [base64.b64encode(picture).decode() for picture in pictures]
    tags = "".join(f"<img src='data:image/png;base64,{image}'>" for image in images)
    page.set_content(f"<body style='margin: 0; display: flex'>{tags}</body>")
    page.screenshot(path=path)


def main() -> None:
    run, folder = map(Path, sys.argv[1:])
    with chromium() as browser, tempfile.TemporaryDirectory() as place:
        report = write_report(run, Path(place) / "report.html")
        join(browser, pieces(browser, report), folder / "report.png")


if __name__ == "__main__":
    main()

"""A process of `grade --jobs`: settings and submissions as lines of JSON on stdin, marks as lines on stdout."""

import contextlib
import os
import sys

from course_lib.grading.running import sandbox
from course_lib.grading.tasks import Settings, Task, marks_of


def main() -> None:
    """Answer every line until stdin ends, which it also does when the process that started this one is killed."""
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:  # nobody is left to be told
        os.dup2(2, 1)  # whatever else is printed is no mark
        settings = Settings.from_json(sys.stdin.readline())
        with sandbox(settings) as isolated:
            for line in sys.stdin:
                for graded in marks_of(Task.from_json(line), settings, isolated):
                    print(graded.as_json(), file=answers, flush=True)
                print("end", file=answers, flush=True)


if __name__ == "__main__":
    main()

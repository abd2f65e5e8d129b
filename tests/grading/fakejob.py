"""In place of course_lib.grading.job: speaks its protocol without a sandbox; what it is to do stands in the answers."""

import json
import os
import sys
from pathlib import Path


def say(student: str, id: str = "", fault: str = "") -> None:
    """One mark, or a fault."""
    mark = None if fault else {"id": id, "points": 1, "maximum": 9, "attempted": True, "review": ["r"], "properties": [["p", 1, 9]]}
    print(json.dumps({"student": student, "mark": mark, "fault": fault}), flush=True)


def main() -> None:
    """A submission whose answer to an exercise begins with "die" ends the process there; "die once FILE" only the first time."""
    sys.stdin.readline()
    for line in sys.stdin:
        task = json.loads(line)
        for id, source in task["answers"].items():
            if id in task["done"]:
                continue
            if source == "hang":
                Path(os.environ["HANGING"]).write_text(str(os.getpid()))
                sys.stdin.read()
                return
            if source == "junk":
                print("no json")
            if source == "die" or (source.startswith("die once") and not Path(source.split()[2]).exists()):
                Path(source.split()[-1] if " " in source else os.devnull).write_text("x")
                os._exit(1)
            say(task["student"], id)
        if task["student"] == "faulty":
            say("faulty", fault="no worker")
        print("end", flush=True)


main()

"""`python3 -m course_lib`: set up .venv/ where needed, go on inside it, hand over to the command.

This file is read by any Python, old ones included, so that they get a sentence and not a SyntaxError;
until the environment exists it uses only the standard library.
"""
import sys

OLDEST = (3, 11)


def too_old(version, executable):
    """The sentence for a Python that is too old, or None."""
    if tuple(version[:2]) >= OLDEST:
        return None
    return ("course_lib: Python 3.11 or newer is needed, but this is Python %d.%d (%s). "
            "Install a newer one (python.org, or your system's package manager) and start with it, "
            "for example: python3.12 -m course_lib" % (version[0], version[1], executable))


def main():
    """Run one command; the exit code is the command's, or 2 with one line if it cannot be set up."""
    sentence = too_old(sys.version_info, sys.executable)
    if sentence:
        sys.stderr.write(sentence + "\n")
        return 2
    # Only now: these files use today's syntax, and the last one packages from requirements.txt.
    from course_lib.cli import environment, first_help
    if not environment.satisfied():
        text = first_help(sys.argv[1:])
        if text:
            print(text)
            return 0
        try:
            environment.set_up()
            environment.hand_over(sys.argv[1:])
        except environment.SetupError as error:
            sys.stderr.write("course_lib: %s\n" % error)
            return 2
        except KeyboardInterrupt:
            sys.stderr.write("\ncourse_lib: stopped; the same command starts the set-up again\n")
            return 130
    from course_lib.cli.app import main as commands
    return commands()


if __name__ == "__main__":
    sys.exit(main())

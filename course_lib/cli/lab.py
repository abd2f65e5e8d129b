"""The command `lab`: the student edition in JupyterLab."""

import json
import os
import sys
from pathlib import Path

import click

from course_lib.cli import COMMANDS, ROOT
from course_lib.cli.chapters import NOTEBOOKS, find_chapters, select
from course_lib.cli.edition import KEPT, write_edition
from course_lib.cli.process import clean_environment, replace_process

# No news, no update checks, no extension shop: JupyterLab asks the network for nothing.
CONFIG = {
    "jupyter_lab_config.json": {
        "LabApp": {"news_url": None, "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
                   "extension_manager": "readonly"},
        "MappingKernelManager": {"transport_encryption": "auto"}},
    "labconfig/default_setting_overrides.json": {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False,
                                                        "doNotDisturbMode": False}},
}


@click.command(epilog=f"Example: {COMMANDS['lab'].example}")
@click.argument("chapter", required=False)
@click.option("--no-browser", is_flag=True, help="Start the server and print its address; open no browser.")
@click.option("--port", type=click.IntRange(1, 65535), help="Use this port and no other.")
@click.option("--write-only", is_flag=True, help="Write the student edition and stop.")
@click.option(
    "--notebooks",
    "source",
    default=NOTEBOOKS,
    show_default="notebooks",
    help="Folder of the chapters.",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--folder",
    default=ROOT / "my_course",
    show_default="my_course",
    help="Folder of the student edition.",
    type=click.Path(file_okay=False, path_type=Path),
)
def lab(
    chapter: str | None, no_browser: bool, port: int | None, write_only: bool, source: Path, folder: Path
) -> None:
    """Write the student edition to my_course/ and open JupyterLab on it.

    Solutions are taken out, checks stay. A file that you have changed is never written over: when the
    course is updated, its new edition is put beside it. CHAPTER, such as 03, is opened at once.
    """
    try:
        chapters = find_chapters(source.resolve())
        opened = select(chapters, [chapter])[0].path.name if chapter else None
        notices = write_edition(source.resolve(), folder.resolve())
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for notice in notices:
        click.echo(notice)
    click.echo(f"student edition: {folder}")
    if not write_only:
        open_lab(folder.resolve(), opened, no_browser, port)


def open_lab(
    folder: Path, opened: str | None = None, no_browser: bool = False, port: int | None = None
) -> None:
    """Become JupyterLab on `folder`, with this Python's kernel and course_lib importable; does not return.

    Its settings and history stay in the folder: the user's own Jupyter is neither used nor changed.
    """
    kept = folder / KEPT
    for name, settings in CONFIG.items():
        path = kept / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}",
               f"--LabApp.default_url=/lab{f'/tree/{opened}' if opened else ''}"]
    if no_browser:
        command.append("--no-browser")
    if port:
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")          # in a container there is often no other user
    inherited = clean_environment()
    inherited.pop("MPLBACKEND", None)
    replace_process(command, {
        **inherited, "JUPYTER_CONFIG_DIR": str(kept / "config"), "JUPYTER_DATA_DIR": str(kept / "data"),
        "JUPYTER_RUNTIME_DIR": str(kept / "runtime"), "IPYTHONDIR": str(kept / "ipython")})

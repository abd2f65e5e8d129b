"""The command `train`: run a recipe on real data, alone or under torchrun."""

from pathlib import Path

import click

from course_lib.cli.data import Failure
from course_lib.data.datasets import DataError
from course_lib.recipes import multi30k, results
from course_lib.runtime import PRECISIONS, pick_device


@click.command(epilog="Example: python3 -m course_lib train multi30k --attention additive. On two GPUs: "
                      "torchrun --nproc-per-node 2 -m course_lib train multi30k")
@click.argument("recipe", type=click.Choice(["multi30k"]))
@click.option("--attention", type=click.Choice(multi30k.ATTENTIONS), default="additive", show_default=True,
              help="additive: chapter 03; none: its twin with one fixed context, chapter 02.")
@click.option("--steps", type=click.IntRange(min=1), default=multi30k.STEPS, show_default=True,
              help="Updates; 453 of them show every pair once.")
@click.option("--device", help="cuda, mps or cpu; default: the best one present.")
@click.option("--precision", type=click.Choice(list(PRECISIONS)), default="float32", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for tokenizers and checkpoint.")
@click.option("--store", metavar="NAME", help="Keep the curve with the course under this name.")
def train(recipe: str, attention: str, steps: int, device: str | None, precision: str, seed: int, out: Path | None,
          store: str | None) -> None:
    """Train RECIPE and print BLEU as it grows. Stopped and started again, it goes on from the last checkpoint."""
    out = out or multi30k.folder(attention)
    try:
        chosen = pick_device(device)
        history = multi30k.run(out, attention=attention, steps=steps, device=device, precision=precision, seed=seed)
    except (DataError, ValueError) as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        raise Failure(f"stopped; the same command goes on from the last checkpoint in {out}") from None
    for row in history.evaluations:
        click.echo(f"step {row['step']:>6.0f}   {row['seconds'] / 60:6.1f} min   BLEU {row['bleu']:.1f}")
    if history.evaluations:
        click.echo(f"{history.tokens / history.seconds[-1]:,.0f} words a second; model in {out}")
    if store:
        settings = {"recipe": recipe, "attention": attention, "steps": steps, "precision": precision, "seed": seed}
        click.echo(f"curve in {results.store(store, history, chosen, settings)}")

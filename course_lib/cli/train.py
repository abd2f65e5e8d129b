"""The command `train`: run a recipe on real data; multi30k and assistant alone or under torchrun."""

from pathlib import Path

import click

from course_lib.cli.data import Failure
from course_lib.data.datasets import DataError
from course_lib.recipes import multi30k, real_assistant, real_chat, results, shakespeare
from course_lib.runtime import PRECISIONS, pick_device

STEPS = ", ".join(f"{steps} {model}" for model, steps in multi30k.STEPS.items())


@click.group(epilog="Example: python3 -m course_lib train multi30k --model transformer --direction en-de. RECIPE --help says more.")
def train() -> None:
    """Train a recipe on real data."""


@train.command("multi30k", epilog="Example: python3 -m course_lib train multi30k --model transformer --direction en-de. On two GPUs: "
                                  "torchrun --nproc-per-node 2 -m course_lib train multi30k")
@click.option("--model", type=click.Choice(multi30k.MODELS), default="additive", show_default=True,
              help="rnn: one fixed context, chapter 02; additive: attention, chapter 03; transformer: chapter 05.")
@click.option("--direction", type=click.Choice(["de-en", "en-de"]), default="de-en", show_default=True)
@click.option("--steps", type=click.IntRange(min=1), help=f"Updates; 453 of them show every pair once.  [default: {STEPS}]")
@click.option("--device", help="cuda, mps or cpu; default: the best one present.")
@click.option("--precision", type=click.Choice(list(PRECISIONS)), default="float32", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for tokenizers and checkpoint.")
@click.option("--store", metavar="NAME", help="Keep the curve with the course under this name.")
def train_multi30k(model: str, direction: str, steps: int | None, device: str | None, precision: str, seed: int,
                   out: Path | None, store: str | None) -> None:
    """Translate picture captions, and print BLEU as it grows. Stopped and started again, it goes on from the last checkpoint."""
    source, target = direction.split("-")
    out, steps = out or multi30k.folder(model, source, target), steps or multi30k.STEPS[model]
    try:
        chosen = pick_device(device)
        history = multi30k.run(out, model=model, source=source, target=target, steps=steps, device=device, precision=precision,
                               seed=seed)
    except (DataError, ValueError) as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        raise Failure(f"stopped; the same command goes on from the last checkpoint in {out}") from None
    for row in history.evaluations:
        click.echo(f"step {row['step']:>6.0f}   {row['seconds'] / 60:6.1f} min   BLEU {row['bleu']:.1f}")
    if history.evaluations:
        click.echo(f"{history.tokens / history.seconds[-1]:,.0f} words a second; model in {out}")
    if store:
        kept = {"recipe": "multi30k", "model": model, "direction": direction, "steps": steps, "precision": precision, "seed": seed}
        click.echo(f"curve in {results.store(store, history, chosen, kept)}")


@train.command("shakespeare", epilog="Example: python3 -m course_lib train shakespeare --rung compiled --minutes 2")
@click.option("--rung", type=click.Choice(list(shakespeare.RUNGS)), default="shape", show_default=True,
              help="How: " + "; ".join(f"{name}: {rung.change}" for name, rung in shakespeare.RUNGS.items()) + ".")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=2.0, show_default=True,
              help="Of training; the schedule ends with them. A few seconds more go into measuring the pace, and into compiling.")
@click.option("--steps", type=click.IntRange(min=1), help="So many updates instead.")
@click.option("--device", help="cuda, mps or cpu; default: the best one present.")
@click.option("--seed", type=int, default=0, show_default=True)
def train_shakespeare(rung: str, minutes: float, steps: int | None, device: str | None, seed: int) -> None:
    """Write Shakespeare character by character, and print the loss on the whole validation part as it falls."""
    chosen = shakespeare.RUNGS[rung]
    try:
        text = shakespeare.load()
        if steps is None:
            steps = max(1, round(60 * minutes / shakespeare.paces({rung: chosen}, text, device=device)[rung]))
        model, history, row = shakespeare.run(chosen, text, steps, seed=seed, device=device, progress=True)
    except (DataError, ValueError) as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        raise Failure("stopped before its end; nothing is kept of a run") from None
    for found in history.evaluations:
        click.echo(f"step {found['step']:>6.0f}   {found['seconds']:7.1f} s   validation {found['validation']:.3f} nats a character")
    click.echo(f"{row['parameters']:,} parameters, {history.tokens / history.seconds[-1]:,.0f} characters a second"
               + f", {row['compile_seconds']:.0f} s of compiling before" * chosen.compiled)
    click.echo(shakespeare.write(model, text.tokenizer))


@train.command("assistant", epilog="Example: python3 -m course_lib train assistant --weights model.safetensors --lora 8. On two GPUs: "
                                   "torchrun --nproc-per-node 2 -m course_lib train assistant")
@click.option("--data", multiple=True, type=click.Choice(real_chat.CHATS), default=real_chat.CHATS, show_default=True,
              help="Conversations to learn from; may be given several times.")
@click.option("--weights", type=click.Path(dir_okay=False, path_type=Path),
              help="GPT-2's published weights, model.safetensors; default: a small model from a random start.")
@click.option("--steps", type=click.IntRange(min=1), help="Updates.  [default: "
              + ", ".join(f"{steps} {way}" for way, steps in real_assistant.STEPS.items()) + "]")
@click.option("--lora", type=click.IntRange(min=1), metavar="RANK", help="Learn an adapter of this rank beside the weights.")
@click.option("--device", help="cuda, mps or cpu; default: the best one present.")
@click.option("--precision", type=click.Choice(list(PRECISIONS)), default="float32", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for tokenizer, checkpoint and model.")
def train_assistant(data: tuple[str, ...], weights: Path | None, steps: int | None, lora: int | None, device: str | None,
                    precision: str, seed: int, out: Path | None) -> None:
    """Learn to answer from real conversations. Stopped and started again, it goes on from the last checkpoint.

    Prints nats per token of held-out responses, and three answers. A small model from a random start learns how answers sound, not
    what is true.
    """
    out = out or real_assistant.folder()
    try:
        before, history = real_assistant.run(out, data=data, weights=weights, steps=steps, lora=lora, device=device,
                                             precision=precision, seed=seed)
    except (DataError, ValueError, FileNotFoundError) as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        raise Failure(f"stopped; the same command goes on from the last checkpoint in {out}") from None
    if before is None:                                                                  # another process prints
        return
    click.echo(f"before              held-out responses {before:.3f} nats a token")
    for row in history.evaluations:
        click.echo(f"step {row['step']:>6.0f}   {row['seconds']:6.0f} s   {row['nats']:.3f}")
    model, tokenizer, _ = real_assistant.load(out)
    for asked, said in real_assistant.samples(model, tokenizer, data):
        click.echo(f"\n> {asked}\n{said.text}" + " …" * (not said.stopped))
    click.echo(f"\nmodel in {out}")


@train.command("preferences", epilog="Example: python3 -m course_lib train preferences --data hh-rlhf --from out/train/assistant")
@click.option("--data", type=click.Choice(real_chat.COMPARISONS), default=real_chat.COMPARISONS[0], show_default=True)
@click.option("--from", "tuned", type=click.Path(file_okay=False, path_type=Path),
              help="Folder that `train assistant` left.  [default: where it does]")
@click.option("--steps", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--beta", type=click.FloatRange(min=0, min_open=True), default=0.1, show_default=True, help="How dear it is to move away.")
@click.option("--device", help="cuda, mps or cpu; default: the best one present.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the new model.")
def train_preferences(data: str, tuned: Path | None, steps: int, beta: float, device: str | None, seed: int, out: Path | None) -> None:
    """Learn from real comparisons by DPO, and print how often its implicit reward finds the preferred of two responses."""
    tuned, out = tuned or real_assistant.folder(), out or real_assistant.folder("preferences")
    try:
        found = real_assistant.prefer(out, tuned, data=data, steps=steps, beta=beta, device=device, seed=seed)
    except (DataError, ValueError, FileNotFoundError) as error:
        raise Failure(str(error)) from None
    click.echo(f"{found.seen} comparisons learned from; on {found.asked} others the implicit reward finds the preferred response")
    click.echo(f"before   {found.before.value:.3f}, level by definition: the model is its own reference")
    click.echo(f"after    {found.after.value:.3f}, 95 % interval {found.after.low:.3f} … {found.after.high:.3f}\nmodel in {out}")

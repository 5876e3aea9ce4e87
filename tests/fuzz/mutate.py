"""The mutation fuzzer, on the parser and on the whole engine; what it holds of them stands in tests/fuzz/mutants.py.

    python -m tests.fuzz.mutate --seconds 60                    both targets, side by side
    nice python -m tests.fuzz.mutate --seconds 3600 --keep      an hour; what it found goes on next time
    python -m tests.fuzz.mutate --target engine --replay FILE   one input again; of a tape, its moves are printed

It starts from tests/fuzz/seeds and the torture messages. Atheris guides it by the code that an input reaches; where it
has no wheel, a loop of our own goes by what comes out. `--seed` makes a run the same again, as far as it gets in its
time. An input that breaks an invariant is written to .cache/fuzz; once mended it becomes a seed (a tape as `--replay`
prints it, named NAME.moves) beside its own regression test.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUT = Path(".cache/fuzz")
SHARES = {"parser": 1 / 3, "engine": 2 / 3}
"""Of the seconds, when both run."""
MESSAGE_MAX = 64 * 1024
HANG_S = 60
MEMORY_MAX_MB = 1500
BROKEN = 77
"""What libFuzzer exits with."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of one target."""

    target: str
    executions: int
    corpus: int
    memory_mb: int
    broken: Path | None
    output: str

    def __str__(self) -> str:
        line = f"{self.target}: {self.executions} executions, corpus {self.corpus}, peak memory {self.memory_mb} MB"
        if self.broken is None:
            return line
        return f"{line}\nbroken; replay: python -m tests.fuzz.mutate --target {self.target} --replay {self.broken}"


def run(targets: dict[str, float], seed: int, seeds: Path | None = None, keep: bool = False) -> list[Figures]:
    """Fuzz each target for its seconds, in processes of their own at the same time."""
    OUT.mkdir(parents=True, exist_ok=True)
    children = {}
    for target, seconds in targets.items():
        command = [sys.executable, "-m", "tests.fuzz.mutate", "--child", "--target", target]
        command += ["--seconds", str(seconds), "--seed", str(seed)]
        command += ["--seeds", str(seeds)] if seeds else []
        command += ["--keep"] if keep else []
        log = (OUT / f"{target}.log").open("w+")
        children[target] = log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    found = []
    for target, (log, child) in children.items():
        code = child.wait()
        with log:
            log.seek(0)
            found.append(figures_of(target, code, log.read()))
    return found


def figures_of(target: str, code: int, output: str) -> Figures:
    stats = re.findall(r"^#(\d+)\s.* corp: (\d+)", output, re.MULTILINE)
    memory = re.findall(r"^peak memory (\d+)|rss: (\d+)Mb", output, re.MULTILINE)
    written = re.search(r"Test unit written to (\S+)", output)
    broken = Path(written[1]) if written else OUT / f"{target}.log" if code else None
    executions, corpus = map(int, stats[-1]) if stats else (0, 0)
    peak = max((int(one or another) for one, another in memory), default=0)
    return Figures(target, executions, corpus, peak, broken, output)


# One target, in this process ------------------------------------------------------------------------------------------


def child(target: str, seconds: float, seed: int, seeds: Path | None, keep: bool) -> int:
    guided = importlib.util.find_spec("atheris") is not None
    atheris: Any = importlib.import_module("atheris") if guided else None
    if guided:
        with atheris.instrument_imports(include=["proxy.sip", "proxy.engine"]):
            mutants: Any = importlib.import_module("tests.fuzz.mutants")
    else:
        print("atheris is not installed (it has no wheel here): fuzzing by what comes out, without coverage")
        mutants = importlib.import_module("tests.fuzz.mutants")
    first = mutants.seeds(target, seeds) if seeds else mutants.seeds(target)
    if not guided:
        return unguided(mutants, target, seconds, seed, first)
    with tempfile.TemporaryDirectory() as fresh:
        corpus = OUT / f"corpus-{target}" if keep else Path(fresh)
        corpus.mkdir(exist_ok=True)
        for number, data in enumerate(first):
            (corpus / f"seed-{number:03}").write_bytes(data)

        def mutate(data: bytes, size: int, number: int) -> bytes:
            rng = random.Random(number)
            if rng.random() < 0.25:
                return bytes(atheris.Mutate(data, size))
            return bytes(mutants.mutated(target, rng, bytes(data), rng.choice(first))[:size])

        flags = [
            f"-max_total_time={max(1, round(seconds))}",
            f"-seed={seed}",
            f"-max_len={MESSAGE_MAX if target == 'parser' else mutants.TAPE_MAX}",
            f"-artifact_prefix={OUT}/{target}-",
            f"-timeout={HANG_S}",
            f"-rss_limit_mb={MEMORY_MAX_MB}",
        ]
        atheris.Setup([sys.argv[0], *flags, str(corpus)], mutants.TARGETS[target], custom_mutator=mutate)
        atheris.Fuzz()
    return 0


def unguided(mutants: Any, target: str, seconds: float, seed: int, first: list[bytes]) -> int:
    """Without atheris: what came out and had not been seen before keeps a mutant."""
    rng = random.Random(seed)
    corpus, seen = list(first), set[object]()
    ends, count = time.monotonic() + seconds, 0
    data = b""
    try:
        for data in first:
            seen |= mutants.TARGETS[target](data)
        while time.monotonic() < ends:
            count += 1
            data = mutants.mutated(target, rng, mutants.pick(rng, corpus), rng.choice(first))
            saw = mutants.TARGETS[target](data)
            if not saw <= seen:
                seen |= saw
                corpus.append(data)
    except Exception:
        traceback.print_exc()
        path = OUT / f"{target}-crash"
        path.write_bytes(data)
        print(f"Test unit written to {path}")
        return BROKEN
    finally:
        print(f"#{count} DONE corp: {len(corpus)}")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}")
    return 0


def replay(target: str, path: Path) -> None:
    """One input again, outside any fuzzer; raises as it did."""
    mutants = importlib.import_module("tests.fuzz.mutants")
    data = mutants.read_tape(path.read_text()) if path.suffix == ".moves" else path.read_bytes()
    if target == "engine":
        print(mutants.write_tape(data), end="")
    mutants.TARGETS[target](data)
    print("nothing is broken")


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutation fuzzing of the parser and of the whole engine.")
    parser.add_argument("--target", choices=[*SHARES], help="this one alone")
    parser.add_argument("--seconds", type=float, default=60.0, help="of both targets together, or of the one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=Path, help="a folder with parser/ and engine/ (tests/fuzz/seeds)")
    parser.add_argument(
        "--keep", action="store_true", help="keep the corpus in .cache/fuzz, begin with what is there"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="one input, nothing else")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.replay:
        if not args.target:
            parser.error("--replay needs --target")
        replay(args.target, args.replay)
        return 0
    if args.child:
        return child(args.target, args.seconds, args.seed, args.seeds, args.keep)
    targets = {args.target: args.seconds} if args.target else {k: args.seconds * v for k, v in SHARES.items()}
    found = run(targets, args.seed, args.seeds, args.keep)
    for figures in found:
        print(figures)
        if figures.broken is not None:
            print(figures.output[-4000:])
    return int(any(figures.broken is not None for figures in found))


if __name__ == "__main__":
    sys.exit(main())

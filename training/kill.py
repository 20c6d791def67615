# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Kills every stage at random file operations and starts it again: `python training/kill.py --kills 10`."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from random import Random


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", ACCELERATE_USE_CPU="true")
os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_PROGRESS_BARS="1", OMP_NUM_THREADS="1")


def main() -> int:
    # Forks inherit what is imported here.
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import torch
    import transformers  # noqa: F401

    from tests.kills import harness
    from tests.kills.stages import make_stages

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", nargs="+", help="names of stages; all when not given")
    parser.add_argument("--kills", type=int, default=8, help="kills before an operation, of each stage")
    parser.add_argument("--cuts", type=int, default=4, help="deaths inside a write, of each stage")
    parser.add_argument("--full", type=int, default=3, help="operations that find the disk full, of each stage")
    parser.add_argument("--disks", type=int, default=0, help="small file systems to fill, of each stage; needs root")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of operations")
    parser.add_argument("--output", type=Path, help="JSON file of the counts, written after each stage")
    args = parser.parse_args()
    torch.set_num_threads(1)
    counts: dict[str, Counter[str]] = {}
    command = " ".join(["python", "training/kill.py", *sys.argv[1:]])
    provenance = import_module("dims_hf.reports.provenance")  # its room exports a function of that name
    commit = provenance.git_commit()
    provenance.git_commit = lambda: commit  # all runs name the same, should the checkout move on meanwhile
    record = {"command": command, "git_commit": commit, "hardware": provenance.hardware(), "stages": {}}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch, "work")
        for stage in make_stages(Path(scratch)):
            if args.stages and stage.name not in args.stages:
                continue
            harness.measure(stage, work)
            rng = Random(f"{args.seed} {stage.name}")
            trials = [harness.start_two(stage, work)]
            for kind, number in (("kill", args.kills), ("cut", args.cuts), ("full", args.full)):
                trials += (harness.disturb(stage, work, harness.draw_plan(stage, rng, kind)) for _ in range(number))
            trials += (harness.fill_disk(stage, work, rng.uniform(0.05, 0.95)) for _ in range(args.disks))
            counts[stage.name] = Counter(f"{trial.plan.kind}: {trial.outcome}" for trial in trials)
            print(f"{stage.name} ({stage.num_operations} operations): {dict(counts[stage.name])}", flush=True)
            for trial in trials:
                if trial.is_defect:
                    print(f"  {trial.plan}: {trial.outcome}: {trial.text}", flush=True)
            record["stages"][stage.name] = {"operations": stage.num_operations, **counts[stage.name]}
            if args.output:
                args.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{time.monotonic() - begin:.0f} s")
    return int(any(name.split(": ")[1] not in ("equal", "not disturbed") for each in counts.values() for name in each))


if __name__ == "__main__":
    sys.exit(main())

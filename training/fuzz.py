# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Damaged inputs of every kind, as many as wanted: `python training/fuzz.py --cases 500 --output counts.json`."""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1")
os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_PROGRESS_BARS="1")


def main() -> int:
    from tests.fuzz.campaign import AREAS, run_campaign, table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--areas", nargs="+", choices=AREAS, default=list(AREAS), help="kinds of input")
    parser.add_argument("--cases", type=int, default=300, help="damaged inputs of each kind")
    parser.add_argument("--first", type=int, default=10_000, help="first seed; the test suite has those from 0 on")
    parser.add_argument("--output", type=Path, help="JSON file of the counts")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seeds = range(args.first, args.first + args.cases)
        counts = run_campaign(args.areas, seeds, Path(folder), lambda text: print(text, flush=True))
    print(table(counts))
    print(f"{time.monotonic() - start:.0f} s")
    if args.output:
        args.output.write_text(json.dumps(counts, indent=1) + "\n")
    return int(any(kind not in ("survived", "refused") for each in counts.values() for kind in each))


if __name__ == "__main__":
    sys.exit(main())

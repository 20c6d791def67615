# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Make the English-German corpus of the shipped models from folders of parallel text.

`python training/prepare_en_de.py --data data/tatoeba-de-en data/europarl-en-de --output_dir data/en-de`. Each
folder has train.en, train.de, valid.en, …, as `prepare_tatoeba.py` writes them. A build that was interrupted goes on
with the same command.
"""

import json
import logging

from transformers import HfArgumentParser

from dims_hf.data.building import CorpusSettings, build_corpus


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    (settings,) = HfArgumentParser(CorpusSettings, description=__doc__).parse_args_into_dataclasses()
    print(json.dumps(build_corpus(settings), indent=1))

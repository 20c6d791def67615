# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Whole training runs from a recipe: corpus, tokenizer, model, trainer, final model. Scripts and commands call it."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from dims_hf._files import read_json
from dims_hf.data import (
    BLANK_TOKEN,
    add_blank,
    check_same_tokenizer,
    corpus_fingerprint,
    encode_corpus,
    join_tokenizers,
    load_corpus,
    load_sentences,
    save_tokenizer,
    tokenizer_fingerprint,
    train_tokenizer,
)
from dims_hf.data.beam_search import model_fingerprint
from dims_hf.methods.options import check_ranges, is_default, option, unstated
from dims_hf.methods.presets import preset_values
from dims_hf.models import MODELS
from dims_hf.models.capabilities import (
    has_pretrained_encoder,
    is_non_autoregressive,
    longest_source,
    predicts_length,
)
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.recipes.parsing import parse_recipe
from dims_hf.recipes.run_settings import (
    RUN_SETTINGS,
    TRAINING_SUMMARY as TRAINING_SUMMARY,
    Fingerprints,
    folder_fingerprint,
    has_work,
    holding_run,
    is_finished,
    read_run_settings,
    save_run_settings,
)
from dims_hf.reports import provenance, public
from dims_hf.reports.files import write_text
from dims_hf.trainers.config import DiMSConfig, NATTrainingArguments
from dims_hf.trainers.dims_trainer import DiMSTrainer, check_teacher, load_teacher
from dims_hf.trainers.nat_trainer import NATTrainer
from dims_hf.trainers.warm_start import (
    ENCODER_FIELDS,
    load_encoder_tokenizer,
    start_from_autoregressive,
    warm_start_encoder,
)
from dims_hf.translation.loading import load_checkpoint, load_config, load_tokenizer, resolve_model


if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import TrainingArguments

    from dims_hf.trainers.token_budget_trainer import TokenBudgetTrainer

logger = logging.getLogger(__name__)

# Fields of configurations that recipes set by names of their own, or from the tokenizer.
_SET_BY_RECIPES = frozenset(
    ("vocab_size", "d_model", "dropout", "max_position_embeddings", "upsample_ratio", "blank_token_id",
     "pretrained_encoder",
     *(f"{side}_{size}" for side in ("encoder", "decoder") for size in ("layers", "attention_heads", "ffn_dim")),
     *(f"{name}_token_id" for name in ("bos", "pad", "eos", "unk", "mask")))
)  # fmt: skip

# Fields in which a model may differ from the one it starts from: they shape no weight and no prediction.
_MAY_DIFFER = frozenset(
    ("dropout", "attention_dropout", "activation_dropout", "length_loss_weight", "masks_alone", "use_cache")
)

# Settings that a reader of a model card wants to see, in this order.
_CARD_SETTINGS = (
    "method",
    "teacher_iterations",
    "ema_decay",
    "hidden_weight",
    "temperature",
    "length_weight",
    "label_smoothing",
    "mask_policy",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "max_tokens_per_batch",
    "gradient_accumulation_steps",
    "max_grad_norm",
    "bf16",
    "fp16",
    "seed",
)


@dataclass
class CorpusArguments:
    """Where the sentence pairs come from."""

    data: str = field(metadata={"help": "`phrasebook`, a folder of text files, JSONL, or a Hub dataset id."})
    source_lang: str = field(metadata={"help": "Source language: file suffix or key of the translation feature."})
    target_lang: str = field(metadata={"help": "Target language."})
    data_config: str | None = field(default=None, metadata={"help": "Configuration of a Hub dataset."})
    max_train_examples: int | None = option(None, ge=1, help="Use the first so many training pairs.")
    monolingual: str | None = field(
        default=None,
        metadata={"help": "Text file of source sentences to train on instead of the pairs (unsupervised: true)."},
    )
    max_valid_examples: int | None = option(None, ge=1, help="Use the first so many validation pairs.")
    max_references: int | None = option(
        None,
        ge=1,
        help="Join training pairs of one source, with so many targets at most (method: multi_reference, ctc_ngrams, "
        "minimum_risk).",
    )
    drop_bad_rows: bool = field(default=False, metadata={"help": "Drop (and count) pairs with an empty side."})
    drop_too_long: bool = field(default=True, metadata={"help": "Drop (and count) pairs too long for the model."})

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass
class ModelArguments:
    """Architecture of a model trained from scratch, and its tokenizer."""

    model_type: str = field(default="cmlm", metadata={"help": f"One of {', '.join(MODELS)}."})
    init: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of a model to start from, with its tokenizer: of this family and size, or an "
            "autoregressive one of this size, whose embeddings and layers are taken."
        },
    )
    encoder_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Pre-trained encoder to start from, with its tokenizer for sources: folder or Hub id of a BERT, "
            "RoBERTa, XLM-R or ModernBERT. `encoder_layers` keeps the first so many; sizes are its own."
        },
    )
    tokenizer: str | None = field(
        default=None,
        metadata={"help": "Tokenizer folder (with encoder_name_or_path: of targets); default: train one here."},
    )
    tokenizer_kind: str = option(unstated("bpe"), help="`bpe` or `unigram`, of a newly trained tokenizer.")
    vocab_size: int = option(unstated(8000), ge=1, le=2**24, help="Tokens of a newly trained tokenizer.")
    d_model: int = option(512, ge=1, le=2**16, help="Width.", advice="The papers use 512.")
    encoder_layers: int = option(6, ge=1, le=1000, help="Encoder layers.", advice="The papers use 6.")
    decoder_layers: int = option(6, ge=1, le=1000, help="Decoder layers.", advice="The papers use 6.")
    attention_heads: int = option(8, ge=1, le=2**16, help="Heads of every attention.", advice="The papers use 8.")
    ffn_dim: int = option(
        2048, ge=1, le=2**20, help="Width of the feed-forward sublayers.", advice="The papers use 2048."
    )
    dropout: float = option(0.1, ge=0, le=1, help="Dropout of teacher training.")
    max_position_embeddings: int = option(
        256, ge=4, le=2**20, help="Longest sentence in tokens; of an Imputer, longest alignment."
    )
    upsample_ratio: int | None = option(
        None,
        ge=1,
        le=1000,
        help="Positions of an alignment (imputer; default 2), or vertices of a graph (dat; 8), per source token.",
    )
    family_settings: dict[str, Any] | None = field(
        default=None, metadata={"help": "More fields of the family's configuration, such as {link_heads: 4}."}
    )

    def __post_init__(self) -> None:
        known = self.model_types()
        if self.model_type not in known:
            raise ValueError(f"model_type must be one of {', '.join(known)}, got {self.model_type!r}.")
        check_ranges(self)
        if self.d_model % self.attention_heads:
            raise ValueError(
                f"d_model={self.d_model} is not divisible by attention_heads={self.attention_heads}. Choose a number "
                "of heads that divides d_model."
            )
        if self.upsample_ratio is not None and "upsample_ratio" not in self.config_fields:
            owners = [name for name, (config, *_) in MODELS.items() if "upsample_ratio" in config.__dataclass_fields__]
            raise ValueError(
                f"upsample_ratio={self.upsample_ratio} has no effect with model_type={self.model_type}: it belongs to "
                f"{' and '.join(owners)}. Leave it out."
            )
        self._check_family_settings()
        if self.init is not None and self.tokenizer is not None:
            raise ValueError(f"init={self.init} brings its tokenizer along. Leave out tokenizer.")
        for name in ("init", "tokenizer"):
            if getattr(self, name) is not None and not is_default(self.tokenizer_kind):
                raise ValueError(
                    f"tokenizer_kind={self.tokenizer_kind} has no effect beside {name}={getattr(self, name)}, whose "
                    "tokenizer is there already. Leave it out."
                )
        if self.encoder_name_or_path is not None:
            self._check_pretrained_encoder()

    def _check_pretrained_encoder(self) -> None:
        if self.init is not None:
            raise ValueError(f"init={self.init} brings its encoder along. Leave out encoder_name_or_path.")
        if self.model_type not in MODELS:
            raise ValueError(
                f"encoder_name_or_path={self.encoder_name_or_path} has no effect with model_type={self.model_type}, "
                "which has an encoder of its own. Leave it out."
            )

    def _check_family_settings(self) -> None:
        for name in self.family_settings or {}:
            if name not in self.config_fields - _SET_BY_RECIPES:
                known = ", ".join(sorted(self.config_fields - _SET_BY_RECIPES))
                raise ValueError(f"family_settings has {name!r}. Models of type {self.model_type} take {known}.")
        if not self.family_settings:
            return
        try:
            # before the tokenizer is trained; ids are known once it is
            settings = {name: value for name, value in self.family_settings.items() if not name.endswith("_token_id")}
            MODELS[self.model_type][0](**self.sizes, **settings)
        except (ValueError, TypeError, StrictDataclassError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"family_settings of {self.model_type} will not do: {reason}") from None

    @classmethod
    def model_types(cls) -> tuple[str, ...]:
        """Families that can be trained."""
        return tuple(MODELS)

    @property
    def config_fields(self) -> set[str]:
        """Names of the fields of the family's own configuration; none of a model that is not ours."""
        if self.model_type not in MODELS:
            return set()
        return _field_names(MODELS[self.model_type][0])

    @property
    def sizes(self) -> dict[str, Any]:
        """Configuration fields that all families have."""
        return {
            "d_model": self.d_model,
            "encoder_layers": self.encoder_layers,
            "decoder_layers": self.decoder_layers,
            "encoder_attention_heads": self.attention_heads,
            "decoder_attention_heads": self.attention_heads,
            "encoder_ffn_dim": self.ffn_dim,
            "decoder_ffn_dim": self.ffn_dim,
            "dropout": self.dropout,
            "max_position_embeddings": self.max_position_embeddings,
        }

    @property
    def writes_alignments(self) -> bool:
        """Whether the model needs a blank, and room for alignments instead of a length predictor."""
        return self.model_type in MODELS and MODELS[self.model_type][0].writes_alignments


@dataclass
class DistillationArguments:
    """The models of a distillation."""

    teacher: str = field(metadata={"help": "Folder or Hub id of the teacher; its tokenizer is used."})
    student: str | None = field(default=None, metadata={"help": "Start of the student; default: the teacher."})

    def __post_init__(self) -> None:
        # No shell expands a recipe's `~`; `./` must stay, it tells a folder from a Hub id.
        self.teacher = os.path.expanduser(self.teacher)
        self.student = None if self.student is None else os.path.expanduser(self.student)


def train_teacher(argv: Sequence[str] | None = None) -> Path:
    """
    Trains a teacher as a recipe says: tokenizer, model, training (resumed if the output folder has a checkpoint),
    average of the best checkpoints.

    Args:
        argv (`Sequence[str]`, *optional*): `RECIPE.yaml` and overrides; default: the process's arguments.

    Returns:
        `Path`: folder of the final model.

    Raises:
        ValueError: for a bad recipe or corpus, or an output folder with another run in it, before any training.
    """
    corpus_args, model_args, args = parse_recipe(
        (CorpusArguments, ModelArguments, NATTrainingArguments), argv, preset_values=preset_values
    )
    start_logging(args.should_log)
    if corpus_args.monolingual is not None:
        raise ValueError("A teacher needs translations. Leave out monolingual; it is for train_dims.py.")
    choice = args.choose(model_args.model_type)
    if not choice.method.uses_references:
        refuse_references(corpus_args, f"method={choice.name}")
    settled, with_empty = args.settled(choice), choice.method.empty_token
    with holding_run(settled, [corpus_args, model_args]) as parts:
        corpus = read_corpus(corpus_args)
        # before the check below, which compares its fingerprint
        tokenizer = shared_tokenizer(model_args, corpus, args, with_empty=with_empty)
        prints = Fingerprints(
            corpus_fingerprint(corpus),
            tokenizer_fingerprint(tokenizer),
            init_fingerprint=folder_fingerprint(model_args.init),
            encoder_fingerprint=folder_fingerprint(model_args.encoder_name_or_path),
            autoregressive_teacher_fingerprint=folder_fingerprint(getattr(settled, "autoregressive_teacher", None)),
        )
        if is_finished(settled, parts, prints):
            return Path(args.output_dir)
        # here and not before: making a tokenizer must not change the weights that a seed gives
        set_seed(args.seed)
        model = make_model(model_args, tokenizer, with_empty=with_empty)
        trainer = NATTrainer(model, args, **encode_splits(corpus, corpus_args, model, tokenizer))
        return run_training(trainer, parts)


def refuse_references(args: CorpusArguments, reader: str) -> None:
    """
    Refuses to join pairs whose further targets nobody would look at.

    Raises:
        ValueError: naming who reads one target of each source.
    """
    if args.max_references is not None:
        raise ValueError(
            f"max_references={args.max_references} joins the pairs of a source, and {reader} looks at one target. "
            "Leave it out, or use method: multi_reference, ctc_ngrams or minimum_risk."
        )


def distill(argv: Sequence[str] | None = None) -> Path:
    """
    Distils a teacher into a single-step student as a recipe says; resumes if the output folder has a checkpoint.

    Args:
        argv (`Sequence[str]`, *optional*): `RECIPE.yaml` and overrides; default: the process's arguments.

    Returns:
        `Path`: folder of the student.

    Raises:
        ValueError: for a bad recipe, corpus or teacher, or an output folder with another run in it, before any
            training.
    """
    corpus_args, model_args, args = parse_recipe(
        (CorpusArguments, DistillationArguments, DiMSConfig), argv, preset_values=preset_values
    )
    start_logging(args.should_log)
    if corpus_args.monolingual is not None and not args.unsupervised:
        raise ValueError("monolingual sentences have no translations to learn from. Set unsupervised: true.")
    refuse_references(corpus_args, "distillation")
    teacher = load_teacher(model_args.teacher)
    check_teacher(teacher)
    settled = args.settled(args.choose(teacher.config.model_type))
    with holding_run(settled, [corpus_args, model_args]) as parts:
        tokenizer = load_tokenizer(model_args.teacher)
        student_path = model_args.student or model_args.teacher
        # the same folder has the same tokenizer
        if student_path != model_args.teacher:
            check_same_tokenizer(tokenizer, load_tokenizer(student_path))
        student = load_checkpoint(student_path)
        corpus = read_corpus(corpus_args)
        if args.unsupervised and corpus_args.monolingual is None:
            # U-DiMS must not see the references, nor can it by mistake
            corpus["train"] = corpus["train"].remove_columns("target")
        prints = Fingerprints(
            corpus_fingerprint(corpus),
            tokenizer_fingerprint(tokenizer),
            teacher_fingerprint=model_fingerprint(teacher),
            student_fingerprint=model_fingerprint(student),
        )
        if is_finished(settled, parts, prints):
            return Path(args.output_dir)
        trainer = DiMSTrainer(student, teacher, args, **encode_splits(corpus, corpus_args, student, tokenizer))
        return run_training(trainer, parts)


def start_logging(is_main_process: bool) -> None:
    """Shows what runs do, on the main process."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("dims_hf").setLevel(logging.INFO if is_main_process else logging.WARNING)


def read_corpus(args: CorpusArguments, splits: Sequence[str] = ("train", "valid")) -> DatasetDict:
    """The splits of a corpus, checked; with `monolingual`, sources alone to train on in place of its pairs."""
    limits = {"train": args.max_train_examples, "valid": args.max_valid_examples}
    if args.monolingual is not None:
        sentences = load_sentences(args.monolingual, args.source_lang, max_examples=limits.pop("train"))
    corpus = load_corpus(
        args.data,
        args.source_lang,
        args.target_lang,
        splits=[split for split in splits if split != "train" or args.monolingual is None],
        max_examples={split: limit for split, limit in limits.items() if limit is not None} or None,
        data_config=args.data_config,
        drop_bad_rows=args.drop_bad_rows,
        max_references=args.max_references,
    )
    if args.monolingual is not None:
        corpus["train"] = sentences
    return corpus


def shared_tokenizer(
    args: ModelArguments, corpus: DatasetDict, training: TrainingArguments, *, with_empty: bool = False
) -> PreTrainedTokenizerBase:
    """[`make_tokenizer`] in the output folder, by the main process, for all of them."""
    is_first = training.process_index == 0
    with training.main_process_first(local=False, desc="tokenizer"):
        return make_tokenizer(args, corpus, Path(training.output_dir), is_first=is_first, with_empty=with_empty)


def make_tokenizer(
    args: ModelArguments, corpus: DatasetDict, output_dir: Path, *, is_first: bool = True, with_empty: bool = False
) -> PreTrainedTokenizerBase:
    """
    Loads the tokenizer asked for, or that of the run in the output folder; else trains one and saves it there.

    Args:
        args ([`ModelArguments`]): names it, or says how to train it.
        corpus (`DatasetDict`): its training pairs are what a new one is trained on.
        output_dir (`Path`): folder of the run.
        is_first (`bool`): whether this process would train one; the others load what it has saved by then. Without a
            checkpoint the run starts anew, and so does its tokenizer.
        with_empty (`bool`): whether it needs a token that stands for nothing, as that of alignments always does.
    """
    with_blank = args.writes_alignments or with_empty
    is_there = (output_dir / "tokenizer.json").is_file()
    is_joined = args.encoder_name_or_path is not None
    given = args.init if is_joined else args.tokenizer or args.init
    if given or (is_there and (not is_first or has_work(output_dir))):
        tokenizer = _load_tokenizer(given or output_dir, with_blank=with_blank)
        _check_vocab_size(args, "tokenizer" if args.init is None else "init", tokenizer, with_blank=with_blank)
        return tokenizer
    sources, targets = list(corpus["train"]["source"]), list(corpus["train"]["target"])
    if args.tokenizer is not None:
        tokenizer = _load_tokenizer(args.tokenizer, with_blank=with_blank)
    else:
        tokenizer = train_tokenizer(
            targets if is_joined else sources + targets,
            args.vocab_size,
            kind=args.tokenizer_kind,
            max_length=args.max_position_embeddings,
            with_blank=with_blank,
        )
        logger.info("Trained a tokenizer of %d tokens.", len(tokenizer))
    if args.encoder_name_or_path is not None:
        tokenizer = join_tokenizers(load_encoder_tokenizer(args.encoder_name_or_path), tokenizer, sources)
        logger.info("Kept %d tokens of the encoder's tokenizer.", len(tokenizer.source_tokenizer))
    save_tokenizer(tokenizer, output_dir)
    return tokenizer


def _load_tokenizer(place: str | Path, *, with_blank: bool) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(place)
    if with_blank:
        add_blank(tokenizer)
    return tokenizer


def _check_vocab_size(
    args: ModelArguments, name: str, tokenizer: PreTrainedTokenizerBase, *, with_blank: bool
) -> None:
    """Refuses a size that the tokenizer given as `init` or `tokenizer`, the option `name`, does not have."""
    place = getattr(args, name)
    if place is None or is_default(args.vocab_size):
        return
    # with the blank that was added, or as it was trained
    sizes = [len(tokenizer), len(tokenizer) - with_blank]
    folder = Path(str(place))
    if (folder / RUN_SETTINGS).is_file():
        # or as it was asked for, by the same recipe: few texts do not fill a vocabulary
        sizes.append(read_run_settings(folder).get("vocab_size"))
    if args.vocab_size not in sizes:
        raise ValueError(
            f"vocab_size={args.vocab_size} has no effect beside {name}={place}, whose tokenizer has "
            f"{len(tokenizer)} tokens. Leave it out."
        )


def make_model(
    args: ModelArguments, tokenizer: PreTrainedTokenizerBase, *, with_empty: bool = False
) -> PreTrainedModel:
    """
    A model with the tokenizer's vocabulary, and fresh weights or those that training starts from; `with_empty`, the
    blank is its empty token.
    """
    config_class, _, model_class = MODELS[args.model_type]
    config = config_class(
        vocab_size=len(tokenizer),
        **args.sizes,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        unk_token_id=tokenizer.unk_token_id,
        mask_token_id=tokenizer.mask_token_id,
        **family_fields(args, tokenizer),
        **({"empty_token_id": tokenizer.convert_tokens_to_ids(BLANK_TOKEN)} if with_empty else {}),
    )
    if args.init is not None:
        take_pretrained_encoder(config, args.init)
    model = model_class(config)
    if args.init is not None:
        start_from(model, args.init)
    if args.encoder_name_or_path is not None:
        model = warm_start_encoder(model, args.encoder_name_or_path, tokenizer, num_layers=args.encoder_layers)
    return model


def take_pretrained_encoder(config: PreTrainedConfig, place: str) -> None:
    """Gives a configuration the pre-trained encoder of the model that training starts from, where that has one."""
    given = load_config(place)
    if has_pretrained_encoder(given):
        for name in ENCODER_FIELDS:
            setattr(config, name, getattr(given, name))


def start_from(model: PreTrainedModel, place: str) -> None:
    """
    Gives a model the weights of a trained one: of its own family, or of one that lacks some heads beside the encoder
    and the decoder, which stay fresh then (a CMLM's, for a CMLM with a field; see [`start_from_autoregressive`] for an
    autoregressive one).

    Raises:
        ValueError: for a model of another family or size, naming what differs.
    """
    given = load_checkpoint(resolve_model(place), dtype=torch.float32)
    if is_non_autoregressive(model.config) and not is_non_autoregressive(given.config):
        start_from_autoregressive(cast(NATForConditionalGeneration, model), given, place)
        return
    names = _field_names(type(given.config)) & _field_names(type(model.config))
    for name in sorted(names - _MAY_DIFFER):
        ours, theirs = getattr(model.config, name), getattr(given.config, name)
        if ours != theirs:
            raise ValueError(
                f"init={place} has {name}={theirs}, this recipe says {ours}. Give the recipe the sizes of the model "
                "it starts from."
            )
    # not strict: heads that the family adds stay as they were made
    missing, unknown = model.load_state_dict(given.state_dict(), strict=False)
    # encoder and decoder must come from the checkpoint, whole
    unfit = [*unknown, *(name for name in missing if name.startswith("model."))]
    if unfit:
        raise ValueError(
            f"init={place} is a {given.config.model_type} model, whose weights do not fit a {model.config.model_type} "
            f"model, such as {unfit[0]}. Start from a model of the same family."
        )


def _field_names(config_class: type) -> set[str]:
    """Fields of a family's configuration beside those of every configuration of transformers."""
    ours, theirs = ({each.name for each in fields(kind)} for kind in (config_class, PreTrainedConfig))
    return ours - theirs


def family_fields(args: ModelArguments, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Configuration fields that not all families have."""
    values: dict[str, Any] = dict(args.family_settings or {})
    if args.upsample_ratio is not None:
        values["upsample_ratio"] = args.upsample_ratio
    if "max_target_length" in args.config_fields:
        # class c is c tokens: one class more than positions
        values.setdefault("max_target_length", min(256, args.max_position_embeddings + 1))
    if args.writes_alignments:
        values["blank_token_id"] = tokenizer.convert_tokens_to_ids(BLANK_TOKEN)
    return values


def encode_splits(
    corpus: DatasetDict, args: CorpusArguments, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """The trainer's data arguments."""
    config, longest = model.config, model.config.max_position_embeddings
    # Only some families have length classes, and only alignments may be longer than their sources.
    num_length_classes = config.max_target_length if predicts_length(config) else longest + 1
    encoded = {
        split: encode_corpus(
            corpus[split],
            tokenizer,
            max_source_length=longest_source(config) or longest,
            max_target_length=min(longest, num_length_classes - 1),
            vocab_size=config.vocab_size,
            source_vocab_size=getattr(config, "source_vocab_size", None),
            drop_too_long=args.drop_too_long,
        )
        for split in ("train", "valid")
    }
    return {
        "train_dataset": encoded["train"],
        "eval_dataset": encoded["valid"],
        # Pairs that were too long for the model cannot be translated either.
        "eval_corpus": corpus["valid"].select(encoded["valid"]["index"]),
        "target_lang": args.target_lang,
        "processing_class": tokenizer,
    }


def run_training(trainer: TokenBudgetTrainer, arguments: list) -> Path:
    """
    Trains (or resumes), averages the best checkpoints, evaluates, saves the final model and a summary.

    Args:
        trainer ([`TokenBudgetTrainer`]): with its data.
        arguments (`list`): dataclasses of the corpus and the models, and [`Fingerprints`].
    """
    args, output_dir = trainer.args, Path(trainer.args.output_dir)
    origin = provenance(seed=args.seed)  # now: the checkout may have moved on when the run ends
    # found without being asked: a killed run goes on with the same command
    checkpoint = args.resume_from_checkpoint or trainer.find_checkpoint()
    if checkpoint:
        logger.info("Resuming from %s.", output_dir if checkpoint is True else checkpoint)
    if args.should_save:
        save_run_settings(args, arguments)
    output = trainer.train(resume_from_checkpoint=checkpoint)
    averaged = trainer.average_best_checkpoints()
    metrics = trainer.evaluate(metric_key_prefix="final")
    check_loss(trainer, metrics)
    if args.should_log:
        warn_of_worse_average(trainer, averaged, metrics)
    trainer.save_model()
    if args.should_save:
        save_tokenizer(trainer.processing_class, output_dir)
        prints = [part for part in arguments if isinstance(part, Fingerprints)]
        # written last of all, so that a folder with a summary holds a finished run
        summary = {
            "steps": trainer.state.global_step,
            "epochs": trainer.state.epoch,
            "train_runtime": trainer.run_record.seconds,
            "padding_share": trainer.train_batch_sampler.padding_share,
            "averaged_checkpoints": [{key: record[key] for key in ("step", "metric")} for record in averaged],
            "metrics": metrics,
            "training_loss": output.training_loss,
            **{name: value for part in prints for name, value in asdict(part).items() if value is not None},
            "arguments": {type(part).__name__: asdict(part) for part in arguments if part not in prints},
            "training_arguments": args.to_sanitized_dict(),
            "log": trainer.state.log_history,
            "provenance": origin,
        }
        write_text(json.dumps(public(summary), indent=1, default=str), output_dir / TRAINING_SUMMARY)
        logger.info("Saved the model in %s: %s", output_dir, metrics)
    return output_dir


def check_loss(trainer: TokenBudgetTrainer, metrics: dict[str, float]) -> None:
    """
    Refuses a final model whose loss is no number, as after updates that were far too large.

    Raises:
        FloatingPointError: saying what to change.
    """
    loss = metrics.get("final_loss", 0.0)
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"The validation loss is {loss} after update {trainer.state.global_step}, so no model is saved. Lower "
            f"learning_rate ({trainer.args.learning_rate:g}) or set max_grad_norm (e.g. 1.0), and start in a new "
            "output_dir."
        )


def warn_of_worse_average(trainer: TokenBudgetTrainer, averaged: list[dict], metrics: dict[str, float]) -> None:
    """
    Says when the final model is worse on the validation set than one checkpoint of its average, as in short runs.

    Args:
        trainer ([`NATTrainer`]): whose model is the average.
        averaged (`list[dict]`): records of [`BestCheckpoints`], best first.
        metrics (`dict[str, float]`): of the final model, their names beginning with `final_`.
    """
    name = trainer.args.metric_for_best_model.removeprefix("eval_")
    value = metrics.get(f"final_{name}")
    if len(averaged) > 1 and value is not None and trainer.best_checkpoints.beats(averaged[0]["metric"], value):
        logger.warning(
            "The average of %d checkpoints has %s %.2f on the validation set, that of update %d alone %.2f: the model "
            "was still learning fast. Train for longer, or give the same command with num_best_checkpoints=1, which "
            "makes that checkpoint the final model.",
            len(averaged), name, value, averaged[0]["step"], averaged[0]["metric"],
        )  # fmt: skip


def read_training_summary(folder: str | Path) -> dict[str, object]:
    """
    What a model card says of a training run: its settings, length and stopping point, without paths.

    Args:
        folder (`str` or `Path`): output folder of [`train_teacher`] or [`distill`].

    Raises:
        ValueError: if there is no summary in the folder.
    """
    path = Path(folder) / TRAINING_SUMMARY
    if not path.is_file():
        raise ValueError(f"{folder} has no {TRAINING_SUMMARY}. Pass the output folder of a finished training run.")
    summary = read_json(path, "Train again, or pass the folder of another run.")
    training = summary["training_arguments"]
    shown = {name: training[name] for name in _CARD_SETTINGS if training.get(name) is not None}
    return {
        **shown,
        "updates": summary["steps"],
        "epochs": round(summary["epochs"], 2),
        "averaged checkpoints (updates)": [record["step"] for record in summary["averaged_checkpoints"]],
        "wall time (s)": round(summary["train_runtime"]),
        "corpus fingerprint": summary["corpus_fingerprint"],
        "tokenizer fingerprint": summary["tokenizer_fingerprint"],
    }

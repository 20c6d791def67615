# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a formula may ask of a distribution over the vocabulary, so that it is written once.

A [`Vocabulary`] is a distribution for each of M rows. [`DenseVocabulary`] has them as a tensor,
[`ProjectedVocabulary`] as hidden states and the table that makes logits of them, chunk by chunk: 32,000 logits for
each of 10,000 positions are 1.3 GB in fp32, and no formula needs them all at a time.

Shapes: M rows (leading dimensions, flattened), C rows of a chunk, K ids of a row, D hidden, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dims_hf.models.ragged import in_fp32, working_dtype
from dims_hf.objectives.divergences import find_divergence
from dims_hf.objectives.fusion import fusible
from dims_hf.objectives.projection import (
    PickedLogProbs,
    SumsAndGradient,
    VocabularyProjection,
    chunk_rows,
    prepare_chunks,
    sum_rows,
)
from dims_hf.objectives.reduction import count_correct, select_positions


if TYPE_CHECKING:
    from typing_extensions import Self

    from dims_hf.models.modeling_translation import NATForConditionalGeneration

# Log-probabilities (C, V) of each vocabulary in some rows -> (C, …).
RowFunction = Callable[..., torch.Tensor]
# Rows -> detached logits (C, V).
LogitsReader = Callable[[slice], torch.Tensor]


class RowSums(NamedTuple):
    """Sum of a loss over rows, in how many the label is the likeliest id, and how many have a label."""

    summed: torch.Tensor
    num_correct: torch.Tensor
    num_items: int


class Vocabulary(ABC):
    """
    Distributions over V ids, one for each row of a leading shape, which methods flatten to M.

    Everything is computed in fp32 (fp64 stays). What is returned per row has the leading shape again.

    Args:
        shape (`torch.Size`): leading dimensions, such as (B, T), or (M,) of packed rows.
        vocab_size (`int`): V.
    """

    def __init__(self, shape: torch.Size, vocab_size: int):
        self.shape, self.vocab_size = shape, vocab_size

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the rows are."""

    @abstractmethod
    def select(self, is_selected: torch.Tensor) -> Self:
        """
        The rows where `is_selected` (the leading shape) is True, packed: (M,). Rows that are packed already, and as
        many as selected, pass through.

        Raises:
            ValueError: where packed rows do not number the selected positions.
        """

    @abstractmethod
    def cross_entropy(self, labels: torch.Tensor, *, label_smoothing: float = 0.0) -> RowSums:
        """
        Σ (1 − ε)·(−log p(label)) + ε·mean_v(−log p(v)) over rows whose label (leading shape) is not -100.

        Of equal maxima each counts as correct.
        """

    @abstractmethod
    def kl(
        self,
        teacher: Vocabulary,
        *,
        temperature: float = 1.0,
        student_temperature: float = 1.0,
        labels: torch.Tensor | None = None,
    ) -> RowSums:
        """
        Σ KL(teacher ‖ self) in nats; the teacher gets no gradient. Logits are divided by the temperatures.

        Args:
            teacher ([`Vocabulary`]): of as many rows and ids.
            temperature, student_temperature (`float`): of the teacher's and of these logits.
            labels (`torch.LongTensor` of the leading shape, *optional*): where -100, the row is left out; elsewhere
                they are counted where they are the likeliest id.
        """

    @abstractmethod
    def pick(self, ids: torch.Tensor, *, has_mean: bool = False) -> torch.Tensor:
        """
        Log-probabilities (…, K) of a few ids (…, K) in each row, with a gradient.

        Args:
            ids (`torch.LongTensor` of shape `(…, K)`): in 0 … V − 1.
            has_mean (`bool`): one more column, the mean of all V log-probabilities, for label smoothing.
        """

    @abstractmethod
    def score(
        self, ids: torch.Tensor, suppressed_ids: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Logits (…, K) of a few ids and, given a list of ids that never are, the likeliest id of each row (…): one pass
        over the table, no softmax, no gradient.
        """

    @abstractmethod
    def choose(self, suppressed_ids: Sequence[int] = ()) -> tuple[torch.Tensor, torch.Tensor]:
        """Likeliest id of each row (…) and its log-probability, suppressed ids having probability 0; no gradient."""

    def predict(self, suppressed_ids: Sequence[int] = ()) -> torch.Tensor:
        """Likeliest id of each row (…), suppressed ids left out."""
        return self.choose(suppressed_ids)[0]

    @torch.no_grad()
    def top(
        self, count: int, suppressed_ids: Sequence[int] = (), *, first: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        The `count` likeliest ids of each row (…, count), the likeliest first; no gradient.

        Args:
            count (`int`): at most V.
            suppressed_ids (`Sequence[int]`): ids that come last.
            first (`torch.LongTensor` of the leading shape, *optional*): an id of each row that comes first, likely or
                not.
        """
        read, ids = self.read(), []
        wanted = None if first is None else first.reshape(-1, 1)
        for rows in chunk_rows(self.shape.numel(), self.vocab_size, self.device.type):
            logits = read(rows)
            # `read` hands out copies, which may be overwritten
            logits[:, list(suppressed_ids)] = -torch.inf
            if wanted is not None:
                # after the suppression: a wanted id comes first even where it is suppressed
                logits.scatter_(1, wanted[rows], torch.inf)
            ids.append(logits.topk(count, dim=-1).indices)
        if not ids:
            return torch.zeros(*self.shape, count, dtype=torch.long, device=self.device)
        return torch.cat(ids).view(*self.shape, count)

    @torch.no_grad()
    def sample(self, uniforms: torch.Tensor) -> torch.Tensor:
        """
        Ids (…, K) drawn from each row, by inversion: the first whose cumulative probability exceeds a uniform number.

        Args:
            uniforms (`torch.Tensor` of shape `(…, K)`): in [0, 1), K draws for each row.
        """
        read, ids = self.read(), []
        points = uniforms.reshape(-1, uniforms.shape[-1])
        for rows in chunk_rows(self.shape.numel(), self.vocab_size, self.device.type):
            sums = read(rows).softmax(dim=-1).cumsum(dim=-1)
            # "right": of equal sums the first after them, so that an id of probability 0 is never drawn
            drawn = torch.searchsorted(sums, points[rows].to(sums.dtype) * sums[:, -1:], right=True)
            # rounding may carry a point up to the last sum
            ids.append(drawn.clamp_(max=self.vocab_size - 1))
        return torch.cat(ids).view(uniforms.shape)

    @abstractmethod
    def map_rows(self, function: RowFunction, *others: Vocabulary) -> torch.Tensor:
        """
        `function` of the log-probabilities (C, V) of these rows and those of others, concatenated over all chunks:
        (M, …). The gradient reaches all of them; chunks are computed again in the backward pass.
        """

    @abstractmethod
    def map_neighbors(self, function: RowFunction) -> torch.Tensor:
        """As [`map_rows`] of rows i … i + C, of which `function` makes C results, one per neighbours: (M − 1, …)."""

    @abstractmethod
    def rows(self, rows: slice) -> torch.Tensor:
        """Log-probabilities (C, V) of some rows, with a gradient."""

    @abstractmethod
    def read(self) -> LogitsReader:
        """A function from rows to their logits (C, V), in fp32, without a gradient; its caller may overwrite them."""

    def divergence(
        self,
        teacher: Vocabulary,
        name: str = "kl",
        *,
        temperature: float = 1.0,
        student_temperature: float = 1.0,
        labels: torch.Tensor | None = None,
    ) -> RowSums:
        """
        [`kl`], or the sum of another of `DIVERGENCES`.

        Raises:
            ValueError: for an unknown name.
        """
        function = find_divergence(name)
        if name == "kl":
            temperatures = {"temperature": temperature, "student_temperature": student_temperature}
            return self.kl(teacher, **temperatures, labels=labels)
        student, teacher, labels = self._labelled(teacher, labels)

        def rows_of(student_log_probs: torch.Tensor, teacher_log_probs: torch.Tensor) -> torch.Tensor:
            return function(
                (student_log_probs / student_temperature).log_softmax(dim=-1),
                (teacher_log_probs.detach() / temperature).log_softmax(dim=-1),
            )

        summed = student.map_rows(rows_of, teacher).sum()
        num_correct = summed.new_zeros(()) if labels is None else (student.predict() == labels).sum().to(summed.dtype)
        return RowSums(summed, num_correct, student.shape.numel())

    def _labelled(
        self, teacher: Vocabulary, labels: torch.Tensor | None
    ) -> tuple[Self, Vocabulary, torch.Tensor | None]:
        """Rows of both that have a label, and the labels; all of them where there are no labels at all."""
        if labels is None:
            return self, teacher, None
        has_label = labels != -100
        return self.select(has_label), teacher.select(has_label), labels[has_label]


class DenseVocabulary(Vocabulary):
    """
    A tensor of logits or log-probabilities.

    Args:
        logits (`torch.Tensor` of shape `(…, V)`): one row for each position.
        is_normalized (`bool`): they are log-probabilities, and are taken as they are: no softmax, and a gradient with
            respect to themselves.
    """

    def __init__(self, logits: torch.Tensor, *, is_normalized: bool = False):
        super().__init__(logits.shape[:-1], logits.shape[-1])
        self.logits, self.is_normalized = logits, is_normalized

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.logits.device

    def select(self, is_selected: torch.Tensor) -> Self:
        """Selected rows, packed."""
        return type(self)(select_positions(self.logits, is_selected), is_normalized=self.is_normalized)

    def log_probs(self) -> torch.Tensor:
        """Log-probabilities (…, V)."""
        values = in_fp32(self.logits)
        return values if self.is_normalized else values.log_softmax(dim=-1)

    def cross_entropy(self, labels: torch.Tensor, *, label_smoothing: float = 0.0) -> RowSums:
        """See [`Vocabulary`]."""
        has_label = labels != -100
        targets, rows = labels[has_label], select_positions(self.logits, has_label)
        summed = F.cross_entropy(in_fp32(rows), targets, reduction="sum", label_smoothing=label_smoothing)
        return RowSums(summed, count_correct(rows, targets).to(summed.dtype), targets.numel())

    def kl(
        self,
        teacher: Vocabulary,
        *,
        temperature: float = 1.0,
        student_temperature: float = 1.0,
        labels: torch.Tensor | None = None,
    ) -> RowSums:
        """See [`Vocabulary`]."""
        student, teacher, labels = self._labelled(teacher, labels)
        rows = student.logits.reshape(-1, self.vocab_size)
        teacher_log_probs = teacher.read()(slice(None)).div(temperature).log_softmax(dim=-1)
        summed = find_divergence("kl")(
            (in_fp32(rows) / student_temperature).log_softmax(dim=-1), teacher_log_probs
        ).sum()
        num_correct = summed.new_zeros(()) if labels is None else count_correct(rows, labels).to(summed.dtype)
        return RowSums(summed, num_correct, len(rows))

    def pick(self, ids: torch.Tensor, *, has_mean: bool = False) -> torch.Tensor:
        """See [`Vocabulary`]."""
        log_probs = self.log_probs()
        picked = log_probs.gather(-1, ids)
        return torch.cat([picked, log_probs.mean(dim=-1, keepdim=True)], dim=-1) if has_mean else picked

    @torch.no_grad()
    def score(
        self, ids: torch.Tensor, suppressed_ids: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See [`Vocabulary`]."""
        likeliest = None if suppressed_ids is None else self.predict(suppressed_ids)
        return in_fp32(self.logits).gather(-1, ids), likeliest

    @torch.no_grad()
    def choose(self, suppressed_ids: Sequence[int] = ()) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`Vocabulary`]."""
        ids, log_probs = _choose(self.read()(slice(None)), suppressed_ids)
        return ids.view(self.shape), log_probs.view(self.shape)

    def map_rows(self, function: RowFunction, *others: Vocabulary) -> torch.Tensor:
        """See [`Vocabulary`]; all rows at a time."""
        # a projected one comes chunk by chunk, and so must what goes along with it
        if not all(isinstance(other, DenseVocabulary) for other in others):
            return _map_chunks(function, (self, *others), self.shape.numel())
        return function(*(each.rows(slice(None)) for each in (self, *others)))

    def map_neighbors(self, function: RowFunction) -> torch.Tensor:
        """See [`Vocabulary`]; all rows at a time."""
        return function(self.rows(slice(None)))

    def rows(self, rows: slice) -> torch.Tensor:
        """Log-probabilities (C, V) of some rows, with a gradient."""
        return DenseVocabulary(
            self.logits.reshape(-1, self.vocab_size)[rows], is_normalized=self.is_normalized
        ).log_probs()

    def read(self) -> LogitsReader:
        """See [`Vocabulary`]."""
        logits = self.logits.detach().reshape(-1, self.vocab_size)
        return lambda rows: logits[rows].to(working_dtype(logits.dtype), copy=True)


class ProjectedVocabulary(Vocabulary):
    """
    Hidden states and the table that makes logits of them. Logits exist for one chunk of rows at a time.

    Args:
        hidden_states (`torch.Tensor` of shape `(…, D)`): last decoder layer's output.
        projection ([`VocabularyProjection`]): to the logits; weight and bias get a gradient too.
    """

    def __init__(self, hidden_states: torch.Tensor, projection: VocabularyProjection):
        super().__init__(hidden_states.shape[:-1], projection.weight.shape[0])
        self.hidden_states, self.projection = hidden_states, projection

    @classmethod
    def of(cls, model: NATForConditionalGeneration, hidden_states: torch.Tensor) -> ProjectedVocabulary:
        """That of a translation model of this package, unwrapped."""
        return cls(hidden_states, VocabularyProjection.of(model))

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.hidden_states.device

    def select(self, is_selected: torch.Tensor) -> Self:
        """Selected rows, packed."""
        return type(self)(select_positions(self.hidden_states, is_selected), self.projection)

    def cross_entropy(self, labels: torch.Tensor, *, label_smoothing: float = 0.0) -> RowSums:
        """See [`Vocabulary`]."""
        has_label = labels != -100
        targets = labels[has_label]

        def losses(products: torch.Tensor, rows: slice, wants_gradient: bool) -> SumsAndGradient:
            return _cross_entropy_rows(products, targets[rows], label_smoothing, wants_gradient)

        summed, num_correct = sum_rows(select_positions(self.hidden_states, has_label), self.projection, losses)
        return RowSums(summed, num_correct, targets.numel())

    def kl(
        self,
        teacher: Vocabulary,
        *,
        temperature: float = 1.0,
        student_temperature: float = 1.0,
        labels: torch.Tensor | None = None,
    ) -> RowSums:
        """See [`Vocabulary`]."""
        student, teacher, labels = self._labelled(teacher, labels)
        read_teacher = teacher.read()

        def losses(products: torch.Tensor, rows: slice, wants_gradient: bool) -> SumsAndGradient:
            labels_of_rows = None if labels is None else labels[rows]
            temperatures = temperature, student_temperature
            return _kl_rows(products, read_teacher(rows), labels_of_rows, *temperatures, wants_gradient)

        return RowSums(*sum_rows(student.flat, self.projection, losses), student.shape.numel())

    def pick(self, ids: torch.Tensor, *, has_mean: bool = False) -> torch.Tensor:
        """See [`Vocabulary`]."""
        table = self.projection
        # its own backward pass: autograd would keep M × V log-probabilities
        picked = PickedLogProbs.apply(
            self.flat, table.weight, table.bias, ids.flatten(0, -2), table.fixed_logit, has_mean
        )
        return picked.view(*self.shape, picked.shape[-1])

    @torch.no_grad()
    def score(
        self, ids: torch.Tensor, suppressed_ids: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See [`Vocabulary`]."""
        states, table, chunks = prepare_chunks(self.flat, self.projection)
        flat_ids, scores, likeliest = ids.flatten(0, -2), [], []
        with torch.autocast(states.device.type, enabled=False):
            for rows in chunks:
                products = table.multiply(states[rows])
                scores.append(in_fp32(products.gather(1, flat_ids[rows])))
                if suppressed_ids is not None:
                    products[:, list(suppressed_ids)] = -torch.inf
                    likeliest.append(_likeliest(products))
        return torch.cat(scores).view(ids.shape), torch.cat(likeliest).view(self.shape) if likeliest else None

    @torch.no_grad()
    def choose(self, suppressed_ids: Sequence[int] = ()) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`Vocabulary`]."""
        states, table, chunks = prepare_chunks(self.flat, self.projection)
        with torch.autocast(states.device.type, enabled=False):
            chosen = [_choose(table.project(states[rows]), suppressed_ids) for rows in chunks]
        ids, log_probs = (torch.cat(each).view(self.shape) for each in zip(*chosen, strict=True))
        return ids, log_probs

    def map_rows(self, function: RowFunction, *others: Vocabulary) -> torch.Tensor:
        """See [`Vocabulary`]."""
        return _map_chunks(function, (self, *others), self.shape.numel())

    def map_neighbors(self, function: RowFunction) -> torch.Tensor:
        """See [`Vocabulary`]."""
        return _map_chunks(function, (self,), max(self.shape.numel() - 1, 0), num_shared=1)

    def rows(self, rows: slice) -> torch.Tensor:
        """Log-probabilities (C, V) of some rows, with a gradient."""
        table = self.projection
        logits = F.linear(self.flat[rows], table.weight, table.bias)
        if table.fixed_logit is not None:
            index = torch.tensor([table.fixed_logit[0]], device=logits.device)
            logits = logits.index_fill(1, index, table.fixed_logit[1])
        return in_fp32(logits).log_softmax(dim=-1)

    def read(self) -> LogitsReader:
        """See [`Vocabulary`]."""
        states, table, _ = prepare_chunks(self.flat, self.projection)

        def read(rows: slice) -> torch.Tensor:
            with torch.no_grad(), torch.autocast(states.device.type, enabled=False):
                return table.project(states[rows])

        return read

    @property
    def flat(self) -> torch.Tensor:
        """Hidden states (M, D)."""
        return self.hidden_states.reshape(-1, self.hidden_states.shape[-1])


def as_vocabulary(given: torch.Tensor | Vocabulary, *, is_normalized: bool = False) -> Vocabulary:
    """A vocabulary as it is, and a tensor (…, V) of logits, or log-probabilities, as a dense one."""
    return given if isinstance(given, Vocabulary) else DenseVocabulary(given, is_normalized=is_normalized)


def pick_positions(
    vocabulary: Vocabulary, ids: torch.Tensor, is_real: torch.Tensor, *, has_mean: bool = False
) -> torch.Tensor:
    """
    Log-probabilities (B, N, K) of a sentence's own ids (B, K) at all its real positions (B, N); 0 elsewhere, where the
    vocabulary is not read and gets no gradient, NaN or not.
    """
    # packed in row-major order, as `select` packs the rows
    row_ids = ids.unsqueeze(1).expand(-1, is_real.shape[1], -1)[is_real]
    picked = vocabulary.select(is_real).pick(row_ids, has_mean=has_mean)
    return picked.new_zeros(*is_real.shape, picked.shape[-1]).index_put((is_real,), picked)


@fusible
def _cross_entropy_rows(
    products: torch.Tensor, targets: torch.Tensor, label_smoothing: float, wants_gradient: bool
) -> SumsAndGradient:
    """Sum of the cross-entropies of logits (C, V), how many targets (C,) are the likeliest ids, and the gradient."""
    log_probs = in_fp32(products).log_softmax(dim=-1)
    column = targets.unsqueeze(1)
    summed = (label_smoothing - 1) * log_probs.gather(1, column).sum()
    if label_smoothing:
        summed = summed - label_smoothing * log_probs.mean(dim=-1).sum()
    sums = torch.stack([summed, count_correct(log_probs, targets).to(summed.dtype)])
    if not wants_gradient:
        return sums, None
    gradient = log_probs.exp_()
    if label_smoothing:
        gradient.sub_(label_smoothing / products.shape[-1])
    return sums, gradient.scatter_add_(1, column, gradient.new_full(column.shape, label_smoothing - 1))


@fusible
def _kl_rows(
    products: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor | None,
    temperature: float,
    student_temperature: float,
    wants_gradient: bool,
) -> SumsAndGradient:
    """Sum of KL(teacher ‖ student) of logits (C, V), how many labels (C,) are the likeliest ids, and the gradient."""
    soft_labels = teacher_logits.div_(temperature).log_softmax(dim=-1)
    log_probs = in_fp32(products).div_(student_temperature).log_softmax(dim=-1)
    num_correct = log_probs.new_zeros(()) if labels is None else count_correct(log_probs, labels)
    probs = soft_labels.exp()
    kl = torch.linalg.vecdot(probs, soft_labels.sub_(log_probs)).sum()
    gradient = log_probs.exp_().sub_(probs).div_(student_temperature) if wants_gradient else None
    return torch.stack([kl, num_correct.to(kl.dtype)]), gradient


@fusible
def _likeliest(products: torch.Tensor) -> torch.Tensor:
    """The first of the likeliest ids (C,) of logits (C, V)."""
    logits = in_fp32(products)
    if not torch.compiler.is_compiling():
        return logits.max(dim=-1).indices  # half the time of argmax on a CPU
    # compiled, a reduction that carries an index along is slow: the lowest of all ids with the highest logit
    ids = torch.arange(logits.shape[-1], device=logits.device, dtype=torch.int32)
    is_best = logits == logits.amax(dim=-1, keepdim=True)
    return ids.where(is_best, logits.shape[-1] - 1).amin(dim=-1).long()


def _choose(logits: torch.Tensor, suppressed_ids: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Likeliest ids (C,) of logits (C, V), which are overwritten, and their log-probabilities."""
    if suppressed_ids:
        logits[:, list(suppressed_ids)] = -torch.inf
    best = logits.max(dim=-1)
    return best.indices, best.values - logits.logsumexp(dim=-1)


def _map_chunks(
    function: RowFunction, vocabularies: Sequence[Vocabulary], num_rows: int, *, num_shared: int = 0
) -> torch.Tensor:
    """`function` of chunks of `num_rows` rows, which share `num_shared` with the next one, logits never kept."""
    device = vocabularies[0].device.type

    def compute(rows: slice) -> torch.Tensor:
        log_probs = [each.rows(rows) for each in vocabularies]
        with torch.autocast(device, enabled=False):
            return function(*log_probs)

    results = []
    for chunk in chunk_rows(num_rows, vocabularies[0].vocab_size, device):
        # with a shared row, neighbours across the border of two chunks are seen too
        rows = slice(chunk.start, min(chunk.stop, num_rows) + num_shared)
        # logits of a chunk are forgotten and computed again in the backward pass; nothing random is in there
        results.append(checkpoint(compute, rows, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(results)

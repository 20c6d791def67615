# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Alignments: numbers by hand, every path enumerated on small cases, and torch's own CTC loss on larger ones."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from dims_hf.models.alignment import (
    best_alignment,
    collapse_alignment,
    constrained_ctc_nll,
    find_path_labels,
    lengths_from_mask,
    prefix_beam_search,
    required_frames,
)


BLANK = 0
LOGITS = torch.tensor([[1.0, 0, -1], [0, 2, 0], [0.5, 0.5, 0], [0, 0, 1], [2, 0, 1]])

# target -> NLL over the five frames of LOGITS
NLL_TABLE = {(1, 2): 0.743599, (1, 1): 2.816995, (2,): 3.124687}
# forced states of the target 1 2 -> NLL
FORCED_TABLE = {
    (-1, -1, -1, -1, -1): 0.743599,
    (-1, 1, -1, -1, -1): 0.817172,
    (0, 1, -1, 3, -1): 1.292940,
    (-1, 1, 1, -1, 4): 2.250960,
    (0, 1, 2, 3, 4): 2.564222,
}
# target -> fewest frames
FRAMES_TABLE = {(): 0, (5,): 1, (5, 6): 2, (5, 5): 3, (5, 6, 5): 3, (5, 5, 5): 5, (5, 5, 6, 6, 7): 7}
# alignment (0 is the blank) -> target
COLLAPSE_TABLE = {
    (0, 5, 5, 0, 5, 6, 6, 0, 0, 7): (5, 5, 6, 7),
    (0, 0, 0): (),
    (5, 5, 5): (5,),
    (5, 0, 5): (5, 5),
    (5, 6, 5): (5, 6, 5),
    (0,): (),
    (): (),
}


class Batch(NamedTuple):
    """Arguments of the functions under test."""

    log_probs: torch.Tensor
    targets: torch.LongTensor
    frame_lengths: torch.LongTensor
    target_lengths: torch.LongTensor

    def row(self, row: int) -> Batch:
        """One sentence, without its padding."""
        frames, tokens = self.frame_lengths[row], self.target_lengths[row]
        lengths = self.frame_lengths[row : row + 1], self.target_lengths[row : row + 1]
        return Batch(self.log_probs[row : row + 1, :frames], self.targets[row : row + 1, :tokens], *lengths)


def single(logits: torch.Tensor, target: tuple[int, ...]) -> Batch:
    """A batch of one sentence without padding."""
    targets = torch.tensor([target], dtype=torch.long).view(1, len(target))
    return Batch(
        logits.log_softmax(-1).unsqueeze(0), targets, torch.tensor([len(logits)]), torch.tensor([len(target)])
    )


def random_batch(seed: int, *, sizes: tuple[int, int, int, int] = (64, 40, 18, 50), spread: float = 3.0) -> Batch:
    """Ragged sentences of B, A, T, V = `sizes`; some have equal neighbours, all have a path."""
    generator = torch.Generator().manual_seed(seed)
    batch, frames, tokens, vocab = sizes
    logits = torch.randn(batch, frames, vocab, generator=generator, dtype=torch.float64) * spread
    targets = torch.randint(1, vocab, (batch, tokens), generator=generator)
    targets[::3, 1::4] = targets[::3, 0 : targets[:, 1::4].shape[1] * 4 : 4]
    target_lengths = torch.randint(0, tokens + 1, (batch,), generator=generator)
    needed = required_frames(targets, target_lengths)
    frame_lengths = (needed + (torch.rand(batch, generator=generator) * (frames + 1 - needed)).long()).clamp(1, frames)
    return Batch(logits.log_softmax(-1), targets, frame_lengths, target_lengths)


def nll(batch: Batch, **kwargs) -> torch.Tensor:
    return constrained_ctc_nll(*batch, blank_token_id=kwargs.pop("blank_token_id", BLANK), **kwargs)


def torch_ctc(batch: Batch) -> torch.Tensor:
    return F.ctc_loss(batch.log_probs.transpose(0, 1), *batch[1:], blank=BLANK, reduction="none")


def states_of(labels: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A sequence of tokens and blanks -> the target it collapses to and the state of each frame."""
    target, states = [], []
    for index, label in enumerate(labels):
        if label != BLANK and (index == 0 or labels[index - 1] != label):
            target.append(label)
        states.append(2 * len(target) - (label != BLANK))
    return tuple(target), tuple(states)


def enumerate_paths(batch: Batch, force_emits: tuple[int, ...] | None = None) -> dict[tuple[int, ...], float]:
    """States -> log-probability of every path of a batch of one: all label sequences that collapse to the target."""
    target = tuple(batch.targets[0].tolist())
    table = batch.log_probs[0].tolist()
    paths = {}
    for labels in itertools.product({BLANK, *target}, repeat=len(table)):
        collapsed, states = states_of(labels)
        agrees = force_emits is None or all(want in (-1, got) for want, got in zip(force_emits, states))
        if collapsed == target and agrees:
            paths[states] = sum(frame[label] for frame, label in zip(table, labels))
    return paths


def best_by_enumeration(paths: dict[tuple[int, ...], float], num_tokens: int) -> tuple[int, ...]:
    """The best path; ties: the one that ends in 2T − 1, then the one in the higher state, from the last frame."""
    return max(paths, key=lambda states: (paths[states], states[-1] == 2 * num_tokens - 1, states[::-1]))


def small_cases() -> list[tuple[int, tuple[int, ...]]]:
    """Numbers of frames and targets: repeats, length equal to the frames, empty targets and impossible ones."""
    targets = [(), (1,), (1, 2), (1, 1), (1, 2, 1), (2, 2, 1), (1, 1, 1), (1, 2, 3)]
    return [(frames, target) for frames in range(1, 6) for target in targets]


@pytest.mark.parametrize(("target", "expected"), NLL_TABLE.items())
def test_nll_of_small_targets_follows_the_table(target: tuple[int, ...], expected: float):
    batch = single(LOGITS, target)
    assert nll(batch).item() == pytest.approx(expected, abs=1e-6)
    assert torch_ctc(batch).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("force_emits", "expected"), FORCED_TABLE.items())
def test_nll_of_forced_frames_follows_the_table(force_emits: tuple[int, ...], expected: float):
    value = nll(single(LOGITS, (1, 2)), force_emits=torch.tensor([force_emits]))
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_best_alignment_of_the_table_takes_each_state_once():
    best = best_alignment(*single(LOGITS, (1, 2)), blank_token_id=BLANK)
    assert best.states.tolist() == [[0, 1, 2, 3, 4]]
    assert best.tokens.tolist() == [[0, 1, 0, 2, 0]]
    assert best.scores.item() == pytest.approx(-2.564222, abs=1e-6)


@pytest.mark.parametrize(("target", "expected"), FRAMES_TABLE.items())
def test_required_frames_count_repeats_twice(target: tuple[int, ...], expected: int):
    padded = torch.tensor([[*target, 7, 7, 7]])  # padding that looks like repeats
    assert required_frames(padded, torch.tensor([len(target)])).tolist() == [expected]


@pytest.mark.parametrize(("alignment", "expected"), COLLAPSE_TABLE.items())
def test_collapse_of_the_table_drops_runs_before_blanks(alignment: tuple[int, ...], expected: tuple[int, ...]):
    padded = torch.tensor([[*alignment, 8, 9]])
    tokens, lengths = collapse_alignment(padded, torch.tensor([len(alignment)]), blank_token_id=0, pad_token_id=1)
    assert tokens.tolist() == [[*expected, *[1] * (padded.shape[1] - len(expected))]]
    assert lengths.tolist() == [len(expected)]


def test_collapse_of_a_ragged_batch_agrees_with_plain_python():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 4, (200, 9), generator=generator)
    frames = torch.randint(0, 10, (200,), generator=generator)
    collapsed, lengths = collapse_alignment(tokens, frames, blank_token_id=0, pad_token_id=-1)
    for row, frame_count in enumerate(frames.tolist()):
        expected, _ = states_of(tuple(tokens[row, :frame_count].tolist()))
        assert collapsed[row].tolist() == [*expected, *[-1] * (9 - len(expected))]
        assert lengths[row] == len(expected)


@pytest.mark.parametrize(("frames", "target"), small_cases())
def test_nll_and_best_alignment_agree_with_enumeration(frames: int, target: tuple[int, ...]):
    generator = torch.Generator().manual_seed(100 * frames + len(target))
    batch = single(torch.randn(frames, 4, generator=generator, dtype=torch.float64) * 2, target)
    paths = enumerate_paths(batch)
    best = best_alignment(*batch, blank_token_id=BLANK)
    assert bool(paths) == (required_frames(*batch[1::2]).item() <= frames)
    if not paths:
        assert nll(batch).item() == math.inf
        assert best.scores.item() == -math.inf
        assert best.states.tolist() == [[-1] * frames]
        return
    assert nll(batch).item() == pytest.approx(-math.log(sum(map(math.exp, paths.values()))), rel=1e-12)
    assert tuple(best.states[0].tolist()) == best_by_enumeration(paths, len(target))
    assert best.scores.item() == pytest.approx(max(paths.values()), rel=1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_forced_frames_agree_with_enumeration(seed: int):
    generator = torch.Generator().manual_seed(seed)
    frames, length = (torch.randint(low, 6, (), generator=generator).item() for low in (2, 0))
    target = tuple(torch.randint(1, 3, (length,), generator=generator).tolist())
    batch = single(torch.randn(frames, 3, generator=generator, dtype=torch.float64), target)
    forced = torch.randint(0, 2 * length + 1, (1, frames), generator=generator)
    paths = enumerate_paths(batch)
    if paths and seed % 4:  # mostly the states of a path, else at random, which often contradicts
        choice = torch.randint(0, len(paths), (), generator=generator).item()
        forced = torch.tensor([list(paths)[choice]])
    forced = forced.masked_fill(torch.rand(1, frames, generator=generator) < 0.6, -1)
    paths = enumerate_paths(batch, tuple(forced[0].tolist()))
    expected = -math.log(sum(map(math.exp, paths.values()))) if paths else math.inf
    assert nll(batch, force_emits=forced).item() == pytest.approx(expected, rel=1e-12)
    best = best_alignment(*batch, blank_token_id=BLANK, force_emits=forced)
    states = best_by_enumeration(paths, length) if paths else (-1,) * frames
    assert tuple(best.states[0].tolist()) == states


@pytest.mark.parametrize("length", range(1, 5))
def test_best_alignment_of_ties_prefers_high_states_and_the_last_token(length: int):
    # multiples of a half add up exactly, so that equal scores are equal
    generator = torch.Generator().manual_seed(length)
    for _ in range(60):
        frames = torch.randint(length, 7, (), generator=generator).item()
        target = tuple(torch.randint(1, 3, (length,), generator=generator).tolist())
        log_probs = -torch.randint(1, 3, (1, frames, 3), generator=generator) / 2
        batch = single(torch.zeros(frames, 3), target)._replace(log_probs=log_probs)
        paths = enumerate_paths(batch)
        if paths:
            states = best_alignment(*batch, blank_token_id=BLANK).states[0]
            assert tuple(states.tolist()) == best_by_enumeration(paths, length)


def test_best_alignment_where_all_is_equal_stays_in_high_states():
    # ends in 2T − 1 = 3; before, s is preferred to s − 1, and s − 1 to s − 2
    states = best_alignment(*single(torch.zeros(6, 3), (1, 2)), blank_token_id=BLANK).states
    assert states.tolist() == [[1, 3, 3, 3, 3, 3]]
    states = best_alignment(*single(torch.zeros(6, 3), (1, 1)), blank_token_id=BLANK).states
    assert states.tolist() == [[1, 2, 3, 3, 3, 3]]


def test_best_alignment_stays_in_a_blank_rather_than_enter_it():
    # a blank must be at frame 2 and the second token at frame 3; the blank may begin at frame 1 or 2
    log_probs = torch.tensor([[[-1.0, -1, -9], [-1, -1, -9], [-1, -9, -9], [-9, -1, -9]]])
    batch = single(LOGITS[:4], (1, 1))._replace(log_probs=log_probs)
    assert best_alignment(*batch, blank_token_id=BLANK).states.tolist() == [[1, 2, 2, 3]]


@pytest.mark.parametrize("seed", range(3))
def test_unconstrained_nll_and_gradient_equal_torch_ctc(seed: int):
    batch = random_batch(seed)
    own_logits, torch_logits = (batch.log_probs.clone().requires_grad_() for _ in range(2))
    own = nll(batch._replace(log_probs=own_logits.log_softmax(-1)))
    reference = torch_ctc(batch._replace(log_probs=torch_logits.log_softmax(-1)))
    torch.testing.assert_close(own, reference, rtol=1e-10, atol=1e-10)
    weights = torch.linspace(0.1, 2.0, len(own), dtype=torch.float64)
    (own * weights).sum().backward()
    (reference * weights).sum().backward()
    torch.testing.assert_close(own_logits.grad, torch_logits.grad, rtol=0, atol=1e-10)


def test_single_precision_nll_and_gradient_are_within_1e_5_of_double():
    batch = random_batch(5)
    values, gradients = [], []
    for dtype in (torch.float32, torch.float64):
        logits = batch.log_probs.to(dtype).requires_grad_()
        value = nll(batch._replace(log_probs=logits.log_softmax(-1)))
        assert value.dtype == dtype
        values.append(value.detach().double())
        gradients.append(torch.autograd.grad(value.sum(), logits)[0].double())
    torch.testing.assert_close(*values, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_summed_in_single_precision(dtype: torch.dtype):
    batch = random_batch(6)
    rounded = batch.log_probs.to(dtype)
    log_probs = rounded.clone().requires_grad_()
    value = nll(batch._replace(log_probs=log_probs))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, nll(batch._replace(log_probs=rounded.float())), rtol=0, atol=0)
    value.sum().backward()
    assert log_probs.grad.dtype == dtype
    assert log_probs.grad.isfinite().all()


@pytest.mark.parametrize("is_forced", [False, True])
def test_gradient_is_the_derivative_for_any_input(is_forced: bool):
    batch = random_batch(7, sizes=(5, 6, 3, 4), spread=1.0)
    log_probs = (batch.log_probs + torch.randn(5, 6, 1, dtype=torch.float64)).requires_grad_()  # not normalised
    force_emits = best_alignment(*batch, blank_token_id=BLANK).states.clone()
    force_emits[:, ::2] = -1
    forced = {"force_emits": force_emits} if is_forced else {}
    assert torch.autograd.gradcheck(lambda x: nll(batch._replace(log_probs=x), **forced), log_probs)


def test_gradient_of_log_probs_is_minus_the_expected_emissions():
    batch = random_batch(8)
    log_probs = batch.log_probs.clone().requires_grad_()
    nll(batch._replace(log_probs=log_probs)).sum().backward()
    frames = torch.arange(batch.log_probs.shape[1]) < batch.frame_lengths.unsqueeze(1)
    torch.testing.assert_close(-log_probs.grad.sum(-1), frames.double(), rtol=0, atol=1e-12)


def test_forcing_the_best_alignment_gives_its_score_and_itself():
    batch = random_batch(9)
    best = best_alignment(*batch, blank_token_id=BLANK)
    torch.testing.assert_close(nll(batch, force_emits=best.states), -best.scores)
    again = best_alignment(*batch, blank_token_id=BLANK, force_emits=best.states)
    assert torch.equal(again.states, best.states)
    assert (nll(batch) <= -best.scores + 1e-9).all()
    tokens, lengths = collapse_alignment(best.tokens, batch.frame_lengths, blank_token_id=BLANK, pad_token_id=1)
    assert torch.equal(lengths, batch.target_lengths)
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(tokens[row, :length], batch.targets[row, :length])


def test_forcing_more_frames_never_lowers_the_nll():
    batch = random_batch(10)
    states = best_alignment(*batch, blank_token_id=BLANK).states
    noise = torch.rand(states.shape, generator=torch.Generator().manual_seed(0))
    values = [nll(batch, force_emits=states.masked_fill(noise >= share, -1)) for share in (0.0, 0.3, 0.7, 1.0)]
    for fewer, more in itertools.pairwise(values):
        assert (more >= fewer - 1e-9).all()


def test_all_frames_free_is_the_unconstrained_nll():
    batch = random_batch(11)
    free = torch.full(batch.log_probs.shape[:2], -1)
    assert torch.equal(nll(batch, force_emits=free), nll(batch))
    assert torch.equal(nll(batch, force_emits=free - 99), nll(batch))


def test_sentences_do_not_depend_on_their_batch_or_padding():
    batch = random_batch(12, sizes=(12, 20, 8, 11))
    force_emits = best_alignment(*batch, blank_token_id=BLANK).states
    force_emits[:, 1::2] = -1
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    padded = Batch(*(argument[order] for argument in batch))
    padded = padded._replace(
        log_probs=F.pad(padded.log_probs, (0, 0, 0, 5), value=math.nan),
        targets=F.pad(padded.targets, (0, 3), value=-100),
    )
    for row, length in enumerate(padded.frame_lengths.tolist()):
        padded.log_probs[row, length:] = math.nan
        padded.targets[row, padded.target_lengths[row] :] = (-100, 10**6)[row % 2]
    padded_force = F.pad(force_emits[order], (0, 5), value=99)
    log_probs = padded.log_probs.clone().requires_grad_()
    value = nll(padded._replace(log_probs=log_probs), force_emits=padded_force)
    gradient = torch.autograd.grad(value.sum(), log_probs)[0]
    best = best_alignment(*padded, blank_token_id=BLANK, force_emits=padded_force)
    for place, row in enumerate(order.tolist()):
        alone = batch.row(row)
        frames = alone.log_probs.shape[1]
        alone_log_probs = alone.log_probs.clone().requires_grad_()
        alone_value = nll(alone._replace(log_probs=alone_log_probs), force_emits=force_emits[row : row + 1, :frames])
        torch.testing.assert_close(value[place], alone_value[0], rtol=1e-13, atol=0)
        alone_gradient = torch.autograd.grad(alone_value.sum(), alone_log_probs)[0][0]
        torch.testing.assert_close(gradient[place, :frames], alone_gradient, rtol=0, atol=1e-13)
        assert (gradient[place, frames:] == 0).all()
        alone_best = best_alignment(*alone, blank_token_id=BLANK, force_emits=force_emits[row : row + 1, :frames])
        assert torch.equal(best.states[place, :frames], alone_best.states[0])
        assert (best.states[place, frames:] == -1).all()
        assert (best.tokens[place, frames:] == BLANK).all()


def test_blank_anywhere_in_the_vocabulary_gives_the_same():
    batch = random_batch(13, sizes=(8, 12, 5, 9))
    moved = batch._replace(log_probs=batch.log_probs.roll(-1, dims=2), targets=batch.targets - 1)
    assert torch.equal(nll(moved, blank_token_id=8), nll(batch))
    best, moved_best = (best_alignment(*b, blank_token_id=blank) for b, blank in ((batch, 0), (moved, 8)))
    assert torch.equal(best.states, moved_best.states)
    assert torch.equal((best.tokens - 1) % 9, moved_best.tokens)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_impossible_targets_have_no_gradient_and_leave_the_others_alone(zero_infinity: bool):
    # too many tokens; a repeat too many; forced to go back; a token of probability 0; and one that is fine
    logits = torch.randn(5, 3, 6, generator=torch.Generator().manual_seed(0))
    logits[3, :, 4] = -math.inf
    targets = torch.tensor([[1, 2, 3, 4], [1, 1, 2, 0], [1, 2, 0, 0], [4, 0, 0, 0], [1, 2, 0, 0]])
    force_emits = torch.full((5, 3), -1)
    force_emits[2] = torch.tensor([3, 1, -1])
    batch = Batch(logits.log_softmax(-1).requires_grad_(), targets, torch.full((5,), 3), torch.tensor([4, 3, 2, 1, 2]))
    value = nll(batch, force_emits=force_emits, zero_infinity=zero_infinity)
    assert value[:4].tolist() == [0.0 if zero_infinity else math.inf] * 4
    assert torch.equal(value[4:], nll(batch.row(4)))
    # an infinite loss that is squared has an infinite gradient: still none here
    gradient = torch.autograd.grad((value**2).sum(), batch.log_probs)[0]
    assert (gradient[:4] == 0).all()
    alone = batch.row(4)
    expected = torch.autograd.grad((nll(alone) ** 2).sum(), batch.log_probs)[0][4]
    torch.testing.assert_close(gradient[4], expected)


def test_target_as_long_as_its_frames_has_one_path():
    batch = single(LOGITS, (1, 2, 1, 2, 1))
    expected = -batch.log_probs[0, range(5), [1, 2, 1, 2, 1]].sum()
    torch.testing.assert_close(nll(batch)[0], expected)
    assert best_alignment(*batch, blank_token_id=BLANK).states.tolist() == [[1, 3, 5, 7, 9]]


@pytest.mark.parametrize(("frames", "tokens", "expected"), [(0, 0, 0.0), (0, 1, math.inf)])
def test_sentences_without_frames_hold_only_the_empty_target(frames: int, tokens: int, expected: float):
    log_probs = torch.zeros(1, frames, 3).requires_grad_()
    batch = Batch(log_probs, torch.ones(1, tokens, dtype=torch.long), torch.tensor([frames]), torch.tensor([tokens]))
    value = nll(batch)
    value.sum().backward()
    assert value.item() == expected
    assert best_alignment(*batch, blank_token_id=BLANK).scores.item() == -expected
    # the same beside a longer sentence
    longer = Batch(
        torch.zeros(2, 4, 3), torch.ones(2, 2, dtype=torch.long), torch.tensor([0, 4]), torch.tensor([tokens, 2])
    )
    assert nll(longer)[0].item() == expected
    assert best_alignment(*longer, blank_token_id=BLANK).states[0].tolist() == [-1] * 4


def test_empty_batch_gives_empty_results():
    batch = Batch(torch.zeros(0, 4, 3), torch.zeros(0, 2).long(), torch.zeros(0).long(), torch.zeros(0).long())
    assert nll(batch).shape == (0,)
    assert best_alignment(*batch, blank_token_id=BLANK).states.shape == (0, 4)


@pytest.mark.parametrize("frames", [3, 6])
def test_gradient_where_logits_are_suppressed_is_finite(frames: int):
    # a suppressed mask token (the lowest number of its type) that the target needs once
    logits = torch.randn(frames, 5, generator=torch.Generator().manual_seed(0))
    logits[:, 3] = torch.finfo(torch.float32).min
    batch = single(logits, (1, 3, 2))
    log_probs = batch.log_probs.clone().requires_grad_()
    value = nll(batch._replace(log_probs=log_probs))
    value.sum().backward()
    assert value.item() >= 1e38
    torch.testing.assert_close(-log_probs.grad.sum(-1), torch.ones(1, frames))


def test_not_a_number_is_passed_on_to_the_sentence_that_has_it():
    batch = random_batch(14, sizes=(3, 6, 2, 5))
    batch.log_probs[1, 0] = math.nan
    assert nll(batch, zero_infinity=True).isnan().tolist() == [False, True, False]


def test_long_sentences_neither_overflow_nor_vanish():
    logits = torch.randn(1, 2000, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
    targets = torch.randint(1, 30, (1, 600), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([2000]), torch.tensor([600])
    single_precision = Batch(logits.float().log_softmax(-1), targets, *lengths)
    exact = torch_ctc(Batch(logits.log_softmax(-1), targets, *lengths))
    torch.testing.assert_close(nll(single_precision).double(), exact, rtol=1e-5, atol=0)


class LargestTensors(TorchDispatchMode):
    """Notes how many elements each operation's result holds in memory."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.sizes.append(tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


@pytest.mark.parametrize("function", ["nll", "best"])
def test_memory_is_linear_in_frames_and_free_of_states_times_vocabulary(function: str):
    largest = {}
    for frames in (50, 100, 200):
        batch = random_batch(15, sizes=(3, frames, 10, 40))
        log_probs = batch.log_probs.requires_grad_()
        with LargestTensors() as seen:
            if function == "nll":
                nll(batch).sum().backward()
            else:
                best_alignment(*batch, blank_token_id=BLANK)
        assert (log_probs.grad is not None) == (function == "nll")
        largest[frames] = max(seen.sizes)
        # the two lattices with their border, or the gradient of the log-probabilities
        assert largest[frames] <= 3 * max((frames + 1) * 22 * 2, frames * 40)
    assert largest[200] <= 2.02 * largest[100] <= 2.02**2 * largest[50]


def test_path_labels_give_the_nll_and_the_alignment_of_the_whole_vocabulary():
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(3, 9, 20, generator=generator).log_softmax(dim=-1)
    targets = torch.tensor([[7, 7, 9, 7], [5, 6, -100, -100], [11, 3, 3, 11]])
    lengths = (torch.tensor([9, 4, 7]), torch.tensor([4, 2, 4]))
    labels = find_path_labels(targets, lengths[1], blank_token_id=BLANK, vocab_size=20)
    assert labels.targets[[0, 2]].tolist() == [[0, 0, 2, 0], [0, 1, 1, 0]] and labels.targets[1, :2].tolist() == [0, 1]
    picked = log_probs.gather(2, labels.ids.unsqueeze(1).expand(-1, 9, -1))
    whole, own = (log_probs, targets, *lengths), (picked, labels.targets, *lengths)
    assert torch.equal(
        constrained_ctc_nll(*whole, blank_token_id=BLANK), constrained_ctc_nll(*own, blank_token_id=labels.blank)
    )
    best, own_best = (
        best_alignment(*arguments, blank_token_id=blank) for arguments, blank in ((whole, BLANK), (own, labels.blank))
    )
    assert torch.equal(best.states, own_best.states) and torch.equal(best.scores, own_best.scores)
    assert torch.equal(best.tokens, labels.ids.gather(1, own_best.tokens))


def test_path_labels_of_empty_targets_are_the_blank_alone():
    log_probs = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
    lengths = torch.tensor([3, 2]), torch.tensor([0, 0])
    labels = find_path_labels(torch.empty(2, 0, dtype=torch.long), lengths[1], blank_token_id=BLANK, vocab_size=20)
    assert labels.ids.tolist() == [[BLANK], [BLANK]] and labels.targets.shape == (2, 0) and labels.blank == 0
    found = constrained_ctc_nll(
        log_probs[..., BLANK : BLANK + 1], labels.targets, *lengths, blank_token_id=labels.blank
    )
    expected = torch.stack([-log_probs[0, :3, BLANK].sum(), -log_probs[1, :2, BLANK].sum()])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.tensor([1, 2])}, r"targets must be of shape \(1, T\)"),
        ({"target_lengths": torch.tensor([2, 2])}, r"targets must be of shape \(2, T\)"),
        ({"target_lengths": torch.tensor([[2]])}, r"target_lengths must be of shape \(1,\)"),
        ({"target_lengths": torch.tensor([3])}, r"target_lengths must be in 0 … 2"),
        ({"targets": torch.tensor([[1, 3]])}, r"targets must be in 0 … 2"),
        ({"targets": torch.tensor([[1, 0]])}, "targets hold the blank 0"),
        ({"blank_token_id": 3}, "blank_token_id 3 is not in the vocabulary of 3"),
    ],
)
def test_path_labels_of_wrong_targets_are_refused(change, message):
    arguments = {"targets": torch.tensor([[1, 2]]), "target_lengths": torch.tensor([2]), "blank_token_id": 0} | change
    with pytest.raises(ValueError, match=message):
        find_path_labels(**arguments, vocab_size=3)


def test_lengths_from_mask_counts_real_positions():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 0]])
    assert lengths_from_mask(mask).tolist() == [2, 3, 0]
    assert lengths_from_mask(mask.bool()).tolist() == [2, 3, 0]


def test_lengths_from_mask_of_left_padding_is_refused():
    with pytest.raises(ValueError, match="real positions after padding"):
        lengths_from_mask(torch.tensor([[0, 1, 1]]))


@pytest.mark.parametrize("function", [constrained_ctc_nll, best_alignment])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_probs": torch.zeros(5, 3)}, r"shape \(B, A, V\)"),
        ({"log_probs": torch.zeros(1, 5, 3, dtype=torch.long)}, "floating point"),
        ({"targets": torch.tensor([1, 2])}, r"targets must be of shape \(1, T\)"),
        ({"targets": torch.tensor([[1, 3]])}, r"targets must be in 0 … 2"),
        ({"targets": torch.tensor([[1, -100]])}, r"targets must be in 0 … 2"),
        ({"targets": torch.tensor([[1, 0]])}, "targets hold the blank 0"),
        ({"frame_lengths": torch.tensor([6])}, r"frame_lengths must be in 0 … 5"),
        ({"frame_lengths": torch.tensor([-1])}, r"frame_lengths must be in 0 … 5"),
        ({"frame_lengths": torch.tensor(5)}, r"frame_lengths must be of shape \(1,\)"),
        ({"target_lengths": torch.tensor([3])}, r"target_lengths must be in 0 … 2"),
        ({"target_lengths": torch.tensor([2, 2])}, r"target_lengths must be of shape \(1,\)"),
        ({"blank_token_id": 3}, "blank_token_id 3 is not in the vocabulary of 3"),
        ({"force_emits": torch.tensor([[-1, -1, 5, -1, -1]])}, "force_emits names states"),
        ({"force_emits": torch.tensor([-1])}, r"force_emits must be of shape \(1, 5\)"),
    ],
)
def test_bad_arguments_are_refused_by_name(function, change: dict, message: str):
    arguments = {**single(LOGITS, (1, 2))._asdict(), "blank_token_id": BLANK, **change}
    with pytest.raises(ValueError, match=message):
        function(**arguments)


# frames (the blank is 0), beam -> probabilities of targets, the best first
TWO_FRAMES = ((0.6, 0.4), (0.6, 0.4))
REPEATS = ((0.2, 0.8), (0.8, 0.2), (0.2, 0.8))
FOUR_FRAMES = ((0.1, 0.6, 0.3), (0.5, 0.2, 0.3), (0.2, 0.2, 0.6), (0.6, 0.1, 0.3))
PREFIX_TABLE = [
    (TWO_FRAMES, 1, {(): 0.36}),
    (TWO_FRAMES, 2, {(1,): 0.64, (): 0.36}),
    (REPEATS, 9, {(1, 1): 0.512, (1,): 0.456, (): 0.032}),
    (FOUR_FRAMES, 1, {(1, 2): 0.2268}),
    (FOUR_FRAMES, 2, {(1, 2): 0.2592, (1,): 0.0672}),
    (FOUR_FRAMES, 3, {(1, 2): 0.3912}),
    (FOUR_FRAMES, 5, {(1, 2): 0.3942}),
    (FOUR_FRAMES, 99, {(1, 2): 0.3942, (2,): 0.1272, (2, 2): 0.0972, (1,): 0.0804, (2, 1): 0.069}),
]


def search_plainly(log_probs: torch.Tensor, blank: int, beam_size: int) -> list[tuple[list[int], float]]:
    """Prefix beam search over dictionaries of probabilities."""
    beam = {(): (1.0, 0.0)}
    for frame in log_probs.exp().tolist():
        grown = {}

        def add(prefix: tuple[int, ...], in_blank: float, in_token: float, grown: dict = grown) -> None:
            before = grown.get(prefix, (0.0, 0.0))
            grown[prefix] = before[0] + in_blank, before[1] + in_token

        for prefix, (in_blank, in_token) in beam.items():
            add(prefix, frame[blank] * (in_blank + in_token), frame[prefix[-1]] * in_token if prefix else 0.0)
            for token in set(range(len(frame))) - {blank}:
                is_repeat = prefix[-1:] == (token,)
                add((*prefix, token), 0.0, frame[token] * (in_blank if is_repeat else in_blank + in_token))
        beam = dict(sorted(grown.items(), key=lambda item: -sum(item[1]))[:beam_size])
    return [(list(prefix), math.log(sum(parts))) for prefix, parts in beam.items() if sum(parts) > 0]


@pytest.mark.parametrize(("frames", "beam_size", "expected"), PREFIX_TABLE)
def test_prefix_beam_of_the_table(frames, beam_size: int, expected: dict[tuple[int, ...], float]):
    found = prefix_beam_search(torch.tensor(frames).log(), blank_token_id=BLANK, beam_size=beam_size)
    assert [tuple(ids) for ids, _ in found[: len(expected)]] == list(expected)
    for (_, score), probability in zip(found, expected.values()):
        assert math.exp(score) == pytest.approx(probability, abs=1e-6)


@pytest.mark.parametrize("beam_size", [1, 2, 3, 5, 8])
def test_prefix_beam_agrees_with_dictionaries_of_prefixes(beam_size: int):
    generator = torch.Generator().manual_seed(beam_size)
    for _ in range(25):
        frames, vocab = (torch.randint(1, 8, (), generator=generator).item() for _ in range(2))
        blank = torch.randint(0, vocab, (), generator=generator).item()
        log_probs = (torch.randn(frames, vocab, generator=generator, dtype=torch.float64) * 2).log_softmax(-1)
        found = prefix_beam_search(log_probs, blank_token_id=blank, beam_size=beam_size)
        expected = search_plainly(log_probs, blank, beam_size)
        assert [ids for ids, _ in found] == [ids for ids, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-12)


def test_prefix_beam_that_holds_everything_gives_the_likelihood_of_every_target():
    log_probs = (torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).log_softmax(-1)
    found = prefix_beam_search(log_probs, blank_token_id=BLANK, beam_size=1000)
    assert sum(math.exp(score) for _, score in found) == pytest.approx(1.0)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    for ids, score in found:
        assert nll(single(log_probs, tuple(ids))).item() == pytest.approx(-score, abs=1e-12)


def test_prefix_beam_without_frames_is_the_empty_target():
    assert prefix_beam_search(torch.zeros(0, 5), blank_token_id=BLANK, beam_size=3) == [([], 0.0)]


def test_prefix_beam_leaves_out_what_is_impossible():
    log_probs = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).log()
    assert prefix_beam_search(log_probs, blank_token_id=BLANK, beam_size=9) == [([1], 0.0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_probs": torch.zeros(1, 5, 3)}, r"log_probs must be floating point of shape \(A, V\)"),
        ({"log_probs": torch.full((2, 3), math.nan)}, "log_probs hold NaN"),
        ({"blank_token_id": 3}, "blank_token_id 3 is not in the vocabulary of 3"),
        ({"beam_size": 0}, "beam_size must be at least 1"),
    ],
)
def test_prefix_beam_refuses_bad_arguments_by_name(change: dict, message: str):
    arguments = {"log_probs": torch.zeros(5, 3), "blank_token_id": BLANK, "beam_size": 2, **change}
    with pytest.raises(ValueError, match=message):
        prefix_beam_search(**arguments)

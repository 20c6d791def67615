# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What the page shows, without a browser: traces equal `generate()`, alternatives, forced words, escapes, hosts."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
import torch

from dims_hf.serving.viewer import TracedModel
from dims_hf.serving.viewer.hosts import OwnHostOnly, without_outside_hosts
from dims_hf.serving.viewer.page import Settings, Viewer
from dims_hf.serving.viewer.rendering import render_translation
from dims_hf.translation import quality_flags


SOURCE = "the small dog sees the old cat ."


@pytest.fixture
def traced(tiny_model, tiny_tokenizer, tmp_path) -> TracedModel:
    from dims_hf.data import save_tokenizer

    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in tiny_model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.8, generator=generator)
    tiny_model.save_pretrained(tmp_path / "tiny")
    save_tokenizer(tiny_tokenizer, tmp_path / "tiny")
    return TracedModel(str(tmp_path / "tiny"))


@pytest.mark.parametrize(("passes", "lengths"), [(1, 1), (3, 1), (4, 3)])
def test_trace_is_the_history_of_generate(traced, passes, lengths):
    trace = traced.translate(SOURCE, num_iterations=passes, num_lengths=lengths)
    output = traced.model.generate(
        **traced.tokenizer(SOURCE, return_tensors="pt"),
        num_iterations=passes,
        length_beam_size=lengths,
        return_dict_in_generate=True,
        output_history=True,
    )
    assert trace.text == traced.tokenizer.decode(output.sequences[0], skip_special_tokens=True).strip()
    assert trace.confidence == pytest.approx(float(output.sequences_scores[0].exp()), abs=1e-5)
    assert len(trace.steps) == passes and len({each.length for each in trace.candidates}) == len(trace.candidates)
    names = {0: "kept", 1: "revealed", 2: "re-masked"}
    for step, expected in zip(trace.steps, output.history, strict=True):
        inside = slice(1, 1 + trace.length)
        assert [token.token_id for token in step.tokens] == expected.token_ids[0, inside].tolist()
        assert [token.state for token in step.tokens] == [names[each] for each in expected.state[0, inside].tolist()]
        probabilities = torch.tensor([token.probability for token in step.tokens])
        torch.testing.assert_close(probabilities, expected.log_probs[0, inside].exp(), atol=1e-5, rtol=1e-4)
    assert trace.candidates[0].length == trace.length


def test_alignments_are_shown_as_every_other_way_translates_them(repository):
    from dims_hf.translation import translate_texts

    traced = TracedModel(str(repository / "model_cards/en-de-onepass"))
    for source in ("Hello {name}, how are you? 😀", "KEEP OUT OF HERE.", "I am happy."):
        shown = traced.translate(source, num_iterations=1)
        (wanted,) = translate_texts(traced.runtime, [source])
        assert shown.text == wanted.text
        assert shown.flags == quality_flags(source, wanted)


def test_alternatives_of_a_single_pass_are_what_it_saw(traced):
    trace = traced.translate(SOURCE, num_iterations=1)
    for position, token in enumerate(trace.steps[0].tokens):
        best = traced.alternatives(trace, position)
        assert best[0][0] == token.token_id
        assert best[0][2] == pytest.approx(token.probability, abs=1e-5)
        assert [each[2] for each in best] == sorted((each[2] for each in best), reverse=True)
    with pytest.raises(ValueError, match="no token 99"):
        traced.alternatives(trace, 99)


def test_alternatives_after_several_passes_are_given_the_other_words(traced):
    trace = traced.translate(SOURCE, num_iterations=3)
    config, tokens = traced.model.config, [token.token_id for token in trace.steps[-1].tokens]
    masked = torch.tensor([[config.bos_token_id, *tokens[:1], config.mask_token_id, *tokens[2:], config.eos_token_id]])
    inputs = traced.tokenizer(SOURCE, return_tensors="pt")
    logits = traced.model(**inputs, decoder_input_ids=masked).logits[0, 2].detach()
    logits[traced.model.suppressed_token_ids()] = float("-inf")
    expected = logits.softmax(-1).topk(6)
    found = traced.alternatives(trace, 1)
    assert [each[0] for each in found] == expected.indices.tolist()
    assert [each[2] for each in found] == pytest.approx(expected.values.tolist(), abs=1e-5)


def test_forced_word_stays_in_its_place_through_all_passes(traced):
    viewer = Viewer(traced)
    session, _ = viewer.translate(Settings(SOURCE, passes=3, lengths=2))
    session, parts = viewer.choose(session, "teacher:2")
    assert session.chosen == ("teacher", 2) and "data-force" in parts[2]
    other = traced.alternatives(session.shown["teacher"], 2)[3][0]
    session, parts = viewer.force(session, f"teacher:2:{other}")
    shown = session.shown["teacher"]
    assert shown.forced == {2: other}
    assert all(step.tokens[2].token_id == other and step.tokens[2].state == "forced" for step in shown.steps)
    assert "Forced into its place" in parts[3]
    assert session.shown["student"].forced == {}


@pytest.mark.parametrize("key", ["", "x", "teacher", "teacher:9999", "other:1", "teacher:-1", "teacher:²", "a:b:c"])
def test_keys_that_the_page_did_not_make_change_nothing(traced, key):
    viewer = Viewer(traced)
    session, parts = viewer.translate(Settings(SOURCE, passes=2))
    for handle in (viewer.choose, viewer.force):
        after, _ = handle(session, key)
        assert {name: each.text for name, each in after.shown.items()} == {
            name: each.text for name, each in session.shown.items()
        }


def test_impossible_sentences_are_refused_on_the_page(traced):
    viewer = Viewer(traced)
    for source, message in ((" ", "nothing to translate"), ("a" * 601, "601 characters"), ("a . " * 60, "tokens")):
        session, parts = viewer.translate(Settings(source))
        assert 'role="alert"' in parts[0] and message in parts[0] and session.shown == {}
    _, parts = viewer.translate(Settings(SOURCE, phrases=("the cat " * 30,)))
    assert 'role="alert"' in parts[0]


def test_texts_are_escaped(traced):
    trace = traced.translate(SOURCE, num_iterations=1)
    bad = '<img src=x onerror="x">'
    token = dataclasses.replace(trace.steps[0].tokens[0], text=bad)
    step = dataclasses.replace(trace.steps[0], tokens=[token])
    trace = dataclasses.replace(trace, text=bad, steps=[step])
    page = render_translation("student", bad, trace)
    assert "<img" not in page and page.count("&lt;img") >= 3


def test_models_of_another_kind_are_refused(tmp_path, echo_model, word_tokenizer):
    from transformers import MarianConfig, MarianMTModel

    sizes = {"vocab_size": 60, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
    config = MarianConfig(**sizes, encoder_attention_heads=2, decoder_attention_heads=2, decoder_start_token_id=1)
    config.update({"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "bos_token_id": word_tokenizer.bos_token_id})
    config.update({"pad_token_id": word_tokenizer.pad_token_id, "eos_token_id": word_tokenizer.eos_token_id})
    MarianMTModel(config).save_pretrained(tmp_path)
    from dims_hf.data import save_tokenizer

    save_tokenizer(word_tokenizer, tmp_path)
    with pytest.raises(ValueError, match="shows no passes"):
        TracedModel(str(tmp_path))


def test_tags_with_another_host_are_taken_out_and_others_stay():
    page = (
        '<link rel="preconnect" href="https://fonts.googleapis.com" /><link rel="stylesheet" href="./a.css">'
        '<script src="https://cdnjs.example/x.js" async></script><script>var a = "https://b.c/"</script>'
        '<meta property="og:image"\n content="https://raw.example/i.jpg" /><meta name="viewport" content="width=9">'
        "<img src='//x.y/z.png'><img src=\"data:image/png;base64,AA\">"
    )
    assert without_outside_hosts(page) == (
        '<link rel="stylesheet" href="./a.css"><script>var a = "https://b.c/"</script>'
        '<meta name="viewport" content="width=9"><img src="data:image/png;base64,AA">'
    )


def test_only_pages_are_rewritten_and_all_answers_carry_the_policy():
    async def application(scope, receive, send):
        kind = scope["kind"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for part, more in ((b'<link href="ht', True), (b'tps://a.b/c">x', False)):
            await send({"type": "http.response.body", "body": part, "more_body": more})

    async def ask(kind: bytes) -> list[dict]:
        sent: list[dict] = []

        async def send(message):
            sent.append(message)

        await OwnHostOnly(application)({"type": "http", "kind": kind}, None, send)
        return sent

    page = asyncio.run(ask(b"text/html; charset=utf-8"))
    assert [message.get("body") for message in page] == [None, b"x"]
    assert (b"content-length", b"1") in page[0]["headers"]
    script = asyncio.run(ask(b"text/javascript"))
    assert [message.get("body") for message in script] == [None, b'<link href="ht', b'tps://a.b/c">x']
    assert all(b"content-security-policy" in dict(answer[0]["headers"]) for answer in (page, script))

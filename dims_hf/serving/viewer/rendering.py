# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""HTML of the page's moving parts. Every text that comes from a person or a model is escaped here."""

from __future__ import annotations

from html import escape

from dims_hf.serving.viewer.tracing import TracedToken, TracedTranslation


_FLAGS = {
    "empty": "nothing was written",
    "repeats": "a word comes again and again",
    "length": "far shorter or longer than the sentence",
    "copied": "mostly words of the sentence",
}

LEGEND = (
    '<p class="legend"><span class="tok revealed">revealed</span> by this pass '
    '<span class="tok kept">kept</span> from an earlier one '
    '<span class="tok re-masked">re-masked</span> predicted, and to be predicted again '
    '<span class="tok forced">forced</span> by you. The bar is the confidence. '
    "Press a word of the last pass to see what else could stand there.</p>"
)

STYLES = """
.trace {font-size: 1rem; overflow-wrap: anywhere}
.trace h3 {margin: 0 0 .3rem; font-size: 1.05rem}
.trace .step {margin: .45rem 0; line-height: 2.2}
.trace .label {display: block; font-size: .8rem; line-height: 1.2; opacity: .75}
.trace .result {font-size: 1.15rem; margin: .6rem 0 .2rem; font-weight: 600}
.trace .note {font-size: .85rem; opacity: .85; margin: .1rem 0}
.trace .warn {color: #b00020; font-weight: 600}
.dark .trace .warn {color: #ff8a9a}
.tok {display: inline-block; padding: 0 .25em; margin: 0 0 0 .2em; border-radius: .3em; border: 1px solid #8888;
  font: inherit; line-height: 1.5; color: inherit; background: none; position: relative}
.tok.glued {margin-left: 0}
button.tok {cursor: pointer}
button.tok:focus-visible, .choice:focus-visible {outline: 3px solid #0072b2; outline-offset: 1px}
.tok.revealed {background: #0072b233}
.tok.kept {background: #8883}
.tok.re-masked {background: repeating-linear-gradient(45deg, #d55e0033 0 6px, transparent 6px 12px);
  border-style: dashed}
.tok.forced {background: #009e7344; border-color: #009e73}
.tok .bar {position: absolute; left: 0; bottom: 0; height: 3px; background: #0072b2; border-radius: 2px}
.tok.chosen {border-color: #0072b2; border-width: 2px}
.trace .lengths {margin: .2rem 0; padding-left: 1.4rem; font-size: .9rem}
.trace .lengths li {margin: .25rem 0}
.choice {font: inherit; color: inherit; background: none; border: 1px solid #8888; border-radius: .4em;
  padding: .3em .6em; margin: .2em .3em .2em 0; cursor: pointer}
.legend {font-size: .85rem; line-height: 2}
"""


def render_translation(name: str, title: str, translation: TracedTranslation, chosen: int | None = None) -> str:
    """
    All passes of a translation, the result, and the lengths that were tried.

    Args:
        name (`str`): by which the page tells its systems apart.
        title (`str`): heading.
        translation ([`TracedTranslation`]): what is shown.
        chosen (`int`, *optional*): position of the word whose alternatives are shown.
    """
    steps = []
    for number, step in enumerate(translation.steps, start=1):
        is_last = number == len(translation.steps)
        tokens = "".join(
            _token(token, f"{name}:{position}" if is_last else None, is_last and position == chosen)
            for position, token in enumerate(step.tokens)
        )
        cost = f"{1000 * step.seconds:.1f} ms" if step.seconds else "nothing left to do"
        with_encoder = ", encoder included" if number == 1 else ""
        steps.append(
            f'<div class="step"><span class="label">pass {number} · {cost}{with_encoder}</span>{tokens}</div>'
        )
    total = 1000 * sum(step.seconds for step in translation.steps)
    warnings = "; ".join(_FLAGS[flag] for flag in translation.flags)
    return (
        f'<section class="trace" data-system="{escape(name)}" aria-label="{escape(title)}"><h3>{escape(title)}</h3>'
        f'{"".join(steps)}<p class="result" lang="">{escape(translation.text) or "(nothing)"}</p>'
        f'<p class="note">confidence {translation.confidence:.0%} · {total:.1f} ms</p>'
        + (f'<p class="note warn">Looks wrong: {warnings}.</p>' if warnings else "")
        + _lengths(translation)
        + "</section>"
    )


def render_alternatives(
    name: str, title: str, position: int, current: TracedToken, alternatives: list[tuple[int, str, float]]
) -> str:
    """Buttons for what else could stand at a position; pressing one forces it there."""
    buttons = "".join(
        f'<button type="button" class="choice" data-force="{escape(name)}:{position}:{token_id}">'
        f"{escape(text)} <small>{probability:.1%}</small></button>"
        for token_id, text, probability in alternatives
    )
    return (
        f'<section class="trace" aria-live="polite"><h3>Instead of “{escape(current.text)}” '
        f'({escape(title)})</h3>{buttons}<p class="note">Press one to force it there and translate again.</p>'
        "</section>"
    )


def render_forced(pins: list[tuple[str, str]]) -> str:
    """What is forced now: pairs of system and word."""
    if not pins:
        return ""
    listed = ", ".join(f"“{escape(word)}” ({escape(title)})" for title, word in pins)
    return f'<section class="trace"><p class="note">Forced into its place: {listed}.</p></section>'


def render_error(message: str) -> str:
    """A refusal, where the translation would be."""
    return f'<section class="trace" role="alert"><p class="note warn">{escape(message)}</p></section>'


def _token(token: TracedToken, key: str | None, is_chosen: bool) -> str:
    classes = f"tok {token.state}{'' if token.starts_word else ' glued'}{' chosen' if is_chosen else ''}"
    width = f"{100 * token.probability:.0f}"
    title = f"{token.state}, confidence {width} %"
    bar = f'<span class="bar" style="width: {width}%"></span>'
    if key is None:
        return f'<span class="{classes}" title="{title}">{escape(token.text)}{bar}</span>'
    return (
        f'<button type="button" class="{classes}" title="{title}" aria-label="{escape(token.text)}, {title}" '
        f'data-token="{escape(key)}">{escape(token.text)}{bar}</button>'
    )


def _lengths(translation: TracedTranslation) -> str:
    rows = [candidate for candidate in translation.candidates if candidate.probability is not None]
    if not rows:
        return ""
    listed = "".join(
        f'<li><span class="label">length {row.length} · predicted at {row.probability:.0%} · score {row.score:.2f}'
        f"</span>{escape(row.text)}</li>"
        for row in rows
    )
    return f'<p class="note">Lengths that were tried, best first:</p><ol class="lengths">{listed}</ol>'

# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The Gradio page: its parts, what they do, and the application around it, which asks no other host for anything."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dims_hf.serving.viewer.examples import FAILURES, WELL
from dims_hf.serving.viewer.hosts import OwnHostOnly
from dims_hf.serving.viewer.rendering import (
    LEGEND,
    STYLES,
    render_alternatives,
    render_error,
    render_forced,
    render_translation,
)
from dims_hf.serving.viewer.tracing import MOST_CHARACTERS, TracedModel, TracedTranslation


# Before Gradio is imported: it would otherwise ask its makers for a newer version.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

MOST_PASSES, MOST_LENGTHS = 10, 7

# A click on a word or on an alternative, or Enter on it, as an event with the value of its attribute.
_ON_CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-token], [data-force]');
  if (button) trigger('click', {key: button.dataset.token || button.dataset.force});
});
"""


@dataclass(frozen=True)
class Settings:
    """
    What the controls say.

    Args:
        source (`str`): the sentence.
        passes (`int`): decoder passes of the left side.
        lengths (`int`): length candidates of both.
        phrases (`tuple[str, ...]`): words that both translations must have.
    """

    source: str = ""
    passes: int = 4
    lengths: int = 3
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Session:
    """
    What one visitor sees.

    Args:
        settings ([`Settings`]): of the translations.
        shown (`dict[str, TracedTranslation]`): system -> its translation.
        chosen (`tuple[str, int]`, *optional*): the word whose alternatives are shown.
    """

    settings: Settings = field(default_factory=Settings)
    shown: dict[str, TracedTranslation] = field(default_factory=dict)
    chosen: tuple[str, int] | None = None


class Viewer:
    """
    What the page does, without the page: handlers from a session to a session and the HTML of its parts.

    Args:
        student ([`TracedModel`]): right side, with the passes it was made for.
        teacher ([`TracedModel`], *optional*): left side, with as many passes as asked for; default: the same model.
    """

    def __init__(self, student: TracedModel, teacher: TracedModel | None = None) -> None:
        self.models = {"teacher": teacher or student, "student": student}

    def passes(self, system: str, settings: Settings) -> int:
        """Decoder passes of a side."""
        return settings.passes if system == "teacher" else self.models["student"].default_iterations

    def title(self, system: str, settings: Settings) -> str:
        """Heading of a side."""
        count = self.passes(system, settings)
        return f"{self.models[system].name}, {count} pass{'es' * (count > 1)}"

    def translate(self, settings: Settings) -> tuple[Session, list[str]]:
        """Translates with both sides, nothing forced into a place; the HTML of both, of alternatives and pins."""
        try:
            shown = {system: self._run(system, settings) for system in self.models}
        except ValueError as error:
            return Session(settings), [render_error(str(error)), "", "", ""]
        session = Session(settings, shown)
        return session, self.render(session)

    def choose(self, session: Session, key: str) -> tuple[Session, list[str]]:
        """Shows what else could stand in the place of a word: `key` is `system:position`."""
        system, position = _read_key(key, 2)
        if system not in session.shown or not 0 <= position < session.shown[system].length:
            return session, self.render(session)
        session = replace(session, chosen=(system, position))
        return session, self.render(session)

    def force(self, session: Session, key: str) -> tuple[Session, list[str]]:
        """Forces a token into its place and translates that side again: `key` is `system:position:token`."""
        system, position, token_id = _read_key(key, 3)
        if system not in session.shown:
            return session, self.render(session)
        before = session.shown[system]
        forced = {**before.forced, position: token_id}
        # Words that must be somewhere and words in their places exclude each other.
        settings = replace(session.settings, phrases=())
        try:
            after = self._run(system, settings, forced=forced, length=before.length)
        except ValueError as error:
            return session, [*self.render(session)[:2], render_error(str(error)), ""]
        session = Session(settings, {**session.shown, system: after}, (system, position))
        return session, self.render(session)

    def render(self, session: Session) -> list[str]:
        """HTML of both sides, of the alternatives and of what is forced."""
        chosen = session.chosen
        sides = []
        for system, translation in session.shown.items():
            position = chosen[1] if chosen and chosen[0] == system else None
            sides.append(render_translation(system, self.title(system, session.settings), translation, position))
        pins = [
            (self.title(system, session.settings), each.steps[-1].tokens[position].text)
            for system, each in session.shown.items()
            for position in sorted(each.forced)
        ]
        return [*sides, self._alternatives(session), render_forced(pins)]

    def _alternatives(self, session: Session) -> str:
        if session.chosen is None:
            return ""
        system, position = session.chosen
        translation, model = session.shown[system], self.models[system]
        try:
            found = model.alternatives(translation, position)
        except ValueError as error:
            return render_error(str(error))
        current = translation.steps[-1].tokens[position]
        return render_alternatives(system, self.title(system, session.settings), position, current, found)

    def _run(self, system: str, settings: Settings, **pins: Any) -> TracedTranslation:
        model = self.models[system]
        return model.translate(
            settings.source,
            num_iterations=self.passes(system, settings),
            num_lengths=settings.lengths,
            phrases=settings.phrases,
            **pins,
        )


def create_viewer(student: TracedModel, teacher: TracedModel | None = None, *, host: str, port: int) -> Any:
    """
    The application: the page at `/`, and the models' cards.

    Args:
        student, teacher ([`TracedModel`]): as for [`Viewer`].
        host, port: where it will listen, which Gradio wants to know.

    Returns:
        `Callable`: an ASGI application.
    """
    import gradio as gr
    from fastapi import FastAPI

    viewer = Viewer(student, teacher)
    app = FastAPI(title="dims_hf viewer", docs_url=None, redoc_url=None, openapi_url=None)
    _add_cards(app, viewer)
    page = build_page(viewer)
    page.queue(default_concurrency_limit=1, max_size=64)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=host,
        server_port=port,
        footer_links=[],
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        max_file_size=1024,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css=STYLES,
    )
    return OwnHostOnly(app)


def build_page(viewer: Viewer) -> gr.Blocks:
    """The page's parts and what happens when they are used."""
    import gradio as gr

    with gr.Blocks(title="Translation in one pass", analytics_enabled=False) as page:
        gr.Markdown(f"# Translation in one decoder pass\n\n{_describe(viewer)}")
        session = gr.State(Session())
        source = gr.Textbox(
            label="Sentence",
            placeholder="Type a sentence and press Enter",
            max_length=MOST_CHARACTERS,
            elem_id="source",
        )
        with gr.Row():
            passes = gr.Slider(1, MOST_PASSES, value=4, step=1, label="Passes of the left side", elem_id="passes")
            lengths = gr.Slider(
                1,
                MOST_LENGTHS,
                value=3,
                step=1,
                label="Lengths that are tried",
                elem_id="lengths",
                visible=any(model.predicts_length for model in viewer.models.values()),
            )
        words = gr.Textbox(
            label="Words it must have, separated by commas",
            max_length=200,
            elem_id="words",
            # models that write alignments cannot be given any
            visible=all(model.predicts_length for model in viewer.models.values()),
        )
        with gr.Row():
            go = gr.Button("Translate", variant="primary", elem_id="translate")
            clear = gr.Button("Clear forced words", elem_id="clear")
        with gr.Row():
            sides = [_side(name) for name in viewer.models]
        alternatives = gr.HTML(elem_id="alternatives", js_on_load=_ON_CLICK)
        forced = gr.HTML(elem_id="forced")
        gr.HTML(LEGEND)
        outputs = [session, *sides, alternatives, forced]
        controls = [source, passes, lengths, words]
        translate = _translate_with(viewer)
        for starts in (source.submit, words.submit, go.click, clear.click):
            starts(translate, controls, outputs, **_EVENT)
        for side in sides:
            side.click(_with_event(viewer.choose), [session], outputs, **_EVENT)
        alternatives.click(_with_event(viewer.force), [session], outputs, **_EVENT)
        _add_examples(source, controls, outputs, translate)
    return page


# One translation at a time; none of it is an interface for programs, which `dims-hf serve` is.
_EVENT: dict[str, Any] = {"concurrency_id": "model", "show_progress": "hidden", "api_visibility": "private"}


def _side(name: str) -> gr.HTML:
    import gradio as gr

    with gr.Column(min_width=300):
        return gr.HTML(elem_id=name, js_on_load=_ON_CLICK)


def _add_examples(source: gr.Textbox, controls: list, outputs: list, translate: Callable[..., list]) -> None:
    import gradio as gr

    labels = [f"{what}: {text}" for what, text in FAILURES]
    for label, texts, shown in (
        ("Sentences to begin with", list(WELL), None),
        ("Sentences that small one-pass models fail at", [text for _, text in FAILURES], labels),
    ):
        dataset = gr.Dataset(
            components=[source], samples=[[text] for text in texts], sample_labels=shown, label=label, type="values"
        )
        dataset.click(lambda sample: sample[0], [dataset], [source], api_visibility="private").then(
            translate, controls, outputs, **_EVENT
        )


def _translate_with(viewer: Viewer) -> Callable[..., list]:
    def translate(source: str, passes: float, lengths: float, words: str) -> list:
        phrases = tuple(word.strip() for word in (words or "").split(",") if word.strip())
        settings = Settings(
            source or "",
            min(MOST_PASSES, max(1, int(passes))),
            min(MOST_LENGTHS, max(1, int(lengths))),
            phrases,
        )
        session, parts = viewer.translate(settings)
        return [session, *parts]

    return translate


def _with_event(handle: Callable[[Session, str], tuple[Session, list[str]]]) -> Callable[..., list]:
    import gradio as gr

    def on_click(session: Session, event: gr.EventData) -> list:
        after, parts = handle(session, str(getattr(event, "key", "")))
        return [after, *(parts if after.shown else [gr.skip()] * 4)]

    # Gradio finds the event by the annotation, which must be the class itself.
    on_click.__annotations__["event"] = gr.EventData
    return on_click


def _describe(viewer: Viewer) -> str:
    names = dict.fromkeys(model.name for model in viewer.models.values())
    cards = [f"[{name}](card/{system})" for system, name in _cards(viewer).items()]
    text = (
        "A non-autoregressive model writes all words at once; further passes predict the least certain ones again. "
        "Left: several passes. Right: the passes that the model was distilled for."
    )
    return f"{text} Models: {', '.join(cards or names)}."


# ---- cards -------------------------------------------------------------------------------------------------------


def _cards(viewer: Viewer) -> dict[str, str]:
    """System -> name, of the models that have a card, each once."""
    found: dict[str, str] = {}
    for system, model in viewer.models.items():
        if (model.folder / "README.md").is_file() and model.name not in found.values():
            found[system] = model.name
    return found


def _add_cards(app: FastAPI, viewer: Viewer) -> None:
    from fastapi.responses import HTMLResponse, Response

    for system in _cards(viewer):
        folder = viewer.models[system].folder
        pages: dict[str, Response] = {
            "": HTMLResponse(_card_page(system, (folder / "README.md").read_text(encoding="utf-8")))
        }
        for figure in folder.glob("*.png"):
            pages[f"/{figure.name}"] = Response(figure.read_bytes(), media_type="image/png")
        for path, answer in pages.items():
            app.get(f"/card/{system}{path}")(lambda answer=answer: answer)
    # the figures of a card lie beside it
    app.router.redirect_slashes = False


def _card_page(system: str, card: str) -> str:
    """A model card as a page at `card/SYSTEM`, whose figures are at `card/SYSTEM/NAME.png`."""
    from markdown_it import MarkdownIt

    text = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = re.sub(r'src="(?![a-z]+:)(?:\./)?', f'src="{system}/', body)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{system}</title><style>{_CARD_STYLES}</style><p><a href="../">back</a></p>{body}</html>'
    )


_CARD_STYLES = """
body {font-family: system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.5}
img, pre, table {max-width: 100%; overflow-x: auto; display: block}
td, th {padding: .2rem .6rem; text-align: left}
"""


def _read_key(key: str, size: int) -> tuple[Any, ...]:
    """`name:number…` as values; a key that the page did not make names nothing."""
    parts = key.split(":")
    if len(parts) != size or not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts[1:]):
        return ("", *[-1] * (size - 1))
    return (parts[0], *map(int, parts[1:]))

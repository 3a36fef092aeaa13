"""The mounter that brings saved anywidgets alive in a page without a kernel."""

import base64
import json
import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOUNTER = ROOT / "book" / "assets" / "static-widgets.js"

ESM = """
globalThis.imported = (globalThis.imported ?? 0) + 1;
export default {
  initialize({ model }) { model.set("starts", model.get("starts") + 1); },
  render({ model, el }) {
    const button = document.createElement("button");
    const show = () => {
      const bytes = model.get("data");
      button.textContent = `${model.get("n")} ${bytes.getFloat32(4, true)} ` +
        `${bytes.constructor.name} starts ${model.get("starts")}`;
    };
    button.onclick = () => {
      model.set("n", model.get("n") + 1);
      model.save_changes();
    };
    model.on("change:n", show);
    show();
    el.append(button);
  },
};"""


def saved(esm: str, **state) -> dict:
    return {
        "model_module": "anywidget",
        "state": {"_esm": esm, "_anywidget_id": "test.W", **state},
    }


@pytest.fixture
def page(tmp_path, page_factory):
    data = base64.b64encode(struct.pack("<2f", 1.0, 2.5)).decode()
    good = saved(ESM, _css="button {color: rgb(1, 2, 3)}", n=3, starts=0, data=None)
    good["buffers"] = [{"path": ["data"], "data": data, "encoding": "base64"}]
    bad = saved("export default {render() { throw new Error('broken on purpose') }}")
    state = {"state": {"good": good, "bad": bad, "twin": good}}
    kind = "application/vnd.jupyter.widget"
    views = "".join(
        f'<script type="{kind}-view+json">{json.dumps({"model_id": name})}</script>'
        for name in ("bad", "good", "good", "twin")
    )
    text = f'{views}<script type="{kind}-state+json">{json.dumps(state)}</script>'
    file = tmp_path / "page.html"
    file.write_text(
        f"<!doctype html><body>{text}<script>{MOUNTER.read_text()}</script>"
    )
    tab = page_factory(file.as_uri())
    tab.wait_for_selector("button >> nth=2")
    return tab


@pytest.mark.browser
def test_views_share_one_model(page):
    first, second, twin = page.query_selector_all("button")
    assert first.text_content() == "3 2.5 DataView starts 1"
    first.click()
    assert second.text_content() == "4 2.5 DataView starts 1"
    second.click()
    assert first.text_content() == second.text_content() == "5 2.5 DataView starts 1"
    assert twin.text_content() == "3 2.5 DataView starts 1"


@pytest.mark.browser
def test_models_share_one_script(page):
    assert page.evaluate("imported") == 1


@pytest.mark.browser
def test_style_is_applied(page):
    colour = page.evaluate("getComputedStyle(document.querySelector('button')).color")
    assert colour == "rgb(1, 2, 3)"


@pytest.mark.browser
def test_a_broken_widget_is_named_and_spares_the_others(page):
    assert any("broken on purpose" in error for error in page.errors)
    text = page.text_content(".static-widget >> nth=0")
    assert "could not start" in text
    assert page.external == []

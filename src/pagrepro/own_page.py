"""The measurements of a model of one's own as one HTML page that needs no network and no scripts."""

import base64
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import numpy as np

# Images shown with their gradients, and runs' values beside the model's.
SHOWN, COLUMNS = 8, 8

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2rem }
h3 { font-size: 1rem; margin: 1.6rem 0 .2rem } p { margin: .3rem 0 } small, .about { color: #555 }
table { border-collapse: collapse; margin: .4rem 0 } .wide { overflow-x: auto }
td, th { padding: .15rem .7rem .15rem 0; text-align: left; vertical-align: top }
td, th { border-bottom: 1px solid #ddd }
td.n { font-variant-numeric: tabular-nums; text-align: right }
.flag { border-left: 4px solid #999; padding: .2rem .7rem; margin: .3rem 0 }
.warning { border-color: #d55e00 } .ok { border-color: #009e73 }
img { max-width: 100% } code { font-size: .92em }
"""


def page(content: Mapping[str, Any], pictures: Mapping[str, np.ndarray]) -> str:
    """HTML of what `own_measure.measure` returns; pictures: arrays of a measurement with images, or
    nothing."""
    # Of a path, the end: where somebody keeps their files is nobody's business.
    given = content["model"].get("given", "a model").rpartition("/")[2]
    title = f"{given} on {content['dataset']['label']}"
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>", *_facts(content), *_flags(content["flags"]), *_summary(content),
            *_pictures(content, pictures), "<h2>Measurements</h2>", *_measured(content),
            *_not_measured(content),
        ]
    )  # fmt: skip
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html>\n<html lang='en'><head>{head}</head>\n<body>\n{body}\n</body></html>\n"


def number(value: float | None) -> str:
    """Four digits; a dash for what is no number."""
    return "–" if value is None else f"{value:.4g}"


def _facts(content: Mapping[str, Any]) -> Iterator[str]:
    model, data, made = content["model"], content["dataset"], content["provenance"]
    settings = content["settings"]
    rows = {
        "model": f"{model.get('class')}, {model.get('parameters', 0):,} parameters,"
        f" sha256 of its state {model.get('state_sha256', '')[:16]}",
        "data": f"{data['label']}: examples of shape {'x'.join(map(str, data['shape']))},"
        f" {data['classes']} classes",
        "settings": f"those of the paper files at tier {settings['tier']}"
        + (f"; the first {settings['examples']} examples of each split" if settings["examples"] else "")
        + (f"; seed {settings['seed']}" if settings["seed"] is not None else ""),
        "made": f"{made['finished']}, {made['wall_s']:.0f} s on {made['device']['name']},"
        f" torch {made['versions'].get('torch')}, commit {made['git']['commit']}",
    }
    if file := model.get("file_sha256"):
        rows["file"] = f"{model['file']}, sha256 {file[:16]}"
    cells = "".join(f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())
    yield f"<table>{cells}</table>"


def _flags(flags: list[dict[str, str]]) -> Iterator[str]:
    yield "<h2>Health</h2>"
    for flag in sorted(flags, key=lambda flag: flag["level"] != "warning"):
        level = escape(flag["level"])
        text = f"<b>{escape(flag['name'])}</b> ({level}): {escape(flag['message'])}"
        yield f"<div class='flag {level.replace(' ', '-')}'>{text}</div>"
    if not any(flag["level"] == "warning" for flag in flags):
        yield "<p>No warning. Looked at: the outputs, one answer for one input, gradients, the range.</p>"


def _summary(content: Mapping[str, Any]) -> Iterator[str]:
    """One line per measurement: its first value, with a link to the rest."""
    heads = "".join(f"<th>{head}</th>" for head in ("measurement", "what", "ball", "value", ""))
    yield f"<h2>In short</h2><table><tr>{heads}</tr>"
    for place, (name, entry) in enumerate(content["measurements"].items()):
        if entry["status"] == "measured":
            key, value = next(iter(entry["values"].items()), ("", None))
            link = f"<a href='#m{place}'>{escape(name)}</a>"
            yield (
                f"<tr><td>{link}</td><td>{escape(entry['what'])}</td><td>{escape(_ball(entry))}</td>"
                f"<td>{escape(key)}</td><td class='n'>{number(value)}</td></tr>"
            )
    yield "</table>"


def _ball(entry: Mapping[str, Any]) -> str:
    """Norm and budget of a measurement with an attack."""
    attack = entry["options"].get("attack") or entry["options"]
    eps = attack.get("eps")
    return f"{attack['norm']} {eps:.4g}" if eps and "norm" in attack else ""


def _measured(content: Mapping[str, Any]) -> Iterator[str]:
    for place, (name, entry) in enumerate(content["measurements"].items()):
        if entry["status"] != "measured":
            continue
        yield f"<h3 id='m{place}'>{escape(name)}</h3><p>{escape(entry['what'])}</p>"
        if entry["source"] != entry["what"]:
            yield f"<p class='about'>{escape(entry['source'])}</p>"
        given = ", ".join(f"{k}: {_shown(v)}" for k, v in entry["options"].items())
        also = f"; the same as {', '.join(entry['also'])}" if entry["also"] else ""
        yield (
            f"<p><small><code>{escape(entry['plugin'])}</code> on split {escape(entry['split'])}, seed"
            f" {entry['seed']}{escape(f', {given}' if given else '')}{escape(also)}</small></p>"
        )
        yield from (f"<div class='flag warning'>{escape(flag)}</div>" for flag in entry["flags"])
        yield from (f"<p>Without {escape(role)}: {escape(why)}</p>" for role, why in entry["without"].items())
        yield from _values(entry)


def _shown(value: Any) -> str:
    """An option as text: those of an attack as `pgd (norm linf, eps 0.15, ...)`, unset ones left out."""
    if isinstance(value, Mapping):
        rest = (f"{k} {_shown(v)}" for k, v in value.items() if k != "name" and v is not None)
        return f"{value.get('name', '')} ({', '.join(rest)})"
    if isinstance(value, (list, tuple)):
        return " ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(entry: Mapping[str, Any]) -> Iterator[str]:
    cells = "".join(
        f"<tr><td>{escape(k)}</td><td class='n'>{number(v)}</td></tr>" for k, v in entry["values"].items()
    )
    yield f"<table>{cells}</table><p class='about'><small>{escape(entry['values_are'])}</small></p>"
    if runs := entry.get("runs"):
        names = list(entry["values"])[:COLUMNS]
        heads = "".join(f"<th>{escape(name)}</th>" for name in ("runs of the papers", "number", *names))
        rows = [("this model", "", entry["values"]), *((r["group"], r["runs"], r["values"]) for r in runs)]
        lines = "".join(
            f"<tr><td>{escape(group)}</td><td class='n'>{count}</td>"
            + "".join(f"<td class='n'>{number(values.get(name))}</td>" for name in names) + "</tr>"
            for group, count, values in rows
        )  # fmt: skip
        yield (
            "<details><summary>beside the runs of the papers, measured alike (means)</summary>"
            f"<div class='wide'><table><tr>{heads}</tr>{lines}</table></div></details>"
        )


def _not_measured(content: Mapping[str, Any]) -> Iterator[str]:
    rows = [(name, entry) for name, entry in content["measurements"].items() if entry["status"] != "measured"]
    if rows:
        yield "<h2>Not measured</h2><table><tr><th>measurement</th><th>what</th><th>why</th></tr>"
        for name, entry in rows:
            why = f"{entry['status']}: " if entry["status"] == "failed" else ""
            yield (
                f"<tr><td>{escape(name)}</td><td>{escape(entry['what'])}</td>"
                f"<td>{escape(why + str(entry['reason']))}</td></tr>"
            )
        yield "</table>"


def _pictures(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Images above their input gradients."""
    gradients = arrays.get("gradients", arrays.get("loss_gradients"))
    if gradients is None or gradients.ndim != 4:
        return
    from pagrepro import page_maps  # which loads matplotlib

    low, high = content["dataset"]["low"], content["dataset"]["high"]
    rows = [
        page_maps.images_row("images", arrays["images"][:SHOWN], low, high),
        page_maps.maps_row("input gradients", gradients[:SHOWN]),
    ]
    data = base64.b64encode(page_maps.sheet(rows)).decode()
    yield "<h2>Input gradients</h2>"
    yield f"<img alt='images above their input gradients' src='data:image/png;base64,{data}'>"
    yield "<p class='about'>Images above their input gradients, each by a scale of its own.</p>"

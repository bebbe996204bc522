"""Make the page of a tier, `index.html`, from what is finished; open it in a browser, offline."""

import argparse
import json
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from pagrepro import configuration, expand, page, script
from pagrepro.layout import Layout

TEMPLATE = Path(__file__).parents[1] / "page"


def main(config: dict[str, Any], results: Path | None) -> None:
    expansion = expand.expand(config)
    layout = Layout(results or Path("results") / expansion.tier)
    content = page.write(expansion, layout, TEMPLATE, get_plotlyjs())
    runs, pictures = content["runs"], [run for run in content["runs"] if run["image"]]
    size = layout.page().stat().st_size / 1e6
    print(f"{layout.page()}: {size:.1f} MB, {len(runs)} of {content['asked']} runs")
    print(f"{len(pictures)} with gradient maps, {len(content['claims'])} claims")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=json.loads, help="Snakemake's config, as JSON")
    which.add_argument("--tier", help="a tier, with config/config.yaml as it is")
    parser.add_argument("--results", type=Path, help="folder of the tier's results (default: results/<tier>)")
    args = parser.parse_args()
    with script.main():
        main(args.config or configuration.of_tier(args.tier), args.results)

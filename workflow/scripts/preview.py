"""Draw every artifact from what is finished so far into results/<tier>/preview; start nothing."""

import argparse
import json
from pathlib import Path

from pagrepro import expand, preview, script
from pagrepro.errors import UserError
from pagrepro.layout import Layout

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=json.loads, help="Snakemake's config, as JSON")
    args = parser.parse_args()
    with script.main():
        expansion = expand.expand(args.config)
        drawn = preview.draw_all(expansion, Layout(Path("results") / expansion.tier))
        print(preview.summary(drawn), flush=True)
        if failed := [f"{item.paper} {item.name}" for item in drawn if item.error]:
            raise UserError(f"could not be drawn, see above: {', '.join(failed)}")

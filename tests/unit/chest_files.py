"""A tiny made-up collection of chest X-rays: images by formula, and a manifest of them."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = (
    "image_path", "patient_id", "study_id", "view", "fev1_fvc", "days_cxr_pft", "lung_transplant", "split",
)  # fmt: skip
PARTS = ("train", "val", "test")


def pixels(number: int, height: int = 18, width: int = 22) -> np.ndarray:
    """(height, width) integers in 0..65535: a bright field with a darker ellipse, whose size depends on
    `number`, and a pattern of stripes on it."""
    row, column = np.mgrid[:height, :width]
    distance = ((row - height / 2) / height) ** 2 + ((column - width / 2) / width) ** 2
    values = 40000 + 700 * ((3 * row + 5 * column + number) % 13)
    return np.where(distance < 0.05 + 0.01 * (number % 7), values - 20000, values)


def png(values: np.ndarray, bits: int = 16) -> bytes:
    """A grey PNG; 8 bits keep the higher byte."""
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint16) if bits == 16 else (values >> 8).astype(np.uint8)).save(
        file, "PNG"
    )
    return file.getvalue()


def manifest_rows() -> list[dict[str, str]]:
    """Three patients with two studies each in every part, one of the two obstructed."""
    rows = []
    for part in PARTS:
        for patient in range(3):
            for study in range(2):
                name = f"{part}{patient}_{study}"
                values = (
                    f"images/{name}.png", f"{part}{patient}", name, "PA", "0.55" if study else "0.81",
                    str(7 * patient - 5), "0", part,
                )  # fmt: skip
                rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def write(folder: Path, rows: list[dict[str, str]], without: tuple[str, ...] = ()) -> dict[str, Path]:
    """Files by role. Every path of `rows` has an image, of 16 or 8 bits. `without`: columns left out."""
    root = folder / "pictures"
    for number, path in enumerate(dict.fromkeys(row["image_path"] for row in rows)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(png(pixels(number), 8 if number % 2 else 16))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [c for c in COLUMNS if c not in without], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return {"manifest": folder / "manifest.csv", "images": root}

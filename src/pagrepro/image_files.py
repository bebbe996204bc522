"""Images that stay in their files: a data set that is too large to be held as one tensor.

ImageNet's training images (Russakovsky et al., 2015) are 193 GB at 224x224. An `ImageFiles` stands in the
place of a part's tensor: it knows the files, has a length and a shape, is indexed by rows, and is decoded
when it is asked to.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pagrepro.errors import DataError

REVISION = 1


@dataclass(frozen=True)
class ImageFiles:
    """Colour images `root / name`; decoded, their shorter side has `resize` pixels (bicubic), and the middle
    square of `crop` pixels is kept."""

    root: Path
    names: tuple[str, ...]
    resize: int
    crop: int

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Tensor) -> "ImageFiles":
        """Those of some rows (n,) int64."""
        return replace(self, names=tuple(self.names[row] for row in rows.tolist()))

    @property
    def shape(self) -> torch.Size:
        """(N, 3, crop, crop), that of the decoded images."""
        return torch.Size((len(self.names), 3, self.crop, self.crop))

    @staticmethod
    def is_floating_point() -> bool:
        """As of a tensor: pixels are uint8."""
        return False

    def image(self, row: int) -> Any:
        """One image as Pillow has it, in colour, at its own size. Raises DataError for an unreadable one."""
        from PIL import Image

        path = self.root / self.names[row]
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path} cannot be read as an image: {error}") from error

    def decoded(self) -> Tensor:
        """(N, 3, crop, crop) uint8, all of them."""
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as transforms

        found = torch.empty(self.shape, dtype=torch.uint8)
        for row in range(len(self)):
            image = transforms.resize(self.image(row), self.resize, InterpolationMode.BICUBIC)
            found[row] = transforms.pil_to_tensor(transforms.center_crop(image, self.crop))
        return found

    # --- in a prepared file ------------------------------------------------------------------------

    def stored(self) -> Tensor:
        """As text in a tensor (n,) uint8."""
        lines = [str(self.root), str(self.resize), str(self.crop), *self.names]
        return torch.frombuffer(bytearray("\n".join(lines).encode()), dtype=torch.uint8)

    @classmethod
    def restored(cls, stored: Tensor) -> "ImageFiles":
        """The inverse of what is stored: uint8 bytes (n,) of root, sizes and file names."""
        root, resize, crop, *names = stored.numpy().tobytes().decode().split("\n")
        return cls(Path(root), tuple(names), int(resize), int(crop))

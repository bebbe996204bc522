"""Names of what maps of an image may be, and of how two of them are compared. Torch-free: options hold them.

Srinivas et al. (2023): input gradients (`input_gradients.py`) and their likeness to the score
(`similarity.py`); Rodriguez-Munoz et al. (2024): oriented energy (`oriented_energy.py`).
"""

from typing import Literal

Gradient = Literal[
    "logit_sum", "label_logit", "predicted_logit", "logsumexp", "label_log_probability", "loss"
]
Similarity = Literal["lpips", "lpips_random", "cosine", "ssim"]
Energy = Literal["blurred_root", "gaussian_squared", "sobel_squared"]

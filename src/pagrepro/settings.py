"""What `config/config.yaml`, a profile and a tier file may say. Torch-free.

As in `spec.py`, every class here is one mapping of a YAML file and of its JSON schema.
"""

from typing import Any, Literal

from pydantic import Field

from pagrepro.options import Number, Strict
from pagrepro.spec import Key, Name


class Slurm(Strict):
    """How a site's Slurm is asked for jobs; what is not given, its defaults decide."""

    account: str | None = Field(None, description="account that is charged")
    partition: str | None = Field(None, description="partition of jobs without a GPU")
    gpu_partition: str | None = Field(None, description="partition of jobs with GPUs; else the same")
    gpu_model: str | None = Field(None, description="kind of GPU, as in --gpus=<kind>:1")
    qos: str | None = Field(None, description="quality of service of jobs without a GPU")
    gpu_qos: str | None = Field(None, description="quality of service of jobs with GPUs; else the same")

    def resources(self, gpus: int) -> dict[str, str | int | None]:
        """Resources of a job with so many GPUs, by the names that Snakemake's executor for Slurm reads; None:
        Slurm's default. The processes of one fit find each other on one machine."""
        return {
            "nodes": 1 if gpus > 1 else None,
            "slurm_account": self.account,
            "slurm_partition": (self.gpu_partition if gpus else None) or self.partition,
            "qos": (self.gpu_qos if gpus else None) or self.qos,
            "gpu_model": self.gpu_model if gpus else None,
        }


class Settings(Strict):
    """`config/config.yaml` with what the profile and the command line add."""

    tier: str
    papers: tuple[Key, ...]
    offline_dir: str | None = Field(None, description="files found here by hash are used before any network")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    save_every_s: float = Field(600, description="seconds between two saved states of a fit")
    paths: dict[Name, str] = Field({}, description="user's own files: source -> path")
    slurm: Slurm = Field(Slurm(), description="the site's partitions, account and kind of GPU")

    def machine_json(self) -> str:
        """Choices of the machine, part of no spec; scripts read them (`script.machine`)."""
        return self.model_dump_json(include={"offline_dir", "device", "save_every_s", "paths"})


class PackDeclaration(Strict):
    """Jobs of one stage that share a process: every run (or field) whose group (or name) matches."""

    name: Key
    stage: Literal["train", "field", "evaluate"]
    match: tuple[str, ...] = Field(description="patterns of <paper>.<group>, or of field names")
    size: int = Field(20, ge=1, le=100)
    memory_mb: int = 2000
    minutes: Number = 15
    gpus: int = 0


class Tier(Strict):
    """Sizes, seeds and data of one tier. It cannot hold claims or thresholds: there is no key for them."""

    description: str
    needs: str
    planned_minutes: Number
    planned_cpu_seconds: dict[Key, Number] = {}
    unavailable: tuple[str, ...] = ()
    settings: dict[Key, dict[str, Any]] = {}
    packs: tuple[PackDeclaration, ...] = ()

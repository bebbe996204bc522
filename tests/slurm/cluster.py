"""A private Slurm of several nodes on one machine, from Debian's packages; nothing of it is left behind.

Three nodes, all this machine: gpu1 with four GPUs and gpu2 with two (files that stand for them: Slurm counts
them, nothing computes on them), cpu1 without. No accounting, no cgroups, no systemd. Slurm wants its
configuration in /etc/slurm, so a machine that has a Slurm or munge of its own is left alone; a marker beside
the configuration tells a cluster of ours, which a killed test run may have left, from any other.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

PACKAGES = ("slurm-wlm", "slurm-client", "munge")
DAEMONS = ("slurmctld", "slurmd", "slurmdbd", "munged")
NODES = ("gpu1", "gpu2", "cpu1")
# Heads and jobs of these tests have it in their environment (heads.environment).
MARK = "PAGREPRO_TEST_CLUSTER"
COMMANDS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel")


class Refused(Exception):
    """This machine is not ours to set up a Slurm on; the text says why and what to do."""


class NoPackages(Exception):
    """Debian's package archive cannot be reached."""


# What apt says when it has no network.
UNREACHABLE = ("Could not resolve", "Failed to fetch", "Could not connect", "Unable to locate package")


@dataclass(frozen=True)
class Places:
    """Where a Slurm and a munge keep things. root: "/" but in tests of this file."""

    root: Path = Path("/")

    @property
    def etc(self) -> Path:
        return self.root / "etc/slurm"

    @property
    def marker(self) -> Path:
        return self.etc / "pagrepro-test-cluster.json"

    @property
    def own(self) -> Path:
        """State, logs, sockets and process numbers of our daemons."""
        return self.root / "var/tmp/pagrepro-slurm"

    @property
    def policy(self) -> Path:
        """Keeps Debian from starting daemons while it installs them."""
        return self.root / "usr/sbin/policy-rc.d"

    @property
    def foreign(self) -> list[Path]:
        """What only somebody else's Slurm or munge would have put there."""
        return [
            self.root / "etc/slurm-llnl", self.root / "etc/munge/munge.key", self.root / "etc/default/slurmd",
            self.root / "etc/default/slurmctld", *(self.etc.iterdir() if self.etc.is_dir() else ()),
        ]  # fmt: skip


@dataclass
class Marker:
    """What we have put on the machine, and so may take away again."""

    packages: list[str] = field(default_factory=list)
    policy: bool = False


def running(proc: Path = Path("/proc")) -> list[str]:
    """`name (pid)` of every daemon of a Slurm or munge."""
    found = []
    for path in proc.glob("[0-9]*/comm"):
        try:
            name = path.read_text().strip()
        except OSError:
            continue
        if name in DAEMONS:
            found.append(f"{name} ({path.parent.name})")
    return sorted(found)


def of_others(places: Places, daemons: list[str]) -> list[str]:
    """Every sign of a Slurm or munge that this file has not made."""
    if places.marker.is_file():
        return []
    found = [str(path) for path in places.foreign if path.exists()] + daemons
    elsewhere = os.environ.get("SLURM_CONF")
    return [*found, f"SLURM_CONF={elsewhere}"] if elsewhere else found


def check_ours(places: Places, daemons: list[str]) -> None:
    """Raise Refused on a machine that has a Slurm or munge of somebody else."""
    if found := of_others(places, daemons):
        raise Refused(
            "this machine has a Slurm or munge that these tests did not set up, and they will not touch it.\n"
            f"  found: {', '.join(found)}\n"
            "  to run them: a machine (or container) without one"
        )


def missing_commands() -> list[str]:
    return [name for name in COMMANDS if shutil.which(name) is None]


class Cluster:
    """Set up, start and take away. Only for root."""

    def __init__(self, places: Places = Places()):
        self.places, self.own = places, places.own
        self.marker = Marker()

    def start(self) -> None:
        check_ours(self.places, running())
        if self.places.marker.is_file():
            self.marker = Marker(**json.loads(self.places.marker.read_text()))
            self._end_killed_run()
        self.places.etc.mkdir(parents=True, exist_ok=True)
        self._save_marker()
        if missing_commands():
            self._install()
        self._configure()
        self._start_daemons()

    def stop(self) -> None:
        """Stop every daemon, remove what was installed and written. Fails if a daemon lives on."""
        self._stop_daemons()
        self._remove()
        if left := running():
            raise RuntimeError(f"still running: {', '.join(left)}")

    def _end_killed_run(self) -> None:
        """Nothing of it goes on: its heads would submit, and its state has jobs that wait for the nodes."""
        kill_marked()
        self._stop_daemons()
        kill_marked()
        shutil.rmtree(self.own, ignore_errors=True)

    # --- packages

    def _install(self) -> None:
        if os.environ.get("ALLOW_INSTALL") != "1":
            raise Refused(
                f"{', '.join(missing_commands())}: not installed. ALLOW_INSTALL=1 lets these tests install"
                f" {', '.join(PACKAGES)} from Debian and remove them afterwards"
            )
        if not self.places.policy.exists():
            self.places.policy.write_text("#!/bin/sh\nexit 101\n")
            self.places.policy.chmod(0o755)
            self.marker.policy = True
            self._save_marker()
        before = _installed()
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], env=environment, stdout=subprocess.DEVNULL)
        try:
            _call("apt-get", "install", "-qy", "--no-install-recommends", *PACKAGES, env=environment)
        except RuntimeError as error:
            if any(text in str(error) for text in UNREACHABLE):
                raise NoPackages(str(error).strip().splitlines()[-1]) from None
            raise
        finally:
            self.marker.packages = sorted(_installed() - before)
            self._save_marker()

    def _remove(self) -> None:
        if self.marker.packages:
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            _call("apt-get", "purge", "-qy", *self.marker.packages, env=environment)
            for name in ("etc/munge", "var/lib/munge", "var/log/munge", "var/lib/slurm", "var/log/slurm"):
                shutil.rmtree(self.places.root / name, ignore_errors=True)
        if self.marker.policy:
            self.places.policy.unlink(missing_ok=True)
        shutil.rmtree(self.own, ignore_errors=True)
        shutil.rmtree(self.places.etc, ignore_errors=True)

    def _save_marker(self) -> None:
        self.places.marker.write_text(json.dumps(asdict(self.marker)))

    # --- configuration and daemons

    def _configure(self) -> None:
        for name in ("state", "log", "run", "dev", "munge", *(f"spool.{node}" for node in NODES)):
            (self.own / name).mkdir(parents=True, exist_ok=True)
        for number in range(6):
            device = self.own / f"dev/gpu{number}"
            if not device.exists():
                os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))  # each a /dev/null
        (self.places.etc / "slurm.conf").write_text(slurm_conf(self.own, socket.gethostname()))
        gpus = {"gpu1": "[0-3]", "gpu2": "[4-5]"}
        lines = [f"NodeName={node} Name=gpu File={self.own}/dev/gpu{which}\n" for node, which in gpus.items()]
        (self.places.etc / "gres.conf").write_text("".join(lines))
        key = self.own / "munge/key"
        key.unlink(missing_ok=True)
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)

    def _start_daemons(self) -> None:
        munge = self.own / "munge"
        # Ours alone, by its own key and socket, and as root: nothing of a user munge is needed.
        _call(
            "munged", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket",
            f"--pid-file={self.own}/run/munged.pid", f"--log-file={self.own}/log/munged.log",
            f"--seed-file={munge}/seed",
        )  # fmt: skip
        _call("slurmctld")
        for node in NODES:
            _call("slurmd", "-N", node)
        try:
            until(lambda: idle_nodes() == set(NODES), 60, "the nodes to be idle")
        except TimeoutError as error:
            raise RuntimeError(f"{error}\n{self._what_daemons_say()}") from None

    def _what_daemons_say(self) -> str:
        said = [output("sinfo", "-N", "-l"), output("squeue")]
        for path in sorted(self.own.glob("log/*.log")):
            lines = path.read_text(errors="replace").splitlines()[-15:]
            said.append("\n".join([f"--- {path}", *lines]))
        return "\n".join(said)

    def _stop_daemons(self) -> None:
        """By process number only: ours, and no others of these names."""
        pids = [
            int(text) for path in self.own.glob("run/*.pid") if (text := path.read_text().strip()).isdigit()
        ]
        ours = [pid for pid in pids if _name_of(pid) in DAEMONS]
        for pid in ours:
            os.kill(pid, signal.SIGTERM)
        try:
            until(lambda: not any(_name_of(pid) in DAEMONS for pid in ours), 20, "daemons to end")
        except TimeoutError:
            for pid in ours:
                if _name_of(pid) in DAEMONS:
                    os.kill(pid, signal.SIGKILL)
        # What a stopped slurmd leaves of its jobs.
        for path in Path("/proc").glob("[0-9]*/comm"):
            if _read(path) == "slurmstepd":
                os.kill(int(path.parent.name), signal.SIGKILL)


def slurm_conf(own: Path, host: str) -> str:
    """The cluster: cores are counted as if each node had so many; the machine's own are shared."""
    return f"""\
ClusterName=pagrepro
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={own}/munge/socket
CredType=cred/munge
StateSaveLocation={own}/state
SlurmdSpoolDir={own}/spool.%n
SlurmctldPidFile={own}/run/slurmctld.pid
SlurmdPidFile={own}/run/slurmd.%n.pid
SlurmctldLogFile={own}/log/slurmctld.log
SlurmdLogFile={own}/log/slurmd.%n.log
SlurmctldPort=16817
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,bf_interval=2,sched_interval=5,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PriorityType=priority/basic
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=5
OverTimeLimit=0
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
NodeName=DEFAULT CPUs=4 CoresPerSocket=4 Sockets=1 ThreadsPerCore=1 RealMemory=16000 State=UNKNOWN
NodeName=gpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17101 Gres=gpu:4
NodeName=gpu2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17102 Gres=gpu:2
NodeName=cpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17103 CPUs=2 CoresPerSocket=2
PartitionName=gpu Nodes=gpu[1-2] Default=NO MaxTime=02:00:00 DefaultTime=00:10:00 PriorityTier=10
PartitionName=cpu Nodes=cpu1 Default=YES MaxTime=02:00:00 DefaultTime=00:10:00 PriorityTier=10
PartitionName=urgent Nodes=gpu[1-2] Default=NO MaxTime=02:00:00 PriorityTier=100 PreemptMode=OFF
"""


def idle_nodes() -> set[str]:
    lines = [line.split() for line in output("sinfo", "-h", "-N", "-o", "%N %T").splitlines()]
    return {name for name, state in lines if state == "idle"}


def kill_marked(proc: Path = Path("/proc")) -> None:
    """Kill every process that was started with MARK in its environment."""
    for path in proc.glob("[0-9]*/environ"):
        try:
            entries = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(entry.startswith(f"{MARK}=".encode()) for entry in entries):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(path.parent.name), signal.SIGKILL)


def until(ready, seconds: float, what: str, every: float = 0.3):
    """The first true answer of `ready`; TimeoutError that says what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := ready():
            return answer
        time.sleep(every)
    raise TimeoutError(f"waited {seconds:g} s for {what}")


def _installed() -> set[str]:
    lines = output("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n").splitlines()
    return {line.split()[0] for line in lines if line.endswith(" installed")}


def _call(*command: str, env: dict[str, str] | None = None) -> None:
    ended = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout[-3000:]}")


def output(*command: str) -> str:
    """What a command prints; nothing if it fails."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def _name_of(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/comm"))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

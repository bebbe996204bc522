"""Files from outside: offline first, mirrors in order, nothing but the right hash."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pagrepro.download import DownloadError, check_hash, fetch, file_hash
from pagrepro.errors import UserError

GOOD = b"the declared content" * 1000
HASH = "sha256:" + hashlib.sha256(GOOD).hexdigest()
REPOSITORY = Path(__file__).parents[2]


class Mirror(http.server.BaseHTTPRequestHandler):
    """/good, /wrong and /truncated answer 200; everything else is 404."""

    requests: list[str]

    def do_GET(self):
        self.requests.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        body = {"/good": GOOD, "/wrong": b"an error page", "/truncated": GOOD[:777]}[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD) if self.path == "/truncated" else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Mirror,), {"requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        running.requests = handler.requests
        running.url = lambda path: f"http://127.0.0.1:{running.server_port}/{path}"
        yield running
        running.shutdown()


def source(**changes):
    content = {"urls": [], "filename": "file.bin", "hash": HASH, "size": len(GOOD), "needs": "network",
               "offline": "set/file.bin", "how": "ask its authors"}  # fmt: skip
    return {**content, **changes}


@pytest.fixture
def offline(tmp_path):
    path = tmp_path / "offline" / "set" / "file.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(GOOD)
    return tmp_path / "offline"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "resources" / "file.bin"


def only_file(target):
    return [p.name for p in target.parent.iterdir()] == [target.name]


def test_offline_file_is_used_before_any_network(server, offline, target):
    assert fetch("name", source(urls=[server.url("good")]), target, offline) == target
    assert target.read_bytes() == GOOD
    assert server.requests == []
    assert only_file(target)


def test_file_in_place_is_kept(target):
    target.parent.mkdir()
    target.write_bytes(GOOD)
    before = target.stat().st_mtime_ns
    fetch("name", source(), target)
    assert target.stat().st_mtime_ns == before


def test_mirrors_are_tried_in_order_until_one_is_right(server, target):
    order = ["missing", "wrong", "truncated", "good", "never"]
    fetch("name", source(urls=[server.url(path) for path in order]), target)
    assert server.requests == ["/missing", "/wrong", "/truncated", "/good"]
    assert target.read_bytes() == GOOD
    assert only_file(target)


def test_wrong_offline_file_falls_through_to_the_mirror(server, offline, target):
    (offline / "set" / "file.bin").write_bytes(b"old")
    fetch("name", source(urls=[server.url("good")]), target, offline)
    assert target.read_bytes() == GOOD


def test_md5_is_accepted_where_nothing_else_is_published(server, target):
    md5 = "md5:" + hashlib.md5(GOOD).hexdigest()
    fetch("name", source(hash=md5, urls=[server.url("good")]), target)
    assert file_hash(target, "md5") == md5


def test_failure_says_everything_and_leaves_nothing(server, target, offline):
    (offline / "set" / "file.bin").unlink()
    urls = [server.url(path) for path in ("missing", "wrong", "truncated")] + ["http://127.0.0.1:1/refused"]
    with pytest.raises(DownloadError) as caught:
        fetch("the_source", source(urls=urls), target, offline)
    message = str(caught.value)
    wrong, cut = (hashlib.sha256(body).hexdigest() for body in (b"an error page", GOOD[:777]))
    for part in ("404", f"expected {HASH}", f"sha256:{wrong} (13 bytes)", f"sha256:{cut} (777 bytes)", *urls,
                 str(offline / "set" / "file.bin"), str(target), "unavailable: [the_source]",
                 "config/tiers/<tier>.yaml", "ask its authors"):  # fmt: skip
        assert part in message
    assert isinstance(caught.value, UserError)
    assert list(target.parent.iterdir()) == []


def test_file_in_place_with_another_hash_is_removed(target):
    target.parent.mkdir()
    target.write_bytes(b"half of it")
    with pytest.raises(DownloadError, match="10 bytes"):
        fetch("name", source(), target)
    assert not target.exists()


def test_source_without_a_hash_is_never_used(server, offline, target):
    with pytest.raises(DownloadError) as caught:
        fetch("teacher", source(hash=None, urls=[server.url("good")]), target, offline)
    assert f"found    {HASH}" in str(caught.value)
    assert "sources.teacher.hash" in str(caught.value)
    assert server.requests == []
    assert not target.exists()


def test_directory_is_packed_the_same_way_on_every_machine(tmp_path, target):
    hashes = []
    for name, stamp in (("a", 1_000_000_000), ("b", 1_500_000_000)):
        folder = tmp_path / name
        for file in ("train/cat/2.png", "train/cat/1.png", "test/dog/1.png"):
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.encode())
            os.utime(path, (stamp, stamp))
        with pytest.raises(DownloadError) as caught:
            fetch("my_images", source(hash=None), target, path=folder)
        hashes.append(str(caught.value).partition("found    ")[2].split()[0])
    assert hashes[0] == hashes[1]
    fetch("my_images", source(hash=hashes[0]), target, path=folder)
    check_hash(target, hashes[0])


def test_check_hash_names_both_hashes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"other")
    with pytest.raises(
        DownloadError, match=rf"expected: {HASH}\n  found: +sha256:{hashlib.sha256(b'other').hexdigest()}"
    ):
        check_hash(path, HASH)


def test_script_prints_the_message_without_a_traceback(tmp_path, target):
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/download.py"), "--source", "name",
               "--spec", json.dumps(source()), "--output", str(target)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: source name")
    assert "Traceback" not in done.stderr


def test_downloading_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import pagrepro.download, pagrepro.splits"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)

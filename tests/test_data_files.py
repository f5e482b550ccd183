"""Files: wrong, cut off, missing, unreachable. The digits are published in IDX form to a real server."""

import gzip
import hashlib
import multiprocessing
import os
import resource
import socket
import struct
import sys
import threading
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from nnfoundations.datamodules import (
    CorruptFileError,
    DataFilesError,
    DigitsDataModule,
    MissingFilesError,
    MNISTDataModule,
    _download,
)
from nnfoundations.datamodules._files import RemoteFile, fetch
from nnfoundations.datamodules._idx import decode_idx


def encode_idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The digits as a publisher would offer them: a folder of .gz files, and the facts of the set."""
    digits = DigitsDataModule()
    digits.setup()
    loader = digits.test_dataloader()
    images, labels = loader.inputs[:, 0].numpy(), loader.labels.to(torch.uint8).numpy()
    folder, files = tmp_path_factory.mktemp("published"), []
    for name, array in {
        "train-images.gz": images[:1500],
        "train-labels.gz": labels[:1500],
        "test-images.gz": images[1500:],
        "test-labels.gz": labels[1500:],
    }.items():
        content = encode_idx(array)
        (folder / name).write_bytes(gzip.compress(content, mtime=0))
        md5 = (hashlib.md5((folder / name).read_bytes()).hexdigest(), hashlib.md5(content).hexdigest())
        files.append(RemoteFile(name, *md5))

    class PublishedDigits(MNISTDataModule):
        shape = (1, 8, 8)
        folder = "Digits/raw"
        mirrors = ()

    PublishedDigits.files = tuple(files)
    return folder, PublishedDigits


@pytest.fixture
def data(published, tmp_path):
    """A module whose root is empty."""
    return published[1](str(tmp_path / "root"), val_size=0.1)


def put(published, data, unpacked=False):
    data.path.mkdir(parents=True)
    for file in data.files:
        content = (published[0] / file.name).read_bytes()
        if unpacked:
            (data.path / file.name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
        else:
            (data.path / file.name).write_bytes(content)


def state(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in Path(folder).iterdir()}


@pytest.fixture
def serve():
    """Start a server for a folder, with a fault if one is named: its address, and what was asked for."""
    servers = []

    def start(folder, fault=None):
        asked = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
                asked.append((self.path, first))
                content = (Path(folder) / self.path.lstrip("/")).read_bytes()
                if fault == "forbidden":
                    self.send_error(403)
                    return
                if first >= len(content):
                    self.send_error(416)
                    return
                if fault == "no ranges":
                    first = 0
                self.send_response(206 if first else 200)
                self.send_header("Content-Length", str(len(content) - first))
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
                self.end_headers()
                half = len(content) // 2
                if fault == "corrupt":
                    content = content[:half] + bytes((content[half] ^ 1,)) + content[half + 1 :]
                breaks_off = fault in ("truncated", "stalled", "reset", "slow")
                self.wfile.write(content[first:half] if breaks_off else content[first:])
                if fault == "stalled":
                    released.wait(5)
                if fault == "reset":  # closing then sends RST in place of FIN
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if fault == "slow":
                    for byte in range(half, len(content)):
                        self.wfile.write(content[byte : byte + 1])
                        if released.wait(0.02):
                            break

            def finish(self):
                with suppress(OSError):  # the client has left
                    super().finish()

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                pass

            def shutdown_request(self, request):
                if fault == "reset":
                    self.close_request(request)  # at once: shutting down first would send FIN
                else:
                    super().shutdown_request(request)

        server = Server(("127.0.0.1", 0), Handler)
        released = threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread, released))
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server, thread, released in servers:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def closed_port():
    """An address on which nobody listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        return f"http://127.0.0.1:{server.server_port}/"


def use(monkeypatch, data, *mirrors):
    monkeypatch.setattr(type(data), "mirrors", mirrors)


@pytest.mark.parametrize("unpacked", [False, True])
def test_files_are_read_as_they_are(published, data, unpacked):
    put(published, data, unpacked)
    before = state(data.path)
    os.chmod(data.path, 0o555)
    try:
        data.prepare_data()
        data.setup()
    finally:
        os.chmod(data.path, 0o755)
    assert state(data.path) == before
    assert data.test_dataloader().rows.tolist() == list(range(1500, 1797))
    digits = DigitsDataModule()
    digits.setup()
    assert torch.equal(data.test_dataloader().inputs, digits.test_dataloader().inputs)


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("fault", ["truncated", "changed", "empty"])
def test_a_wrong_file_is_named_and_left_alone(published, data, unpacked, fault, monkeypatch, closed_port):
    put(published, data, unpacked)
    use(monkeypatch, data, closed_port)
    wrong = data.path / ("train-images" if unpacked else "train-images.gz")
    content = wrong.read_bytes()
    half = len(content) // 2
    wrong.write_bytes(
        {
            "truncated": content[:-10],
            "changed": content[:half] + bytes((content[half] ^ 1,)) + content[half + 1 :],
            "empty": b"",
        }[fault]
    )
    before = state(data.path)
    data.prepare_data()
    with pytest.raises(CorruptFileError) as caught:
        data.setup()
    problem, cure = str(caught.value).split("\n")
    assert problem.startswith(f"{wrong} is not the published file: md5 ")
    assert cure.startswith("Move it away")
    assert isinstance(caught.value, DataFilesError)
    assert state(data.path) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with 00 00 08 03; got nothing"),
        (b"\x00\x00\x08\x01" + bytes(12), "begins with 00 00 08 03; got 00 00 08 01"),
        (b"\x00\x00\x0d\x03" + bytes(12), "got 00 00 0d 03"),
        (b"\x00\x00\x08\x03" + bytes(8), "in 12 bytes"),
        (b"\x00\x00\x08\x03" + struct.pack(">3I", 2, 2, 2) + bytes(7), "holds 8 bytes of data; got 7"),
        (b"\x00\x00\x08\x03" + struct.pack(">3I", 2, 2, 2) + bytes(9), "holds 8 bytes of data; got 9"),
    ],
)
def test_idx_headers(content, message):
    with pytest.raises(ValueError, match=message):
        decode_idx(content, axes=3)


def test_download(published, data, serve, monkeypatch):
    address, asked = serve(published[0])
    use(monkeypatch, data, address)
    data.prepare_data()
    assert asked == [(f"/{file.name}", 0) for file in data.files]
    assert set(state(data.path)) == {file.name for file in data.files}
    data.prepare_data()
    assert len(asked) == 4
    data.setup()
    assert len(data.test_dataloader().rows) == 297


def test_only_what_is_missing_is_fetched(published, data, serve, monkeypatch):
    put(published, data, unpacked=True)
    (data.path / "test-labels").unlink()
    address, asked = serve(published[0])
    use(monkeypatch, data, address)
    data.prepare_data()
    assert asked == [("/test-labels.gz", 0)]
    data.setup()


@pytest.fixture
def hurried(monkeypatch):
    """Limits that a test can wait for."""
    monkeypatch.setattr(_download, "READ_SECONDS", 0.3)
    monkeypatch.setattr(_download, "SPEED_SECONDS", 0.2)


BREAKS_OFF = {
    "truncated": "Incomplete",
    "stalled": "timed out",
    "reset": "reset",
    "slow": "kB/s, less than 100",
}
FAULTS = {"forbidden": "403", "corrupt": "hash", **BREAKS_OFF}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_mirror_goes_on(published, data, serve, monkeypatch, hurried, fault):
    bad, asked = serve(published[0], fault)
    good, then_asked = serve(published[0])
    use(monkeypatch, data, bad, good)
    data.prepare_data()
    assert len(asked) == len(then_asked) == 4
    assert all((first > 0) == (fault in BREAKS_OFF) for _, first in then_asked), (
        "the rest, where there was some"
    )
    assert set(state(data.path)) == {file.name for file in data.files}
    data.setup()


@pytest.mark.parametrize(("fault", "reason"), FAULTS.items())
def test_a_part_is_never_taken_for_the_file(published, data, serve, monkeypatch, hurried, fault, reason):
    address, asked = serve(published[0], fault)
    use(monkeypatch, data, address)
    with pytest.raises(MissingFilesError) as caught:
        data.prepare_data()
    (line,) = (line for line in str(caught.value).splitlines() if "train-images.gz: " in line)
    assert reason in line
    assert [path for path, _ in asked] == ["/train-images.gz"]
    assert not [path for path in data.path.iterdir() if not path.name.startswith(".train-images.gz.")]
    with pytest.raises(MissingFilesError, match=r"4 of 4 files are missing"):
        data.setup()
    good, then_asked = serve(published[0])
    use(monkeypatch, data, good)
    data.prepare_data()
    assert (then_asked[0][1] > 0) == (fault in BREAKS_OFF)
    assert set(state(data.path)) == {file.name for file in data.files}


def test_a_mirror_without_ranges_gives_all(published, data, serve, monkeypatch):
    broken, _ = serve(published[0], "truncated")
    whole, asked = serve(published[0], "no ranges")
    use(monkeypatch, data, broken, whole)
    data.prepare_data()
    assert all(first > 0 for _, first in asked)
    data.setup()


@pytest.mark.parametrize("part", [b"not these bytes", bytes(10**6)], ids=["wrong", "too long"])
def test_a_wrong_part_is_dropped(published, data, serve, monkeypatch, part):
    data.path.mkdir(parents=True)
    (data.path / ".train-images.gz.part").write_bytes(part)
    address, asked = serve(published[0])
    use(monkeypatch, data, address)
    data.prepare_data()
    assert asked[:2] == [("/train-images.gz", len(part)), ("/train-images.gz", 0)]
    assert set(state(data.path)) == {file.name for file in data.files}
    data.setup()


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_mirror_of_ones_own_is_asked_first(published, tmp_path, serve, monkeypatch, how, closed_port):
    (tmp_path / "served" / "Digits").mkdir(parents=True)
    (tmp_path / "served" / "Digits" / "raw").symlink_to(published[0])
    address, asked = serve(tmp_path / "served")
    monkeypatch.setenv("NNFOUNDATIONS_MIRROR", address if how == "variable" else closed_port)
    data = published[1](str(tmp_path / "root"), mirror=address if how == "option" else None)
    use(monkeypatch, data, closed_port)
    data.prepare_data()
    assert asked == [(f"/Digits/raw/{file.name}", 0) for file in data.files]


def fetch_in_a_process(published, root, address, file_size=None):
    """Download as another process would; its exit code is 1 and its message in root's `said` on an error."""

    def child():
        if file_size is not None:  # the kernel refuses what goes beyond, as it does on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        try:
            fetch(published[1].files, root / "raw", lambda file: [address + file.name, address + file.name])
        except DataFilesError as error:
            (root / "said").write_text(str(error))
            sys.exit(1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    return process


forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # a child that touches no tensor may


@forks
def test_two_processes_at_once(published, tmp_path, serve):
    address, asked = serve(published[0])
    both = [fetch_in_a_process(published, tmp_path, address) for _ in range(2)]
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(asked) == sorted((f"/{file.name}", 0) for file in published[1].files), "each once"
    assert set(state(tmp_path / "raw")) == {file.name for file in published[1].files}


@forks
def test_a_disk_that_takes_no_more(published, tmp_path, serve):
    """No other mirror is tried, and nothing is left."""
    address, asked = serve(published[0])
    process = fetch_in_a_process(published, tmp_path, address, file_size=10_000)
    process.join(60)
    assert process.exitcode == 1
    file = tmp_path / "raw" / "train-images.gz"
    assert f"{file} cannot be written: OSError: [Errno 27] File too large" in (tmp_path / "said").read_text()
    assert len(asked) == 1
    assert not [path for path in file.parent.iterdir() if path.suffix != ".lock"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write")
def test_a_folder_that_takes_no_files(published, serve, monkeypatch):
    data = published[1]("/proc/self")
    address, asked = serve(published[0])
    use(monkeypatch, data, address)
    with pytest.raises(MissingFilesError, match=r"train-images\.gz cannot be written"):
        data.prepare_data()
    assert not asked


def test_what_is_said_without_a_network(published, data, monkeypatch, closed_port):
    put(published, data)
    (data.path / "test-images.gz").unlink()
    (data.path / "test-labels.gz").unlink()
    use(monkeypatch, data, closed_port)
    with pytest.raises(FileNotFoundError) as caught:
        data.prepare_data()
    _, _, images, labels = data.files
    lines = str(caught.value).splitlines()
    assert lines.pop(1).startswith(f"  {closed_port}test-images.gz: ConnectionRefusedError: ")
    assert lines == [
        f"2 of 4 files are missing in {data.path}; the download:",
        "Put them there, as they are or unpacked; or name another root (--data.root, NNFOUNDATIONS_DATA) or "
        "a mirror of your own (--data.mirror, NNFOUNDATIONS_MIRROR):",
        f"  {closed_port}test-images.gz  md5 {images.md5}",
        f"  {closed_port}test-labels.gz  md5 {labels.md5}",
        "`nnfoundations fit --config digits` needs no files.",
    ]


def test_setup_does_not_download(data):
    with pytest.raises(MissingFilesError, match=r"4 of 4 .*\n  not tried: prepare_data\(\) does that"):
        data.setup()


def test_a_root_that_cannot_be_made(published, tmp_path, serve, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    data = published[1](str(tmp_path / "file"))
    use(monkeypatch, data, serve(published[0])[0])
    with pytest.raises(MissingFilesError, match="4 of 4 files are missing") as caught:
        data.prepare_data()
    assert str(tmp_path / "file") in str(caught.value).splitlines()[1]


@pytest.mark.data
def test_download_of_the_published_files(tmp_path, serve, monkeypatch):
    source = MNISTDataModule().path
    if not all((source / file.name).is_file() for file in MNISTDataModule.files):
        pytest.skip(f"{source} lacks the published files; set NNFOUNDATIONS_DATA")
    corrupt, _ = serve(source, "corrupt")
    good, _ = serve(source)
    data = MNISTDataModule(str(tmp_path))
    use(monkeypatch, data, corrupt, good)
    data.prepare_data()
    data.setup()
    assert len(data.train_dataloader().rows) == 55_000


def test_mirrors_are_https():
    from nnfoundations import datamodules

    for name in datamodules.__all__:
        kind = getattr(datamodules, name)
        for mirror in getattr(kind, "mirrors", ()):
            assert mirror.startswith("https://")
            assert mirror.endswith("/")

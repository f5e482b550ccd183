"""Files: wrong, cut off, missing, unreachable. The digits are published in IDX form to a real server."""

import gzip
import hashlib
import os
import struct
import threading
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
from nnfoundations.datamodules._files import RemoteFile
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
    """Start a server for a folder, with a fault if one is named: its address, and the paths asked for."""
    servers = []

    def start(folder, fault=None):
        asked = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                asked.append(self.path)
                content = (Path(folder) / self.path.lstrip("/")).read_bytes()
                if fault == "forbidden":
                    self.send_error(403)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                half = len(content) // 2
                if fault == "corrupt":
                    content = content[:half] + bytes((content[half] ^ 1,)) + content[half + 1 :]
                self.wfile.write(content[:half] if fault in ("truncated", "stalled") else content)
                if fault == "stalled":
                    self.wfile.flush()
                    released.wait(5)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
    assert asked == [f"/{file.name}" for file in data.files]
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
    assert asked == ["/test-labels.gz"]
    data.setup()


@pytest.mark.parametrize("fault", ["forbidden", "corrupt", "truncated", "stalled"])
def test_the_next_mirror_is_tried(published, data, serve, monkeypatch, fault):
    monkeypatch.setattr(_download, "READ_SECONDS", 0.3)
    bad, asked = serve(published[0], fault)
    good, _ = serve(published[0])
    use(monkeypatch, data, bad, good)
    data.prepare_data()
    assert len(asked) == 4
    assert set(state(data.path)) == {file.name for file in data.files}
    data.setup()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("forbidden", "403"), ("corrupt", "hash"), ("truncated", "Incomplete"), ("stalled", "timed out")],
)
def test_no_part_of_a_file_is_left(published, data, serve, monkeypatch, fault, reason):
    monkeypatch.setattr(_download, "READ_SECONDS", 0.3)
    address, asked = serve(published[0], fault)
    use(monkeypatch, data, address)
    with pytest.raises(MissingFilesError) as caught:
        data.prepare_data()
    (line,) = (line for line in str(caught.value).splitlines() if "train-images.gz: " in line)
    assert reason in line
    assert asked == ["/train-images.gz"]
    assert list(data.path.iterdir()) == []


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
        "Put them there, as they are or unpacked, or name another root by --data.root or NNFOUNDATIONS_DATA:",
        f"  test-images.gz  md5 {images.md5}",
        f"  test-labels.gz  md5 {labels.md5}",
        f"  from {closed_port}",
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
        for mirror in getattr(getattr(datamodules, name), "mirrors", ()):
            assert mirror.startswith("https://")
            assert mirror.endswith("/")

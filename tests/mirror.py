"""A publisher of data: the digits as IDX files, and a real server with faults on demand."""

import gzip
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch

from nnfoundations.datamodules import DigitsDataModule, MNISTDataModule
from nnfoundations.datamodules._files import RemoteFile


def encode_idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def publish(folder: Path) -> type[MNISTDataModule]:
    """Write the digits as published .gz files; return the class with their facts."""
    digits = DigitsDataModule()
    digits.setup()
    loader, files = digits.test_dataloader(), []
    images, labels = loader.inputs[:, 0].numpy(), loader.labels.to(torch.uint8).numpy()
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
    return PublishedDigits


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


class Handler(SimpleHTTPRequestHandler):
    """Serves byte ranges of `server.folder`, with the fault that `server.fault` names."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.server.asked.append((self.path, first))
        content = (Path(self.server.folder) / self.path.lstrip("/")).read_bytes()
        if self.server.leads_to:
            self.redirect()
        elif self.server.fault == "forbidden":
            self.send_error(403)
        elif first >= len(content):
            self.send_error(416)
        else:
            self.serve(content, 0 if self.server.fault == "no ranges" else first)

    def redirect(self):
        self.send_response(302)
        self.send_header("Location", self.server.leads_to + self.path.lstrip("/"))
        self.end_headers()

    def serve(self, content, first):
        fault, half = self.server.fault, len(content) // 2
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if fault == "corrupt":
            content = content[:half] + bytes((content[half] ^ 1,)) + content[half + 1 :]
        breaks_off = fault in ("truncated", "stalled", "reset", "slow")
        self.wfile.write(content[first:half] if breaks_off else content[first:])
        if fault == "stalled":
            self.server.released.wait(5)
        elif fault == "reset":  # closing then sends RST in place of FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault == "slow":
            self.trickle(content[half:])

    def trickle(self, content):
        for i in range(len(content)):
            self.wfile.write(content[i : i + 1])
            if self.server.released.wait(0.02):
                break

    def finish(self):
        with suppress(OSError):  # the client has left
            super().finish()


class Server(ThreadingHTTPServer):
    def __init__(self, folder, fault, leads_to, certificate):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.fault, self.leads_to = folder, fault, leads_to
        self.asked, self.released = [], threading.Event()
        self.address = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server_port}/"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_):
        pass

    def shutdown_request(self, request):
        if self.fault == "reset":
            self.close_request(request)  # without shutting down first, which would send FIN
        else:
            super().shutdown_request(request)


@contextmanager
def serving(folder, fault=None, *, leads_to="", certificate=None) -> Iterator[Server]:
    """Serve a folder; `leads_to` redirects every request, `certificate` (with its key) switches TLS on."""
    server = Server(folder, fault, leads_to, certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()

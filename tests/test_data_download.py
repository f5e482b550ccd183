"""Downloads: failing mirrors, resumed downloads, a full disk and a folder that cannot be written."""

import multiprocessing
import re
import resource
import shutil
import subprocess
import sys
from contextlib import ExitStack
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mirror import publish, put, serving, state

from nnfoundations import datamodules
from nnfoundations.cli.commands._data import data_sets
from nnfoundations.datamodules import DataFilesError, MissingFilesError, MNISTDataModule, _download
from nnfoundations.datamodules._files import fetch


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder of .gz files, and the class of their data set."""
    folder = tmp_path_factory.mktemp("published")
    return folder, publish(folder)


@pytest.fixture
def data(published, tmp_path):
    """A data module with an empty root."""
    return published[1](str(tmp_path / "root"), val_size=0.1)


@pytest.fixture
def serve():
    """Start a server for a folder; return its address and the requests it received."""
    with ExitStack() as stack:

        def start(folder, fault=None, **options):
            server = stack.enter_context(serving(folder, fault, **options))
            return server.address, server.asked

        yield start


@pytest.fixture
def closed_port():
    """An address on which no server listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        return f"http://127.0.0.1:{server.server_port}/"


def use(monkeypatch, data, *mirrors):
    monkeypatch.setattr(type(data), "mirrors", mirrors)


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
    """Time limits that are short enough for a test."""
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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -keyout {file} "
        f"-out {file}.crt -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    file.write_text(file.read_text() + file.with_name("both.pem.crt").read_text())
    return file


@pytest.fixture
def trusted(certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return certificate


def test_https_does_not_lead_to_http(published, data, serve, monkeypatch, trusted):
    plain, _ = serve(published[0])
    leads_down, asked = serve(published[0], leads_to=plain, certificate=trusted)
    use(monkeypatch, data, leads_down)
    with pytest.raises(MissingFilesError) as caught:
        data.prepare_data()
    assert f"{leads_down}train-images.gz: MirrorError: redirects from https to {plain}" in str(caught.value)
    assert asked == [("/train-images.gz", 0)]
    assert not [path for path in data.path.iterdir() if path.stat().st_size]


def test_https_does_not_lead_through_http(published, data, serve, monkeypatch, trusted):
    whole, _ = serve(published[0], certificate=trusted)
    plain, _ = serve(published[0], leads_to=whole)
    leads_down, _ = serve(published[0], leads_to=plain, certificate=trusted)
    use(monkeypatch, data, leads_down)
    with pytest.raises(MissingFilesError, match=f"MirrorError: redirects from https to {plain}"):
        data.prepare_data()
    use(monkeypatch, data, leads_down, whole)
    data.prepare_data()
    data.setup()


def test_https_may_lead_to_https(published, data, serve, monkeypatch, trusted):
    whole, asked = serve(published[0], certificate=trusted)
    use(monkeypatch, data, serve(published[0], leads_to=whole, certificate=trusted)[0])
    data.prepare_data()
    assert [path for path, _ in asked] == [f"/{file.name}" for file in data.files]
    data.setup()


def test_a_certificate_that_nobody_signed_is_refused(published, data, serve, monkeypatch, certificate):
    address, asked = serve(published[0], certificate=certificate)
    use(monkeypatch, data, address)
    with pytest.raises(MissingFilesError, match=r"train-images\.gz: SSLCertVerificationError: .*self.signed"):
        data.prepare_data()
    assert not asked


def fetch_in_a_process(published, root, address, file_size=None):
    """Download in another process. On an error the exit code is 1 and the message is in the file `said`."""

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
    """No other mirror is tried, and no partial file is left."""
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
        f"2 of 4 files are missing in {data.path}. Download:",
        "Copy them there, packed or unpacked, or give another folder (--data.root, NNFOUNDATIONS_DATA) or "
        "a mirror (--data.mirror, NNFOUNDATIONS_MIRROR):",
        f"  {closed_port}test-images.gz  md5 {images.md5}",
        f"  {closed_port}test-labels.gz  md5 {labels.md5}",
        "`nnfoundations fit --config digits` needs no files.",
    ]


def test_a_root_that_cannot_be_made(published, tmp_path, serve, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    data = published[1](str(tmp_path / "file"))
    use(monkeypatch, data, serve(published[0])[0])
    with pytest.raises(MissingFilesError, match="4 of 4 files are missing") as caught:
        data.prepare_data()
    assert str(tmp_path / "file") in str(caught.value).splitlines()[1]


@pytest.mark.data("MNIST")
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


def test_every_address_is_in_the_docs():
    """The page lists them as untested. Remove an address from that list once it has been reached."""
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
    listed = set(re.findall("<(https:[^>]+)>", page[page.index("These addresses are untested") :]))
    assert listed == {mirror for kind in data_sets().values() for mirror in kind.mirrors}


def test_mirrors_are_https():
    for name in datamodules.__all__:
        kind = getattr(datamodules, name)
        for mirror in getattr(kind, "mirrors", ()):
            assert mirror.startswith("https://")
            assert mirror.endswith("/")

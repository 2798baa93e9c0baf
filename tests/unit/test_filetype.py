"""What a file is, told from its bytes."""

import gzip

import pytest

from epizarr.errors import InputFileError, InputNotFoundError
from epizarr.io.filetype import detect_file_type, read_lines, require_file_type


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89HDF\r\n\x1a\n....", "HDF5"),
        (b"HIC\x00\x08\x00", "hic"),
        (b"\x26\xfc\x8f\x88....", "bigWig"),
        (b"\xeb\xf2\x89\x87....", "bigBed"),
        (b"\x1f\x8b\x08", "gzip"),
        (gzip.compress(b"chr1\t0\t100\n", mtime=0), "gzip"),
        (gzip.compress(b"BAM\x01\x00\x00", mtime=0), "BAM"),
        (b"chr1\t0\t100\n", "text"),
        ("größe\n".encode(), "text"),
        (b"\x00\x01\x02", "unknown"),
        (b"", "empty"),
    ],
)
def test_detect_file_type__reads_first_bytes(tmp_path, head, kind):
    path = tmp_path / "file"
    path.write_bytes(head)
    assert detect_file_type(path) == kind


def test_require_file_type__lists_similar_names_beside_a_missing_file(tmp_path):
    (tmp_path / "ctcf.bw").write_bytes(b"x")
    with pytest.raises(InputNotFoundError, match=r"does not exist.*ctcf\.bw"):
        require_file_type(tmp_path / "ctfc.bw", ("bigWig",), "a bigWig")


def test_require_file_type__names_a_missing_folder(tmp_path):
    with pytest.raises(InputNotFoundError, match=r"folder .*gone does not exist"):
        require_file_type(tmp_path / "gone" / "a.bw", ("bigWig",), "a bigWig")


def test_require_file_type__refuses_a_folder(tmp_path):
    with pytest.raises(InputFileError, match="is a folder"):
        require_file_type(tmp_path, ("bigWig",), "a bigWig")


def test_require_file_type__says_what_the_file_looks_like(tmp_path):
    path = tmp_path / "a.cool"
    path.write_bytes(b"HIC\x00\x08")
    with pytest.raises(InputFileError, match=r"by its first bytes it is a \.hic file"):
        require_file_type(path, ("HDF5",), "a .cool file")


def test_require_file_type__refuses_content_that_the_name_denies(tmp_path):
    path = tmp_path / "a.cool"
    path.write_bytes(b"HIC\x00\x08")
    with pytest.raises(InputFileError, match=r"not what its name says: '\.cool'"):
        require_file_type(path, ("HDF5", "hic"), "contacts")


def test_require_file_type__accepts_a_name_that_promises_nothing(tmp_path):
    path = tmp_path / "download"
    path.write_bytes(b"HIC\x00\x08")
    assert require_file_type(path, ("hic",), "a .hic file") == "hic"


def test_read_lines__reads_gzip_and_keeps_line_numbers(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"# comment\n\none\r\ntwo\n"))
    assert list(read_lines(path, "a table")) == [(3, "one"), (4, "two")]


def test_read_lines__refuses_truncated_gzip(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one\n" * 5000)[:-12])
    with pytest.raises(InputFileError, match="cannot be read as text"):
        list(read_lines(path, "a table"))

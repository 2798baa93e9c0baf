"""Which inputs are remote, and the address that each of them stands for.

Besides addresses (``https://``, ``s3://``, ``gs://`` and whatever else fsspec knows) a manifest may name a file by its
accession: ``encode:ENCFF123ABC`` or ``4dn:4DNFI1234ABC``. Nothing here reads a file or the network.

Source of the portals' addresses: the ``@@download`` views of their servers (``types/file.py`` of ENCODE-DCC/encoded and
4dn-dcic/fourfront), which take the accession alone, or the accession with the file's one right ending.
"""

import re
from urllib.parse import unquote, urlsplit

from epizarr.errors import RemoteError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ACCESSION = re.compile(r"(encode|4dn):(?!//)(.*)", re.IGNORECASE | re.DOTALL)
#: Accession of a file, then an ending such as ".bigWig" or ".bed.gz", or none.
_ENCODE_FILE = re.compile(r"(ENCFF[0-9]{3}[A-Z]{3})((?:\.[A-Za-z0-9]+)*)")
_4DN_FILE = re.compile(r"(4DNFI[0-9A-Z]{7})((?:\.[A-Za-z0-9]+)*)")

HTTP_SCHEMES = ("http", "https")


def remote_url(uri: str) -> str | None:
    """Return the address from which an input is fetched, or None if it is a local path.

    Parameters
    ----------
    uri
        Path, address or accession, without the ``::group`` of an HDF5 file.

    Raises
    ------
    RemoteError
        If an accession is not one of a file, an address has no host or bucket, fsspec does not know its scheme, or it has a
        password in it.

    Examples
    --------
    >>> remote_url("encode:ENCFF000VOL.bam")
    'https://www.encodeproject.org/files/ENCFF000VOL/@@download/ENCFF000VOL.bam'
    >>> remote_url("4dn:4DNFI18UHVRO")
    'https://data.4dnucleome.org/files-processed/4DNFI18UHVRO/@@download'
    >>> remote_url("data/ctcf.bw") is None
    True
    """
    if accession := _ACCESSION.fullmatch(uri):
        return _portal_url(accession[1].lower(), accession[2])
    if not (scheme := _SCHEME.match(uri)):
        return None
    _check_address(uri, scheme[1])
    return uri


def url_name(url: str) -> str:
    """Name for a file that is fetched from ``url``: the last part of its path, without characters that need quoting.

    The ending stays, for readers compare it with the content.
    """
    parts = [part for part in unquote(urlsplit(url).path).split("/") if part]
    # A portal's address without a name ends in its "view": the accession before it says more.
    while len(parts) > 1 and parts[-1].startswith("@@"):
        parts.pop()
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", parts[-1] if parts else "").lstrip(".")
    return name[-100:].lstrip(".") or "file"


def _portal_url(portal: str, text: str) -> str:
    if portal == "encode":
        if match := _ENCODE_FILE.fullmatch(text):
            return _download_url("https://www.encodeproject.org/files", match[1], match[2])
        form, example = "ENCFF, three digits and three letters", "encode:ENCFF123ABC.bigWig"
    else:
        if match := _4DN_FILE.fullmatch(text):
            return _download_url("https://data.4dnucleome.org/files-processed", match[1], match[2])
        form, example = "4DNFI and seven letters or digits", "4dn:4DNFI1234ABC.mcool"
    kinds = {"ENCSR": "an experiment", "4DNES": "a set of experiments", "4DNEX": "an experiment"}
    kind = kinds.get(text[:5].upper())
    raise RemoteError(
        f"{portal}:{text} does not name a file"
        + (f": {text[:5].upper()} stands for {kind}, which has several. Choose one on the portal" if kind else "")
        + f". The accession of a file is {form}, as in {example!r}; the ending may be left out."
    )


def _download_url(files: str, accession: str, ending: str) -> str:
    name = f"/{accession}{ending}" if ending else ""
    return f"{files}/{accession}/@@download{name}"


def _check_address(uri: str, scheme: str) -> None:
    parts = urlsplit(uri)
    if parts.password is not None:
        where = uri.replace(f":{parts.password}@", ":…@")
        raise RemoteError(
            f"{where} has a password in it, and a store records its manifest. Write the address without it, and the password "
            "in ~/.netrc."
        )
    if scheme not in HTTP_SCHEMES:
        _check_fsspec(uri, scheme)
    if not (parts.netloc or (scheme == "memory" and parts.path.strip("/"))):
        raise RemoteError(f"{uri!r} is not a complete address: {scheme}:// is followed by a host or bucket.")


def _check_fsspec(uri: str, scheme: str) -> None:
    from fsspec import available_protocols

    if scheme not in available_protocols() or scheme in ("file", "local"):
        raise RemoteError(
            f"{uri!r}: {scheme}:// is not understood. Inputs are local paths, https://, s3://, gs://, an accession "
            "(encode:ENCFF…, 4dn:4DNFI…), or another address that fsspec can read as a single file."
        )

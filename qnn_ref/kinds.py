"""What a file looks like, judged by its first bytes, said in words."""

from __future__ import annotations

from qnn_ref.archives import NPY_MAGIC, ZIP_MAGIC

GZIP_MAGIC = b"\x1f\x8b"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

UNKNOWN = "of an unknown kind"
# What a file looks like, by its first bytes, and what to do about it.
_KINDS = (
    (GZIP_MAGIC, "gzip data"),
    (NPY_MAGIC, "a NumPy .npy file"),
    (ZIP_MAGIC, "a zip or .npz archive"),
    (PNG_MAGIC, "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    ((b"GIF8", b"BM", b"II*\0", b"MM\0*"), "a picture"),
    (b"%PDF", "a PDF document"),
    (b"MATLAB 7.3", "a MATLAB file of version 7.3 (HDF5); only version 5 is read: save with -v7"),
    (b"MATLAB ", "a MATLAB file"),
    (b"\x89HDF", "an HDF5 file; read it with h5py and np.save its arrays"),
    ((b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd"), "compressed data; unpack it"),
    # Byte 0x80 and the protocol: 2 (Python 2, as in CIFAR's "python version") to 5.
    (
        tuple(bytes([0x80, k]) for k in range(2, 6)),
        "a Python pickle, which is never opened (as older PyTorch files are)",
    ),
    (
        b"version https://git-lfs",
        "a Git LFS pointer, a few lines that stand for the file; `git lfs pull` fetches the file",
    ),
)


def kind_of(content: bytes) -> str:
    """Say in words what a file is, judged by its first bytes.

    Parameters
    ----------
    content : bytes
        The file's bytes, or only the first 512.

    Returns
    -------
    str
        For example ``"this is gzip data"``, or ``"of an unknown kind"``.
    """
    start = content[:512]
    if not start:
        return "it is empty"
    if start.startswith(ZIP_MAGIC) and b"/data.pkl" in start:
        return "this is a PyTorch file, a pickle in a zip archive, which is never opened"
    for magic, words in _KINDS:
        if start.startswith(magic):
            return f"this is {words}"
    if start[257:262] == b"ustar":
        return "this is a tar archive; unpack it"
    try:
        text = start.decode().lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # else a letter that the 512 bytes cut
            return UNKNOWN
        text = start[: error.start].decode()
    if any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in text):
        return UNKNOWN
    if text.startswith("<"):
        return "this is HTML or XML text, perhaps the error page of a server"
    return "this is JSON text" if text.startswith(("{", "[")) else "this is plain text"

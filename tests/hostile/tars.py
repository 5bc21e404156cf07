"""Tar files, member by member and header by header."""

import io
import tarfile


def tar(members, **options):
    """A tar of named contents, in this order; a content that is a header is put in as it is."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as archive:
        for name, content in members.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                archive.addfile(member)
    return stream.getvalue()


def special(name, kind, target=""):
    """A member that is a link, a device or a pipe."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    member.devmajor, member.devminor = 1, 8  # /dev/random
    return member


def pax(fields, *, size=None, kind=tarfile.XHDTYPE):
    """An extended header by hand; ``fields`` are records of "<length> <key>=<value>\\n"."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = kind, len(fields) if size is None else size
    return header.tobuf(tarfile.USTAR_FORMAT) + fields + b"\0" * (-len(fields) % 512)


def claimed(name, size):
    """The header of a member that claims this many bytes, with none of them behind it."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)

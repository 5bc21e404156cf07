import pytest


@pytest.fixture
def write(tmp_path, request):
    """Writes a file that begins with the HEAD of the test's module."""

    def write(body, head=request.module.HEAD):
        path = tmp_path / "my.yaml"
        path.write_bytes(head.encode() + (body if isinstance(body, bytes) else body.encode()))
        return path

    return write

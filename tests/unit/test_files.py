"""Files that are there whole or not at all."""

import pytest

from epizarr.errors import OutputExistsError
from epizarr.io.files import new_file


def test_new_file__appears_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "deep" / "t.bw"
    with new_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert ([p.name for p in path.parent.iterdir()], path.read_text()) == (["t.bw"], "new")


def write_half(path):
    path.write_text("half")
    raise InterruptedError


def test_new_file__leaves_the_old_file_if_the_block_fails(tmp_path):
    path = tmp_path / "t.bw"
    path.write_text("old")
    with pytest.raises(InterruptedError), new_file(path, overwrite=True) as temporary:
        write_half(temporary)
    assert ([p.name for p in tmp_path.iterdir()], path.read_text()) == (["t.bw"], "old")


def test_new_file__replaces_on_request(tmp_path):
    path = tmp_path / "t.bw"
    path.write_text("old")
    with new_file(path, overwrite=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_new_file__refuses_to_replace_unasked(tmp_path):
    path = tmp_path / "t.bw"
    path.write_text("old")
    with pytest.raises(OutputExistsError, match="--overwrite"), new_file(path):
        pass


def test_new_file__never_replaces_a_folder(tmp_path):
    with pytest.raises(OutputExistsError, match="is a folder"), new_file(tmp_path, overwrite=True):
        pass


def test_new_file__refuses_what_came_up_meanwhile(tmp_path):
    path = tmp_path / "a.bw"

    def is_overtaken():
        with new_file(path) as temporary:
            temporary.write_text("mine")
            path.write_text("theirs")

    with pytest.raises(OutputExistsError, match="exists already"):
        is_overtaken()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.bw", "theirs")]

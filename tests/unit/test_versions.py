import importlib
import sys

from ssr_hydra import versions as code
from ssr_hydra.versions import code_version


def test_digest_depends_on_path_and_content_of_every_source_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "my_code_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner/a.py").write_text("x = 1\n")

    def version():
        return code_version(["my_code_package.inner.a"])["my_code_package"]

    first = version()
    assert version() == first
    (package / "notes.txt").write_text("not code")
    assert version() == first
    (package / "inner/a.py").write_text("x = 2\n")
    second = version()
    assert second != first
    (package / "inner/a.py").rename(package / "inner/b.py")
    assert version() not in (first, second)


def test_imported_package_keeps_its_digest_when_its_files_are_edited(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_code_imported.py").write_text("x = 1\n")
    first = code_version(["my_code_imported"])
    importlib.import_module("my_code_imported")
    assert code_version(["my_code_imported"]) == first
    (tmp_path / "my_code_imported.py").write_text("x = 2\n")
    assert code_version(["my_code_imported"]) == first  # the digest of the code that this process runs
    del sys.modules["my_code_imported"]
    monkeypatch.setattr(code, "_imported", {})
    assert code_version(["my_code_imported"]) != first


def test_digest_supports_single_files_and_missing_modules(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_code_file.py").write_text("x = 1\n")
    versions = code_version(["my_code_file", "my_missing_code", "sys"])
    assert sorted(versions) == ["my_code_file", "my_missing_code", "ssr_hydra", "sys"]
    (tmp_path / "my_code_file.py").write_text("x = 2\n")
    again = code_version(["my_code_file", "my_missing_code", "sys"])
    assert {name for name in versions if versions[name] != again[name]} == {"my_code_file"}

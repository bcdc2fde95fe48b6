from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from korformer.data import building
from korformer.data.store import TokenStore, build_store, cached_store, default_cache
from korformer.errors import InputError, ModelDirectoryError, PathError, ResourceError
from korformer.events import Event, Notice, Progress
from korformer.storage import write_manifest
from korformer.text.documents import ReadSettings
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

TEXTS = ["가나다", "라", "마바\n사", "가" * 50]


class TestBuilding:
    def test_documents_come_back_with_cls_and_sep(self, tmp_path: Path, vocabulary: Any) -> None:
        store = build_store(iter(TEXTS), vocabulary, tmp_path / "store")
        for text, index in zip(TEXTS, range(4), strict=True):
            assert store.document(index).tolist() == [2, *vocabulary.encode_batch([text])[0], 3]
        assert (store.documents, store.tokens, store.characters) == (4, 58 + 8, 58)
        assert store.unknown_tokens == 1  # the line break
        assert store.vocabulary_fingerprint == "syllables"
        again = TokenStore.open(tmp_path / "store")
        assert again.document(2).tolist() == store.document(2).tolist()
        assert again.fingerprint == store.fingerprint

    def test_with_a_real_vocabulary_texts_come_back(self, tmp_path: Path) -> None:
        texts = [
            "비가 그치자 골목이 조용해졌다.\n\n고양이가 담 위를 걸었다.",
            "### 제목 [SEP] 본문",
            "골목 끝 담 위의 고양이",
        ]
        vocabulary = train_vocabulary(texts, VocabularySettings(size=700))
        store = build_store(texts, vocabulary, tmp_path / "store")
        for index, text in enumerate(texts):
            ids = store.document(index)
            assert (ids[0], ids[-1]) == (2, 3)
            assert vocabulary.decode(ids[1:-1].tolist()) == text
        assert store.unknown_tokens == 0
        store.require_vocabulary(vocabulary.fingerprint)

    def test_what_lies_on_disk(self, tmp_path: Path, vocabulary: Any) -> None:
        store = build_store(["가나", "다"], vocabulary, tmp_path / "store")
        assert sorted(os.listdir(store.path)) == ["documents.bin", "manifest.json", "store.json", "tokens.bin"]
        first, second, third = vocabulary.encode_batch(["가나다"])[0]
        tokens = np.frombuffer((store.path / "tokens.bin").read_bytes(), "<u2")
        assert tokens.tolist() == [2, first, second, 3, 2, third, 3]
        assert np.frombuffer((store.path / "documents.bin").read_bytes(), "<u8").tolist() == [0, 4, 7]

    @pytest.mark.parametrize(("size", "bytes_each"), [(65_536, 2), (65_537, 4)])
    def test_large_vocabularies_take_four_bytes(
        self, tmp_path: Path, make_vocabulary: Any, size: int, bytes_each: int
    ) -> None:
        vocabulary = make_vocabulary(size=size)
        vocabulary.encode_batch = lambda texts, add_special_tokens=False: [[size - 1] for _ in texts]
        store = build_store(["가", "나"], vocabulary, tmp_path / "store")
        assert store.document(1).tolist() == [2, size - 1, 3]
        assert store.document(1).dtype.itemsize == bytes_each
        assert (store.path / "tokens.bin").stat().st_size == 6 * bytes_each

    def test_documents_are_read_only(self, tmp_path: Path, vocabulary: Any) -> None:
        ids = build_store(TEXTS, vocabulary, tmp_path / "store").document(0)
        with pytest.raises(ValueError, match="read-only"):
            ids[0] = 1

    def test_no_such_document(self, tmp_path: Path, vocabulary: Any) -> None:
        store = build_store(TEXTS, vocabulary, tmp_path / "store")
        for index in (-1, 4):
            with pytest.raises(IndexError):
                store.document(index)

    def test_no_text(self, tmp_path: Path, vocabulary: Any) -> None:
        with pytest.raises(InputError, match="no text"):
            build_store(iter(["", ""]), vocabulary, tmp_path / "store")
        assert not list(tmp_path.iterdir())

    def test_interrupted_leaves_nothing(self, tmp_path: Path, vocabulary: Any) -> None:
        def documents() -> Iterator[str]:
            yield "가" * (3 << 20)
            yield "나"
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build_store(documents(), vocabulary, tmp_path / "cache" / "store")
        assert not list(tmp_path.iterdir())

    def test_batches_are_bounded_and_a_giant_document_is_one(
        self, tmp_path: Path, vocabulary: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(building, "_BATCH_CHARACTERS", 100)
        lengths = [60, 30, 30, 5, 500, 1, 99, 100, 1]
        store = build_store(("가" * length for length in lengths), vocabulary, tmp_path / "store")
        assert vocabulary.calls == [90, 35, 500, 100, 100, 1]
        assert [len(store.document(index)) - 2 for index in range(store.documents)] == lengths

    def test_memory_does_not_grow_with_the_number_of_documents(
        self, tmp_path: Path, vocabulary: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(building, "_BATCH_CHARACTERS", 1000)
        peaks = []
        for count in (300, 3000):
            tracemalloc.start()
            build_store(("가" * 100 for _ in range(count)), vocabulary, tmp_path / "store", replace=True)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.2 * peaks[0]


class TestOpening:
    @pytest.fixture
    def store(self, tmp_path: Path, vocabulary: Any) -> Path:
        return build_store(TEXTS, vocabulary, tmp_path / "store").path

    @pytest.mark.parametrize("name", ["tokens.bin", "documents.bin", "store.json", "manifest.json"])
    def test_one_changed_bit_is_refused(self, store: Path, name: str) -> None:
        data = bytearray((store / name).read_bytes())
        data[len(data) // 2] ^= 1
        (store / name).write_bytes(data)
        with pytest.raises(ModelDirectoryError):
            TokenStore.open(store)

    @pytest.mark.parametrize("name", ["tokens.bin", "documents.bin", "store.json", "manifest.json"])
    def test_a_missing_or_cut_file_is_refused_even_unverified(self, store: Path, name: str) -> None:
        data = (store / name).read_bytes()
        (store / name).write_bytes(data[:-1] if name.endswith("bin") else data[:-3])
        with pytest.raises(ModelDirectoryError):
            TokenStore.open(store, verify=False)
        (store / name).unlink()
        with pytest.raises(ModelDirectoryError, match=f"has no {name}"):
            TokenStore.open(store, verify=False)

    @pytest.mark.parametrize(
        "change",
        [
            {"format": "other"},
            {"version": 2},
            {"documents": -1},
            {"documents": 4.0},
            {"tokens": None},
            {"vocabulary_fingerprint": 3},
            {"vocabulary_size": 1 << 20},
            {"tokens": 65},
        ],
    )
    def test_a_header_that_lies_is_refused_though_its_manifest_agrees(
        self, store: Path, change: dict[str, Any]
    ) -> None:
        header = json.loads((store / "store.json").read_text(encoding="utf-8")) | change
        (store / "store.json").write_text(json.dumps(header), encoding="utf-8")
        write_manifest(store)
        with pytest.raises(ModelDirectoryError):
            TokenStore.open(store)

    def test_ids_and_offsets_that_lie_are_refused_when_read(self, store: Path) -> None:
        offsets = np.frombuffer((store / "documents.bin").read_bytes(), "<u8").copy()
        for lie in ([0, 5, 3, 14, 66], [0, 5, 8, 14, 1 << 63], [0, 5, 5, 14, 66]):
            (store / "documents.bin").write_bytes(np.array(lie, "<u8").tobytes())
            write_manifest(store)
            with pytest.raises(ModelDirectoryError, match="impossible offsets"):
                for index in range(4):
                    TokenStore.open(store).document(index)
        (store / "documents.bin").write_bytes(offsets.tobytes())
        tokens = np.frombuffer((store / "tokens.bin").read_bytes(), "<u2").copy()
        tokens[1] = 12_000
        (store / "tokens.bin").write_bytes(tokens.tobytes())
        write_manifest(store)
        with pytest.raises(ModelDirectoryError, match="outside the vocabulary"):
            TokenStore.open(store).document(0)

    def test_another_vocabulary(self, store: Path) -> None:
        opened = TokenStore.open(store)
        opened.require_vocabulary("syllables")
        with pytest.raises(ModelDirectoryError, match="another vocabulary"):
            opened.require_vocabulary("words")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(PathError):
            TokenStore.open(tmp_path / "none")

    def test_reading_leaves_memory_flat(self, tmp_path: Path, vocabulary: Any) -> None:
        store = build_store(("가" * 1000 for _ in range(300)), vocabulary, tmp_path / "large")
        tracemalloc.start()
        for index in range(300):
            store.document(index)
        assert tracemalloc.get_traced_memory()[1] < 20_000
        tracemalloc.stop()


class TestCache:
    @pytest.fixture
    def corpus(self, tmp_path: Path) -> Path:
        path = tmp_path / "말뭉치.txt"
        path.write_text("가나다\n\n라마\n바\n", encoding="utf-8")
        return path

    @pytest.fixture
    def cache(self, tmp_path: Path) -> Path:
        return tmp_path / "cache"

    def test_is_made_once_and_found_again(self, corpus: Path, cache: Path, vocabulary: Any) -> None:
        events: list[Event] = []
        first = cached_store([str(corpus)], vocabulary, cache, listen=events.append)
        assert first.documents == 2
        assert vocabulary.calls
        vocabulary.calls.clear()
        second = cached_store([str(corpus)], vocabulary, cache, listen=events.append)
        assert not vocabulary.calls
        assert second.path == first.path
        assert first.path.name.startswith("말뭉치-")
        assert any(isinstance(event, Notice) and "used again" in event.text for event in events)

    def test_progress_is_of_bytes_and_reaches_its_end(self, corpus: Path, cache: Path, vocabulary: Any) -> None:
        events: list[Event] = []
        cached_store([str(corpus)], vocabulary, cache, listen=events.append)
        bars = [event for event in events if isinstance(event, Progress) and event.stage == "tokenizing"]
        assert {(event.unit, event.total) for event in bars} == {("bytes", corpus.stat().st_size)}
        assert bars[-1].done == bars[-1].total
        assert not [event for event in events if isinstance(event, Progress) and event.stage == "reading"]

    def test_content_vocabulary_and_reading_decide(
        self, corpus: Path, cache: Path, tmp_path: Path, make_vocabulary: Any
    ) -> None:
        places = {cached_store([str(corpus)], make_vocabulary(), cache).path}
        places.add(cached_store([str(corpus)], make_vocabulary(fingerprint="other"), cache).path)
        places.add(cached_store([str(corpus)], make_vocabulary(), cache, read=ReadSettings(document="file")).path)
        (tmp_path / "elsewhere").mkdir()
        moved = tmp_path / "elsewhere" / corpus.name
        moved.write_bytes(corpus.read_bytes())
        assert cached_store([str(moved)], make_vocabulary(), cache).path in places
        corpus.write_text("가나다\n\n라마\n사\n", encoding="utf-8")
        places.add(cached_store([str(corpus)], make_vocabulary(), cache).path)
        assert len(places) == 4
        assert sorted(os.listdir(cache)) == sorted(place.name for place in places)

    def test_a_damaged_one_is_made_again(self, corpus: Path, cache: Path, vocabulary: Any) -> None:
        store = cached_store([str(corpus)], vocabulary, cache)
        good = (store.path / "tokens.bin").read_bytes()
        (store.path / "tokens.bin").write_bytes(b"\xff" * len(good))
        events: list[Event] = []
        again = cached_store([str(corpus)], vocabulary, cache, listen=events.append)
        assert again.path == store.path
        assert (again.path / "tokens.bin").read_bytes() == good
        assert any(isinstance(event, Notice) and event.level == "warning" for event in events)
        TokenStore.open(again.path)

    def test_no_text_leaves_nothing(self, tmp_path: Path, cache: Path, vocabulary: Any) -> None:
        (tmp_path / "empty.txt").write_text(" \n\n", encoding="utf-8")
        with pytest.raises(InputError):
            cached_store([str(tmp_path / "empty.txt")], vocabulary, cache)
        assert not cache.exists()

    def test_a_pipe_is_tokenized_each_time(self, tmp_path: Path, cache: Path, vocabulary: Any) -> None:
        fingerprints = []
        for text in ("가나다\n", "가나다\n", "라마\n"):
            reader, writer = os.pipe()
            os.write(writer, text.encode())
            os.close(writer)
            try:
                store = cached_store([f"/dev/fd/{reader}"], vocabulary, cache)
            finally:
                os.close(reader)
            fingerprints.append(store.fingerprint)
            assert store.documents == 1
        assert fingerprints[0] == fingerprints[1] != fingerprints[2]
        assert len(os.listdir(cache)) == 1

    def test_room_is_looked_for_first(
        self, tmp_path: Path, cache: Path, vocabulary: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        corpus = tmp_path / "a.txt.gz"
        corpus.write_bytes(gzip.compress(os.urandom(3000).hex().encode()))
        monkeypatch.setattr("korformer.storage.directories.free_bytes", lambda path: 1000)
        with pytest.raises(ResourceError, match="1,000 bytes free"):
            cached_store([str(corpus)], vocabulary, cache)
        assert not vocabulary.calls
        assert not cache.exists()

    def test_leftovers_of_dead_builders_go(self, corpus: Path, cache: Path, vocabulary: Any) -> None:
        store = cached_store([str(corpus)], vocabulary, cache)
        from korformer.storage.atomic import temporary_path

        head, _, started, tail = temporary_path(cache).name.rsplit("-", 3)
        (cache / f"{head}-999999999-{started}-{tail}").mkdir()
        cached_store([str(corpus)], vocabulary, cache)
        assert os.listdir(cache) == [store.path.name]

    def test_the_users_cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert default_cache() == tmp_path / "korformer" / "tokens"

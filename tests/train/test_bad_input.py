"""Wrong input, as the user gives it: exit 2, one line with what, where and the fix, and nothing touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from jaxbert.commands import main as cli
from jaxbert.config import DataConfig, find_config, save_json
from jaxbert.config.overrides import apply_overrides
from jaxbert.convert.hf import write_hf
from jaxbert.data.from_source import make_rows
from jaxbert.models.model import Model
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer

Words = list[str]

# Each: arguments, made from the place they run in; words of the line.
BAD: dict[str, tuple[Callable[[Path], list[str]], Words]] = {
    "missing file": (
        lambda at: ["prepare", f"text:{at}/nothing.txt", "--tokenizer", f"{at}/tokenizer", "--out", f"{at}/new"],
        ["nothing.txt"],
    ),
    "empty file": (
        lambda at: ["prepare", f"text:{at}/empty.txt", "--tokenizer", f"{at}/tokenizer", "--out", f"{at}/new"],
        ["empty.txt"],
    ),
    "not UTF-8": (
        lambda at: ["prepare", f"text:{at}/latin.txt", "--tokenizer", f"{at}/tokenizer", "--out", f"{at}/new"],
        ["latin.txt", "UTF-8"],
    ),
    "a directory where a file is due": (
        lambda at: ["prepare", f"text:{at}/folder", "--tokenizer", f"{at}/tokenizer", "--out", f"{at}/new"],
        ["the folder has no files", "E-SOURCE-FILE"],
    ),
    "a file where a directory is due": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/empty.txt"],
        ["empty.txt", "E-WORKDIR-FILE"],
    ),
    "no tokenizer there": (
        lambda at: ["prepare", f"text:{at}/corpus.txt", "--tokenizer", f"{at}/folder", "--out", f"{at}/new"],
        ["folder"],
    ),
    "no rows there": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--data", f"{at}/folder"],
        ["folder"],
    ),
    "records where rows are due": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--data", f"{at}/records"],
        ["records"],
    ),
    "a tokenizer of another size than the model's": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "encoder.vocab_size=999"],
        ["vocabulary", "999", "E-ROWS-VOCABULARY"],
    ),
    "rows of different tokenizers": (
        lambda at: [
            *("pretrain", f"{at}/run.py", "--workdir", f"{at}/new"),
            *("--data", f"{at}/rows-segment_pair-32", f"{at}/other/rows-segment_pair-32"),
        ],
        ["tokenizer"],
    ),
    "a tokenizer that does not match the records": (
        lambda at: [
            *("prepare", f"text:{at}/corpus.txt", "--tokenizer", f"{at}/other/tokenizer", "--out", f"{at}/records"),
        ],
        ["records", "--overwrite"],
    ),
    "rows of another length": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "phases.*.length=16"],
        ["length", "16", "32"],
    ),
    "a batch that the mesh does not divide": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "phases.a.batch_size=10"],
        ["batch_size", "10", "multiple of 4", "E-CONFIG-BATCH"],
    ),
    "a mesh that the devices do not make": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "mesh.data=3"],
        ["4 devices", "mesh"],
    ),
    "unknown key": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "encoder.hiden_size=3"],
        ["Did you mean encoder.hidden_size?"],
    ),
    "mistyped value": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "encoder.hidden_size=wide"],
        ["encoder.hidden_size", "whole number"],
    ),
    "a workdir of something else": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/records"],
        ["records", "E-WORKDIR-FOREIGN"],
    ),
    "a workdir of something else, with --overwrite": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/records", "--overwrite"],
        ["records", "E-WORKDIR-FOREIGN"],
    ),
    "a workdir of another run": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/old"],
        ["old", "seed: 9 -> 0", "E-WORKDIR-OTHER-RUN"],
    ),
    "no source": (
        lambda at: [
            *("pretrain", f"{at}/run.py", "--workdir", f"{at}/new"),
            *("--set", "phases.*.rows=[]", f"data.source=text:{at}/nothing.txt"),
        ],
        ["nothing.txt"],
    ),
    "no source for the run that replaces another": (
        lambda at: [
            *("pretrain", f"{at}/run.py", "--workdir", f"{at}/old", "--overwrite"),
            *("--set", "phases.*.rows=[]", f"data.source=text:{at}/nothing.txt"),
        ],
        ["nothing.txt"],
    ),
    "rows inside the workdir that is replaced": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/old", "--overwrite", "--data", f"{at}/old/data"],
        ["old/data", "E-WORKDIR-INPUT"],
    ),
    "rows with another tokenizer beside them": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--data", f"{at}/swapped"],
        ["swapped", "E-ROWS-TOKENIZER"],
    ),
    "an initial model of another size": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--init", f"{at}/folder"],
        ["folder"],
    ),
    "a share that is none": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "encoder.dropout=1.5"],
        ["encoder.dropout"],
    ),
    "an unknown family": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "encoder.family=albrt"],
        ["albrt", "Did you mean albert?"],
    ),
    "groups that do not divide the layers": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "encoder.layer_groups=3"],
        ["encoder.layer_groups", "3 groups", "2 layers"],
    ),
    "an objective that the rows do not fit": (
        lambda at: [
            *("pretrain", f"{at}/run.py", "--workdir", f"{at}/new"),
            *("--set", "objectives.next_sentence=none", "objectives.sentence_order=default", "encoder.family=albert"),
            *("encoder.embedding_size=16", "encoder.layer_groups=1"),
        ],
        ["sentence_order", "segment_pair", "ordered_pair"],
    ),
    "an objective that the policy does not fit": (
        lambda at: [
            *("pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "phases.*.rows=[]"),
            *(f"data.source=text:{at}/corpus.txt", "data.policy=packed"),
        ],
        ["next_sentence", "packed", "segment_pair", "objectives.next_sentence=none"],
    ),
    "two objectives for the same label": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "objectives.sentence_order=default"],
        ["next_sentence", "sentence_order"],
    ),
    "boundaries of no spans": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "objectives.span_boundary=default"],
        ["span_boundary", "scheme=span", "E-OBJECTIVE-SPANS"],
    ),
    "an unknown masking scheme": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "objectives.masked_lm.scheme=words"],
        ["words", "whole_word"],
    ),
    "an unknown objective": (
        lambda at: [
            *("pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set"),
            'objectives.extra=[{"name": "span_boundry"}]',
        ],
        ["span_boundry", "Did you mean span_boundary", "E-CONFIG-NAME"],
    ),
    "a student without a teacher": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "objectives.distillation=default"],
        ["E-CONFIG-DISTILLATION", "distillation.teacher"],
    ),
    "a teacher that is not there": (lambda at: distilled(at, f"{at}/nothing"), ["nothing", "E-MODEL-MISSING"]),
    "a teacher of a vocabulary of another size": (
        lambda at: distilled(at, f"{at}/teacher", "encoder.vocab_size=190"),
        ["vocabulary", "190"],
    ),
    "a teacher of another vocabulary": (
        lambda at: distilled(at, f"{at}/teacher", rows=f"{at}/other/rows-segment_pair-32"),
        ["another vocabulary"],
    ),
    "a teacher to be trained, and rows that are there": (
        lambda at: distilled(at, f"config:{at}/first.json", rows=f"{at}/rows-segment_pair-32"),
        ["E-RUN-TEACHER-VOCABULARY", "rows-segment_pair-32"],
    ),
    "an unknown config of a teacher": (lambda at: distilled(at, "config:bert_tinny"), ["bert_tinny", "bert_tiny"]),
    "pairs of a tokenizer that pairs otherwise": (
        lambda at: [
            *("pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "phases.*.rows=[]"),
            *(f"data.source=text:{at}/corpus.txt", "data.tokenizer_kind=bpe", "data.lowercase=false"),
            "encoder.vocab_size=300",
        ],
        ["segment_pair", "bpe", "E-ROWS-PAIRS"],
    ),
    "an extra objective that has a field": (
        lambda at: [
            *("pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set"),
            'objectives.extra=[{"name": "sentence_order"}]',
        ],
        ["sentence_order", "objectives.sentence_order=default", "E-OBJECTIVE-EXTRA"],
    ),
    "a layer that the teacher does not have": (
        lambda at: distilled(at, f"{at}/teacher", "objectives.distillation.layers=[0,2]"),
        ["layer 2", "0 to 1"],
    ),
    "a layer too many": (
        lambda at: distilled(at, f"{at}/teacher", "objectives.distillation.layers=[0,1,1]"),
        ["3 layers", "2 of the student", "E-CONFIG-DISTILLATION"],
    ),
    "layers of another width": (
        lambda at: distilled(at, f"{at}/teacher", "objectives.distillation.layers=[0,1]", "encoder.hidden_size=16"),
        ["hidden_size is 16", "layers=[]", "E-CONFIG-DISTILLATION"],
    ),
    "one token type for pairs": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", "--set", "encoder.type_vocab_size=1"],
        ["type_vocab_size"],
    ),
    "no permission": (
        lambda at: ["pretrain", f"{at}/run.py", "--workdir", f"{at}/locked/new"],
        ["E-WORKDIR-PERMISSION", "locked"],
    ),
    "no such model": (lambda at: ["evaluate", f"{at}/nothing"], ["nothing"]),
    "a model without checkpoints": (lambda at: ["fill-mask", f"{at}/folder", "a [MASK]"], ["folder"]),
}


def distilled(at: Path, teacher: str, *settings: str, rows: str = "") -> list[str]:
    """Arguments of a run with this teacher."""
    settings = (f"objectives.distillation.teacher={teacher}", *settings)
    data = ("--data", rows) if rows else ()
    return ["pretrain", f"{at}/run.py", "--workdir", f"{at}/new", *data, "--set", *settings]


@pytest.fixture(scope="module")
def place(tiny, tiny_config, tmp_path_factory) -> Path:
    at = tmp_path_factory.mktemp("place")
    shutil.copytree(tiny, at, dirs_exist_ok=True)
    (at / "run.py").write_text(tiny_config.read_text().replace(str(tiny), str(at)), encoding="utf-8")
    (at / "empty.txt").write_text("")
    (at / "latin.txt").write_bytes("café au lait. ".encode("latin-1") * 50)
    (at / "folder").mkdir()
    (at / "locked").mkdir(mode=0o555)
    # The same words in lower-case halves: as many pieces, other ones.
    text = (at / "corpus.txt").read_text()
    (at / "other").mkdir()
    train_tokenizer("wordpiece", [text[: len(text) // 3]], vocab_size=200, lowercase=False).save(at / "other/tokenizer")
    make_rows(
        DataConfig(source=f"text:{at}/corpus.txt", validation_fraction=0.1, tokenizer=f"{at}/other/tokenizer"),
        vocab_size=200,
        lengths=[32],
        seed=0,
        out=at / "other",
        workers=1,
        sentence_structure=True,
    )
    shutil.copytree(at / "rows-segment_pair-32", at / "swapped")
    shutil.rmtree(at / "swapped/tokenizer")
    shutil.copytree(at / "other/tokenizer", at / "swapped/tokenizer")
    # A teacher: a model of the rows' vocabulary.
    tokenizer = Tokenizer.load(at / "rows-segment_pair-32/tokenizer")
    encoder = find_config(str(at / "run.py")).encoder
    write_hf(at / "teacher", encoder, Model(encoder, ["masked_lm"]).init(jax.random.key(0)), tokenizer)
    save_json(
        apply_overrides(find_config(str(at / "run.py")), ["phases.*.rows=[]", f"data.source=text:{at}/corpus.txt"]),
        at / "first.json",
    )
    # A run of another seed, with something to lose.
    (at / "old/checkpoints/5").mkdir(parents=True)
    (at / "old/checkpoints/5/weights").write_text("dear")
    (at / "old/data").mkdir()
    save_json(apply_overrides(find_config(str(at / "run.py")), ["seed=9"]), at / "old/config.json")
    return at


def snapshot(at: Path) -> dict[Path, tuple[int, int] | None]:
    """Size and time of each file; of directories that they are there."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None for path in at.rglob("*")}


@pytest.fixture
def without_privileges(place, monkeypatch):
    """Root may write everywhere; as nobody, it may not."""
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    if os.geteuid() == 0:
        # pytest's directories are their owner's alone.
        for path in [place, *place.parents][:4]:
            if "pytest" in path.name or path == place or path.name.startswith("popen"):
                path.chmod(path.stat().st_mode | 0o055)


@pytest.mark.parametrize("name", BAD)
def test_bad_input(place, without_privileges, capsys, name):
    arguments, words = BAD[name][0](place), BAD[name][1]
    before = snapshot(place)
    drop = name == "no permission" and os.geteuid() == 0
    if drop:
        os.seteuid(65534)
    try:
        code = cli.main(arguments)
    finally:
        if drop:
            os.seteuid(0)
    _, errors = capsys.readouterr()
    lines = [line for line in errors.splitlines() if line.startswith("jaxbert: error: ")]
    assert code == 2, errors
    assert len(lines) == 1 and errors.rstrip().endswith(lines[0]) and "Traceback" not in errors
    for word in words:
        assert word in lines[0]
    assert snapshot(place) == before

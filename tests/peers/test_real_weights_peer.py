"""Compares trained weights, of a sentence encoder and a protein model, with the same weights in transformers."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import jaxbert
from jaxbert.commands.main import main
from jaxbert.use.predict import fill_mask

# Variable domains of trastuzumab, heavy and light chain (Carter et al. 1992).
SEQUENCES = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS",
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPPTFGQGTKVEIK",
)
OTHER_HEADS = ["cls.species.*", "cls.chain.*", "cls.graft.*"]


@pytest.fixture(scope="module")
def antiberty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published model: a torch pickle, with three heads that no class of transformers has."""
    spec = importlib.util.find_spec("antiberty")
    assert spec is not None and spec.origin is not None, "pip install --no-deps antiberty==0.1.3"
    trained = Path(spec.origin).parent / "trained_models"
    out = tmp_path_factory.mktemp("antiberty")
    for file in ("AntiBERTy_md_smooth/config.json", "AntiBERTy_md_smooth/pytorch_model.bin", "vocab.txt"):
        shutil.copy(trained / file, out)
    return out


def masked(sequence: str, place: int) -> str:
    return " ".join([*sequence[:place], "[MASK]", *sequence[place + 1 :]])


def test_a_protein_models_residues_are_torchs(antiberty: Path, tmp_path: Path) -> None:
    """Every residue masked in turn: probabilities within 1e-5 and the same first five as torch's own reading gives."""
    assert main(["convert", str(antiberty), str(tmp_path / "out"), "--to", "hf", "--drop", *OTHER_HEADS]) == 0
    receipt = json.loads((tmp_path / "out" / "receipt.json").read_text())
    assert receipt["gate"]["differences"]["transformers"]["masked_lm"] < 1e-5

    state = torch.load(antiberty / "pytorch_model.bin", weights_only=True, map_location="cpu")
    config = transformers.BertConfig.from_pretrained(antiberty)
    peer = transformers.BertForPreTraining(config).eval()
    report = peer.load_state_dict(state, strict=False)
    assert {name.split(".")[1] for name in report.unexpected_keys} <= {"species", "chain", "graft", "embeddings"}
    assert set(report.missing_keys) <= {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}
    model = jaxbert.load(tmp_path / "out")
    assert model.tokenizer is not None and not model.tokenizer.lowercase
    right = 0
    for sequence in SEQUENCES:
        places = range(0, len(sequence), 7)
        texts = [masked(sequence, place) for place in places]
        batch = model.batch(texts)
        with torch.no_grad():
            logits = peer(torch.tensor(batch["tokens"]).long(), torch.tensor(batch["group"]).long()).prediction_logits
        for row, (place, filled) in enumerate(zip(places, fill_mask(model, texts, top=5), strict=True)):
            theirs = torch.softmax(logits[row, place + 1], dim=-1)
            best = torch.topk(theirs, 5)
            assert [candidate.id for candidate in filled.candidates] == best.indices.tolist()
            np.testing.assert_allclose([c.probability for c in filled.candidates], best.values, rtol=1e-4, atol=1e-6)
            right += filled.candidates[0].token == sequence[place]
    count = sum(len(range(0, len(sequence), 7)) for sequence in SEQUENCES)
    print(f"{right} of {count} masked residues are the sequence's own")
    assert right > count / 2  # a trained model, read rightly: chance is one in twenty


def test_its_other_heads_are_named_not_dropped(
    antiberty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(antiberty), str(tmp_path / "out"), "--to", "hf"]) == 2
    error = capsys.readouterr().err
    assert "tensor 'cls.chain.bias' and 5 more belongs to no parameter of a bert" in error and "--drop" in error
    assert not list(tmp_path.iterdir())


def test_a_model_trained_here_fills_masks_the_same_there(tiny_config: Path, tmp_path: Path) -> None:
    """AutoModelForMaskedLM and its fill-mask pipeline: the same five pieces, in the same order."""
    assert main(["pretrain", str(tiny_config), "--workdir", str(tmp_path / "run")]) == 0
    assert main(["convert", str(tmp_path / "run"), str(tmp_path / "out"), "--to", "hf"]) == 0
    opened = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    assert type(opened).__name__ == "BertForMaskedLM"
    texts = ["The old [MASK] sees a red house.", "A cat walks [MASK] the river while it runs.", "[MASK] dog takes it"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    pipeline = transformers.pipeline("fill-mask", model=opened, tokenizer=tokenizer, top_k=5)
    for text, filled in zip(texts, fill_mask(jaxbert.load(tmp_path / "run"), texts), strict=True):
        theirs = pipeline(text)
        ours = [(candidate.id, candidate.probability) for candidate in filled.candidates]
        assert [index for index, _ in ours] == [answer["token"] for answer in theirs]
        np.testing.assert_allclose([share for _, share in ours], [answer["score"] for answer in theirs], rtol=1e-3)

"""The doctor on this machine, and on machines where something is missing."""

from __future__ import annotations

import json

from jaxbert.commands import main as cli
from jaxbert.observe import doctor
from jaxbert.observe.accelerators import Accelerators


def test_on_this_machine_everything_needed_works(capsys, tmp_path):
    code = cli.main(["doctor", "--json", str(tmp_path / "doctor.json")])
    out = capsys.readouterr().out
    assert code == 0, out
    for word in ("python", "packages", "devices", "tfds", "memory", "disk", "energy", "extra hf"):
        assert word in out
    findings = json.loads((tmp_path / "doctor.json").read_text())["findings"]
    states = {finding["name"]: finding["state"] for finding in findings}
    assert states["devices"] == states["tfds"] == states["packages"] == "works"
    assert all(
        finding["advice"]
        for finding in findings
        if finding["name"].startswith("extra") and finding["state"] == "absent"
    )


def test_a_missing_package_is_broken_and_named(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "NEEDED", {"no_such_module": "no-such-package", "json": "json"})
    monkeypatch.setattr(doctor, "_run", lambda program: ("", "no backend"))
    assert cli.main(["doctor"]) == 2
    out, err = capsys.readouterr()
    assert "pip install 'no-such-package'" in out and "no backend" in out
    assert err.startswith("jaxbert: error: broken: packages, no-such-package, devices, tfds (doctor). ")
    assert err.endswith("[E-DOCTOR-BROKEN]\n")


def test_a_backend_that_hangs_does_not_hang_the_doctor(monkeypatch):
    monkeypatch.setattr(doctor, "_BACKEND_SECONDS", 0.2)
    monkeypatch.setattr(doctor, "_BACKEND", "import time; time.sleep(60)")
    finding = next(iter(doctor._devices()))
    assert finding.state == "broken" and "no answer" in finding.says and "Another process" in finding.advice


def test_an_accelerator_that_jax_does_not_use_comes_with_advice():
    here = Accelerators(driver="580.65.06", cards=2, tpu=True)
    tpu, gpu = doctor._accelerators("cpu", "0.10.2", here)
    assert tpu.state == gpu.state == "absent"
    assert "jax[tpu]==0.10.2" in tpu.advice and "jax[cuda13]==0.10.2" in gpu.advice
    assert "580.65.06" in gpu.says and "LD_LIBRARY_PATH" in gpu.says
    # What jax uses needs no advice.
    assert not any(
        finding.advice
        for finding in doctor._accelerators("gpu", "0.10.2", Accelerators(driver="580.65.06"))
        if finding.name == "gpu"
    )


def test_a_backend_that_fails_comes_with_what_the_machine_has(monkeypatch):
    monkeypatch.setattr(doctor, "_run", lambda program: ("", "RuntimeError: Unable to initialize backend 'cuda'"))
    monkeypatch.setattr(doctor, "accelerators", lambda: Accelerators(driver="550.54.14", cards=1))
    devices, _, gpu = doctor._devices()
    assert devices.state == "broken" and "jax[cuda12]==" in gpu.advice

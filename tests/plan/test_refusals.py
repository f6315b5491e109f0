"""Answers of the TPU compiler that refuses a step: too large, of another version, or a bug of ours."""

from __future__ import annotations

import pytest

from jaxbert.core.chips import GIB
from jaxbert.errors import InputError
from jaxbert.plan.compile import _refused
from jaxbert.plan.topologies import topology

PLACE = topology("v5e:1x1")


def test_a_step_that_is_too_large_is_measured():
    found = _refused("RESOURCE_EXHAUSTED: Used 24.44G of 15.75G hbm. Exceeded by 8.69G.", 1.0, PLACE, 2 * GIB)
    assert found is not None and not found.fits and found.over / GIB == pytest.approx(8.69)


def test_another_version_is_the_users_to_mend():
    with pytest.raises(InputError, match="E-PLAN-COMPILE"):
        _refused("INVALID_ARGUMENT: unsupported StableHLO version 1.14", 1.0, PLACE, 0.0)


def test_any_other_refusal_is_a_bug():
    for said in ("INTERNAL: RET_CHECK failure: shapes differ", "INTERNAL: no conversion of this type"):
        assert _refused(said, 1.0, PLACE, 0.0) is None
